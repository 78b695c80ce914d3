"""What a verification found, as data."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Alignment:
    """How far the Gaussians' centers lie from the objects' surfaces, as shares of the extents, the boxes' diagonals.

    Attributes:
        against: `points` (an estimate from the stored samples) or `meshes` (exact).
        objects: how many were measured.
        mean: of the objects' mean distances.
        worst: object id to its mean distance, the ten largest.
        axes: how quaternions are read -> mean |cosine| between a disc's thin axis and the surface's normal, where .5
            is no relation: first the right one, `w x y z`.
    """

    against: str
    objects: int
    mean: float
    worst: dict[str, float]
    axes: dict[str, float]


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """How the images were looked at.

    Attributes:
        rows: images in all; the head of each was read.
        decoded: how many were decoded.
        rendered: how many reconstructions were rendered again from the stored Gaussians.
        scored: how many reconstructions were compared with the view of the mesh from their camera.
    """

    rows: int = 0
    decoded: int = 0
    rendered: int = 0
    scored: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found.

    Attributes:
        name: the data set's name.
        version: the data set's version.
        fingerprint: sha256 over the shards' hashes.
        shards: number of shards read.
        rows: number of rows read.
        problems: one line each, naming the shard, the object and the column; empty if all is well.
        quality: class name, or `all`, to the mean, least and percentiles of its objects' PSNR in dB.
        worst: object id to its PSNR, the ten lowest.
        alignment: of the Gaussians with the surfaces; None where there are no Gaussians or no points, or problems.
        images: how the images were looked at.
        missing: ids of the official split that are not in the data.
        set_aside: object id to the reason why it is not in the data.
    """

    name: str
    version: str
    fingerprint: str
    shards: int
    rows: int
    problems: tuple[str, ...]
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)
    alignment: Alignment | None = None
    images: ImageCheck = field(default_factory=ImageCheck)
    missing: tuple[str, ...] = ()
    set_aside: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems
