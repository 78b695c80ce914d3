"""What a baseline is, as data: its recipe."""

import dataclasses
import functools
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gsbench.core.files import read_toml
from gsbench.core.parsing import InputError, check_range, check_text, overlay, parse, suggest

MOST_EPOCHS, MOST_PIXELS, MOST_SHIFTED = 100_000, 4096, 100
"""Of a schedule, along the side of an image, and radii of an object in augmentation: more is a slip."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:/-]{0,79}")


def check_model_name(name: str) -> None:
    """Raises an InputError unless `name`, such as `pointnet++:quick`, can be part of file names."""
    if not _NAME.fullmatch(name):
        raise InputError(f"name is {name[:99]!r} (allowed: a letter or digit, then up to 79 more or ._+:/-)")


@dataclass(frozen=True, slots=True)
class Train:
    """How a baseline is trained. One epoch is one pass over the regime's training objects.

    Attributes:
        epochs: passes over the training set; the last epoch's weights are scored. 0 trains nothing.
        batch_size: objects a step.
        optimizer: `adam`, `adamw` or `sgd` (momentum .9).
        lr: learning rate at the first step, above 0.
        weight_decay: as the optimizer defines it, at least 0.
        schedule: `cosine` to `lr_floor` per step, `step` (x `step_factor` every `step_epochs`), or `constant`.
        step_epochs: epochs between drops of the `step` schedule; may be a fraction, above 0.
        step_factor: factor of each drop of the `step` schedule, above 0 to 1.
        lr_floor: the learning rate never goes below this, 0 to `lr`.
        bn_momentum: batch-norm momentum (PyTorch's) at the first step, 0..1; None: the model's own.
        bn_momentum_floor: batch-norm momentum after decay, 0..1; halved with every drop of the `step` schedule.
        label_smoothing: cross-entropy label smoothing, 0 to below 1.
        precision: `fp32`, or `bf16` for mixed precision, or `auto`: fp32 on CPUs, bf16 on CUDA.
        views_per_sample: deals an object's views to samples of so many, a divisor of their number. None: one sample.
    """

    epochs: int
    batch_size: int
    lr: float
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    step_epochs: float = 20.0
    step_factor: float = 0.7
    lr_floor: float = 0.0
    bn_momentum: float | None = None
    bn_momentum_floor: float = 0.01
    label_smoothing: float = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    views_per_sample: int | None = None

    def __post_init__(self) -> None:
        check_range("epochs", self.epochs, 0, MOST_EPOCHS)
        check_range("batch_size", self.batch_size, 1)
        check_range("lr", self.lr, 0, above=True)
        check_range("lr_floor", self.lr_floor, 0, self.lr)
        check_range("weight_decay", self.weight_decay, 0)
        check_range("step_epochs", self.step_epochs, 0, above=True)
        check_range("step_factor", self.step_factor, 0, 1, above=True)
        check_range("bn_momentum", 0 if self.bn_momentum is None else self.bn_momentum, 0, 1)
        check_range("bn_momentum_floor", self.bn_momentum_floor, 0, 1)
        check_range("label_smoothing", self.label_smoothing, 0, 1, below=True)
        check_range("views_per_sample", 1 if self.views_per_sample is None else self.views_per_sample, 1)


@dataclass(frozen=True, slots=True)
class Augment:
    """Training-time augmentation of point clouds and Gaussians; the defaults change nothing.

    Attributes:
        point_dropout: largest share of points that may be masked out, 0..1, never the first one; drawn per object.
        scale: lowest and highest isotropic scale, .01 to 100.
        shift: largest shift along each axis, in radii of the object.
        jitter: standard deviation of the noise on positions, in radii of the object, clipped at five of them.
        rotate_z: whether objects turn about the z axis by a uniform angle.
        halves: whether each object's points are split at random into two halves, which are augmented apart from each
            other and handed on one after the other: for models of pairs that compare them.
    """

    point_dropout: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    jitter: float = 0.0
    rotate_z: bool = False
    halves: bool = False

    def __post_init__(self) -> None:
        check_range("point_dropout", self.point_dropout, 0, 1)
        low, high = self.scale
        if not 1 / MOST_SHIFTED <= low <= high <= MOST_SHIFTED:
            allowed = f"{1 / MOST_SHIFTED} to {MOST_SHIFTED}, the smaller first"
            raise InputError(f"scale is {low:g} to {high:g} (allowed: {allowed})")
        check_range("shift", self.shift, 0, MOST_SHIFTED)
        check_range("jitter", self.jitter, 0, MOST_SHIFTED)


@dataclass(frozen=True, slots=True)
class PointOptions:
    """Which Gaussians reach the model; the default leaves none out.

    Attributes:
        min_opacity: those that are less opaque stay out, 0..1; surface points have no opacity.
    """

    min_opacity: float = 0.0

    def __post_init__(self) -> None:
        check_range("min_opacity", self.min_opacity, 0, 1, below=True)


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How images reach the model; the defaults augment nothing.

    Attributes:
        size: width and height in pixels; views of another size are resized once, when they are read.
        crop_scale: smallest and largest share of a view's area that a random crop of aspect ratio 3/4 to 4/3 keeps;
            it is resized to `size`. (1, 1) crops nothing.
        flip: whether views are mirrored left to right at random.
    """

    size: int = 224
    crop_scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise InputError(f"crop_scale is {low:g} to {high:g} (allowed: above 0, up to 1, the smaller first)")
        check_range("size", self.size, 1, MOST_PIXELS)


@dataclass(frozen=True, slots=True)
class Reported:
    """A published figure, 0..1: on what it was scored and where it stands; None of a key is any value of the task's."""

    dataset: str
    modality: Literal["points", "gaussians", "images"]
    accuracy: float
    source: str
    regime: Literal[100, 50, 10, 1] = 100
    features: Literal["xyz", "xyz+geo", "xyz+geo+sh"] = "xyz"
    protocol: Literal["supervised", "probe", "finetune"] = "supervised"
    sampling: Literal["fps", "uniform"] | None = None
    num_views: int | None = None
    views_from: Literal["meshes", "gaussians"] | None = None

    def __post_init__(self) -> None:
        check_text("dataset", self.dataset)
        check_text("source", self.source)
        check_range("accuracy", self.accuracy, 0, 1)
        check_range("num_views", 1 if self.num_views is None else self.num_views, 1, 10**6)


@dataclass(frozen=True, slots=True)
class ReportedPretext:
    """Published scores of pretext tasks; a mean paired distance is None where the source has it of another model.

    The accuracy is in 0..1, and distances are at least 0.
    """

    dataset: str
    features: str
    sampling: Literal["fps", "uniform"]
    cross_modality_accuracy: float
    source: str
    mpd_positive: float | None = None
    mpd_negative: float | None = None

    def __post_init__(self) -> None:
        check_range("cross_modality_accuracy", self.cross_modality_accuracy, 0, 1)
        for name in ("mpd_positive", "mpd_negative"):
            check_range(name, getattr(self, name) or 0, 0)


_DECISIVE = ("model", "options", "train", "augment")
_DECISIVE_LATER = {
    "images": ImageOptions(),
    "points": PointOptions(),
    "pretraining": (),
    "supervision": "labels",
    "pretrained": None,
    "finetune": None,
}
"""With the value of a recipe that is silent."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A baseline as data: the model's class and options, its training, and the published figures.

    Attributes:
        name: what `--model` takes; a variant is written `name:variant`. A part of file names: a letter or digit of
            ASCII, then up to 79 more and `._+:/-`.
        title: the name in tables.
        model: `module:Class` of the Baseline.
        paper: link or citation.
        train: the schedule.
        augment: training-time augmentation of points and Gaussians.
        images: size and training-time augmentation of images.
        points: which Gaussians the model sees.
        pretraining: schedules that run before `train`, in this order, on the same loss, each with a new optimizer.
        supervision: `labels`, or `pairs`: trained on pretext tasks with all training objects and without labels.
        finetune: how a classifier on an encoder of pairs is trained, encoder and all; None: it is not made for that.
        pretrained: safetensors that the model starts from: `hub:ORG/NAME`, or a file (from the recipe's folder).
        options: keywords of the model's constructor.
        reported: published figures, any number.
        reported_pretext: published scores of pretext tasks, any number.
        variants: named tables that are laid over this recipe, key by key; one that `extends` another, over that one.
    """

    name: str
    title: str
    model: str
    paper: str
    train: Train
    augment: Augment = field(default_factory=Augment)
    images: ImageOptions = field(default_factory=ImageOptions)
    points: PointOptions = field(default_factory=PointOptions)
    pretraining: tuple[Train, ...] = ()
    supervision: Literal["labels", "pairs"] = "labels"
    finetune: Train | None = None
    pretrained: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    reported: tuple[Reported, ...] = ()
    reported_pretext: tuple[ReportedPretext, ...] = ()
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_text("title", self.title)
        if self.pretrained is not None:
            check_text("pretrained", self.pretrained)
        if self.augment.halves and self.supervision != "pairs":
            raise InputError(f"augment.halves is true with supervision {self.supervision} (allowed: with pairs)")

    def sha256(self) -> str:
        """Hex digest of what decides a score: the model, its options and start, its training, the augmentation.

        A key that recipes did not have at first counts where it is set, so that older recipes keep their digest.
        """
        record = dataclasses.asdict(self)
        later = {key: record[key] for key, default in _DECISIVE_LATER.items() if getattr(self, key) != default}
        for how in (record["train"], record["finetune"], *record["pretraining"]):
            if how is not None and how["views_per_sample"] is None:
                del how["views_per_sample"]
        if not self.augment.halves:
            del record["augment"]["halves"]
        decisive = {key: record[key] for key in _DECISIVE} | later
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def load_recipe(path: Path, variant: str | None = None) -> Recipe:
    """Reads a baseline's recipe, with a variant laid over it.

    Args:
        path: the TOML file.
        variant: a key of its `[variants]`; the result's name is then `name:variant`.

    Raises:
        InputError: the file is not a recipe, or has no such variant, or none that one extends; the message names file,
            key and allowed values.
    """
    table = read_toml(path)
    recipe = parse(table, Recipe, str(path))
    for name in recipe.variants:
        _check_variant(table, name, path)
    if variant is None:
        return recipe
    if variant not in recipe.variants:
        known = ", ".join(sorted(recipe.variants)) or "none"
        close = suggest(variant, recipe.variants)
        raise InputError(f"{path}: no variant '{variant}' of {recipe.name}{close} (it has: {known})")
    return _check_variant(table, variant, path)


def _check_variant(table: dict[str, Any], variant: str, path: Path) -> Recipe:
    layers = [*_layers(table["variants"], variant, path), {"name": f"{table['name']}:{variant}"}]
    return parse(functools.reduce(overlay, layers, table), Recipe, f"{path}, variant {variant}")


def _layers(variants: dict[str, dict[str, Any]], variant: str, path: Path) -> list[dict[str, Any]]:
    """A variant's table, after those of the variants that it extends."""
    names = [variant]
    while (base := variants[names[-1]].get("extends")) is not None:
        others = [name for name in variants if name not in names]
        if base not in others:
            allowed = ", ".join(others) or "none, there is no other"
            raise InputError(f"{path}, variant {names[-1]}: extends is {base!r} (allowed: {allowed})")
        names.append(base)
    return [{key: value for key, value in variants[name].items() if key != "extends"} for name in reversed(names)]
