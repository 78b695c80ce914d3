"""How Gaussians are fitted to views: every value of it."""

from dataclasses import dataclass
from typing import Literal

from gsbench.core.geometry import MAX_SH_DEGREE
from gsbench.core.parsing import InputError, check_range

MAX_ITERATIONS = 1_000_000
MAX_GAUSSIANS = 1_000_000
"""Of an object: beyond these a fit takes days, or more memory than a worker has."""
_MAX_VOXELS = 256
_MAX_RATE = 100


@dataclass(frozen=True, slots=True)
class Stage:
    """`iterations` steps, one view each, on views box-averaged down to `resolution` pixels in width."""

    resolution: int
    iterations: int

    def __post_init__(self) -> None:
        check_range("resolution", self.resolution, 1)
        check_range("iterations", self.iterations, 1, MAX_ITERATIONS)


@dataclass(frozen=True, slots=True)
class FitRecipe:
    """A fixed number of Gaussians, from a visual hull, by Adam (betas .9, .99), one view a step, white background.

    Learning rates hold where the sphere that all cameras see has radius 1, and fall in a straight line over all stages
    to `lr_decay` times themselves.

    Attributes:
        stages: coarse to fine; widths must divide the views' width.
        num_gaussians: how many, all through.
        sh_degree: of the result, 0 to 3.
        sh_start: the share of all iterations after which bands above 0 are trained.
        lr_means, lr_scales, lr_quats, lr_opacities, lr_dc, lr_sh: at the first step; scales are in log, opacities in
            logit, `lr_sh` is for bands above 0.
        lr_decay: learning rates at the last step over those at the first.
        huber: color differences (0..1) beyond this count linearly, below it quadratically.
        alpha_weight: of the absolute difference in alpha, beside the three channels' color differences.
        antialiased: fit for the antialiased rasterizer.
        hull_resolution: voxels along the longest side of the object's box.
        init_opacity: of every Gaussian at first.
        init_radius, init_thickness: standard deviations of a Gaussian at first along the surface and across it, over
            the distance to its neighbors.
        init_detail: how much closer Gaussians stand at first where the hull is thin or has an edge: a plate as thin as
            a voxel gets 2 to this power times as many as a thick wall of the same area; 0 for equally many.
        relocate_at: the shares of all iterations after which Gaussians that hardly show move to where much shows.
        relocate_below: hardly is less than this times the mean of all Gaussians' weights in the images.
        method: tells this recipe from the others.
    """

    stages: tuple[Stage, ...]
    num_gaussians: int = 2048
    sh_degree: int = 3
    sh_start: float = 0.1
    lr_means: float = 0.002
    lr_scales: float = 0.13
    lr_quats: float = 0.014
    lr_opacities: float = 0.1
    lr_dc: float = 0.03
    lr_sh: float = 0.015
    lr_decay: float = 0.04
    huber: float = 0.05
    alpha_weight: float = 0.3
    antialiased: bool = False
    hull_resolution: int = 72
    init_opacity: float = 0.9
    init_radius: float = 0.5
    init_thickness: float = 0.1
    init_detail: float = 3.0
    relocate_at: tuple[float, ...] = (0.5, 0.75)
    relocate_below: float = 0.1
    method: Literal["hull"] = "hull"

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("stages: empty, at least one {resolution, iterations} is needed")
        check_range("iterations", self.iterations, 1, MAX_ITERATIONS)
        check_range("sh_degree", self.sh_degree, 0, MAX_SH_DEGREE)
        check_range("num_gaussians", self.num_gaussians, 1, MAX_GAUSSIANS)
        check_range("hull_resolution", self.hull_resolution, 1, _MAX_VOXELS)
        for name in ("lr_decay", "huber", "init_opacity", "init_radius", "init_thickness"):
            check_range(name, getattr(self, name), 0, 1, above=True)
        rates = ("lr_means", "lr_scales", "lr_quats", "lr_opacities", "lr_dc", "lr_sh")
        for name in (*rates, "alpha_weight", "init_detail", "relocate_below"):
            check_range(name, getattr(self, name), 0, _MAX_RATE)
        check_range("sh_start", self.sh_start, 0, 1)
        for share in self.relocate_at:
            check_range("relocate_at", share, 0, 1, above=True, below=True)

    @property
    def iterations(self) -> int:
        """Steps of all stages together."""
        return sum(stage.iterations for stage in self.stages)
