"""What is scored: a data set at a revision, a modality, a regime and the way objects are fed to the model."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from gsbench.core.parsing import MAX_INTEGER, InputError, check_choice, check_hex, check_name, check_range, check_text

Modality = Literal["points", "gaussians", "images"]
Protocol = Literal["supervised", "probe", "finetune"]
Features = Literal["xyz", "xyz+geo", "xyz+geo+sh"]
Sampling = Literal["fps", "uniform"]
ViewsFrom = Literal["meshes", "gaussians"]
CamerasOf = Literal["train", "novel"]

UNKNOWN = "unknown"
"""What stands for a word that nobody has said of a model trained elsewhere; for a number it is None."""

REGIMES = (100, 50, 10, 1)
"""Shares of the training set in per cent."""

DRAWS = 3
"""Draws of each regime below 100 that a data set's manifest freezes."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to be scored. Two results compare only when their tasks are equal.

    Attributes:
        dataset: the data set's name, such as `modelnet10-gs` or `mini`.
        revision: the data set's version or Hub revision.
        fingerprint: sha256 over the manifest's shard hashes.
        split: what is scored: `test`, or `val`, the held-out fifth of the training objects, see
            `gsbench.store.validation`.
        modality: what the model sees.
        protocol: trained end to end (`supervised`), a linear probe on frozen features, or fine-tuned.
        regime: per cent of the training labels.
        draw: which draw of that regime; 0 where the regime is unknown.
        features: per-point channels; None for images.
        sampling: furthest-point from the stored order, or uniform; None for images.
        num_points: points or Gaussians an object; None for images.
        num_views: images an object; None for points and Gaussians.
        views_from: what the images show; None for points and Gaussians.
        cameras: that test images are seen from: those that Gaussians were fitted to (`train`), or others, which only
            renders of Gaussians have.

    Of a model trained elsewhere any of the last nine may be unknown, see `unknown`.
    """

    dataset: str
    revision: str
    fingerprint: str
    split: str
    modality: Modality
    protocol: Literal[Protocol, "unknown"]
    regime: int | None
    draw: int
    features: Literal[Features, "unknown"] | None
    sampling: Literal[Sampling, "unknown"] | None
    num_points: int | None
    num_views: int | None
    views_from: Literal[ViewsFrom, "unknown"] | None
    cameras: Literal[CamerasOf, "unknown"] = "train"

    def __post_init__(self) -> None:
        check_name("dataset", self.dataset)
        check_text("revision", self.revision)
        check_hex("fingerprint", self.fingerprint)
        check_choice("split", self.split, ("test", "val"))
        check_choice("modality", self.modality, get_args(Modality))
        check_choice("protocol", self.protocol, (*get_args(Protocol), UNKNOWN))
        if self.regime is not None:
            check_choice("regime", self.regime, REGIMES)
        if self.regime in (100, None) and self.draw != 0:
            whole = "100, where all objects are drawn" if self.regime else UNKNOWN
            raise InputError(f"draw is {self.draw} at regime {whole} (allowed: 0)")
        if not 0 <= self.draw < DRAWS:
            raise InputError(f"draw is {self.draw} (allowed: 0 to {DRAWS - 1})")
        if self.modality == "images":
            check_choice("views_from", self.views_from, (*get_args(ViewsFrom), UNKNOWN))
            _check_count("num_views", self.num_views)
            others: tuple[str, ...] = ("features", "sampling", "num_points")
        else:
            features = get_args(Features) if self.modality == "gaussians" else ("xyz",)
            check_choice("features", self.features, (*features, UNKNOWN))
            check_choice("sampling", self.sampling, (*get_args(Sampling), UNKNOWN))
            _check_count("num_points", self.num_points)
            others = ("num_views", "views_from")
        for key in others:
            if getattr(self, key) is not None:
                raise InputError(f"{key} is {getattr(self, key)!r} (allowed for {self.modality}: null)")
        cameras = {"gaussians": (*get_args(CamerasOf), UNKNOWN), UNKNOWN: (UNKNOWN,)}
        check_choice("cameras", self.cameras, cameras.get(self.views_from or "", ("train",)))

    def unknown(self) -> list[str]:
        """The keys that nobody has said, which only a model trained elsewhere may have."""
        words = ("protocol", "features", "sampling", "views_from", "cameras")
        counts = ("regime", "num_views") if self.modality == "images" else ("regime", "num_points")
        return [
            *(key for key in words if getattr(self, key) == UNKNOWN),
            *(key for key in counts if getattr(self, key) is None),
        ]

    def slug(self) -> str:
        """The name of the task's folder under `leaderboard/entries`, made of everything that tells tasks apart.

        Frozen: a change moves every entry of the board.
        """
        shape = (
            f"{self.views_from}{'' if self.cameras == 'train' else f'-{self.cameras}'}-v{self.num_views or UNKNOWN}"
            if self.modality == "images"
            else f"{self.features}-{self.sampling}-n{self.num_points or UNKNOWN}"
        )
        regime = f"r{self.regime or UNKNOWN}d{self.draw}"
        return f"{self.dataset}@{self.fingerprint[:8]}-{self.split}-{self.modality}-{self.protocol}-{shape}-{regime}"

    def as_dict(self) -> dict[str, str | int | None]:
        """The task as the Result file's `task` object."""
        return asdict(self)


def _check_count(key: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{key} is {value!r} (must be a whole number of at least 1)")
    check_range(key, value, 1, MAX_INTEGER)


def regime_ids(labels: Mapping[str, str], regime: int, draw: int) -> list[str]:
    """The training objects of a regime: stratified by class, nested, the same on every machine.

    Frozen: a change changes every fingerprint and what every score below 100 % means.

    Each class keeps its first `int(share * n)` objects, at least one, in the order of sha256("draw/object_id"). So the
    1 % set lies inside the 10 % set of the same draw, and an object's rank does not depend on the other objects.

    Args:
        labels: object_id -> class name of the whole training split.
        regime: per cent, one of `REGIMES`.
        draw: which draw, from 0.

    Returns:
        The chosen ids, sorted.
    """
    check_choice("regime", regime, REGIMES)
    by_class: dict[str, list[str]] = {}
    for object_id, label in labels.items():
        by_class.setdefault(label, []).append(object_id)
    chosen: list[str] = []
    for ids in by_class.values():
        ranked = sorted(ids, key=lambda object_id: hashlib.sha256(f"{draw}/{object_id}".encode()).digest())
        chosen += ranked[: _regime_size(len(ids), regime)]
    return sorted(chosen)


def regime_count(class_counts: Iterable[int], regime: int) -> int:
    """How many training objects `regime_ids` chooses, of so many objects in each class that has any."""
    return sum(_regime_size(count, regime) for count in class_counts)


def _regime_size(count: int, regime: int) -> int:
    return max(1, math.floor(count * regime / 100))


def describe_share(regime: int | None, train_objects: int | None, of: int | None = None) -> str:
    """A regime in words, with the objects that it is: of few, one a class is more than the share says.

    Args:
        regime: per cent, one of `REGIMES`; None where it is unknown.
        train_objects: that were trained on; None where it is unknown.
        of: the whole training split's, where that is known.

    Returns:
        Such as `100 %`, `50 % (30 of 60 objects)` and `1 % (10 of 60 objects, at least one a class)`.
    """
    if regime is None:
        return "unknown share"
    if regime == 100 or train_objects is None:
        return f"{regime} %"
    whole = "" if of is None else f" of {of}"
    least = ", at least one a class" if of is not None and train_objects > of * regime / 100 else ""
    return f"{regime} % ({train_objects}{whole} objects{least})"


def all_regimes() -> list[tuple[int, int]]:
    """Every (regime, draw) that a manifest freezes; regime 100 has one draw."""
    return [(regime, draw) for regime in REGIMES for draw in range(1 if regime == 100 else DRAWS)]


def ids_sha256(ids: Iterable[str]) -> str:
    """Hex digest of a set of object ids: sha256 over the sorted ids, each followed by a newline."""
    return hashlib.sha256("".join(f"{object_id}\n" for object_id in sorted(ids)).encode()).hexdigest()


def fingerprint(shard_sha256: Mapping[str, str]) -> str:
    """A data set's fingerprint: sha256 over `path sha256` lines of its shards, sorted by path."""
    lines = "".join(f"{path} {digest}\n" for path, digest in sorted(shard_sha256.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
