"""How well the Gaussians of a data folder show their objects: the scores in its rows, and what to say of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from gsbench.core.types import Array
from gsbench.store.folder import Folder, read_table
from gsbench.store.schema import SPLITS

_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True, slots=True)
class Scores:
    """The held-out scores of all objects with Gaussians, of both splits.

    Attributes:
        ids: `n` object ids.
        labels: `n` class names.
        psnr: `[n]` dB.
        ssim: `[n]`.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    psnr: Float64[Array, " n"]
    ssim: Float64[Array, " n"]

    def by_class(self) -> dict[str, Float64[Array, " m"]]:
        """Class name to the PSNR of its objects."""
        labels = np.array(self.labels)
        return {name: self.psnr[labels == name] for name in sorted(set(self.labels))}

    def worst(self, count: int) -> dict[str, float]:
        """The objects of the lowest PSNR, lowest first."""
        return {self.ids[i]: float(self.psnr[i]) for i in np.argsort(self.psnr, kind="stable")[:count]}


def read_scores(folder: Folder) -> Scores:
    """Reads the scores of a folder; there are none where it has no Gaussians.

    Raises:
        InputError: a shard that is missing or damaged.
    """
    ids: list[str] = []
    labels: list[str] = []
    columns: dict[str, list[float]] = {"psnr": [], "ssim": []}
    for split in SPLITS if "gaussians" in folder.manifest.counts else ():
        table = read_table(folder, "gaussians", split, ["object_id", "label", *columns])
        ids += table["object_id"].to_pylist()
        labels += [folder.manifest.classes[label] for label in table["label"].to_pylist()]
        for name, values in columns.items():
            values += table[name].to_pylist()
    return Scores(tuple(ids), tuple(labels), *(np.array(values, np.float64) for values in columns.values()))


def distribution(values: Iterable[float]) -> dict[str, float]:
    """`mean`, `min` and the percentiles `p5`, `p25`, `p50`, `p75` and `p95` of at least one value."""
    array = np.array(list(values), np.float64)
    percentiles = np.percentile(array, _PERCENTILES)
    return {
        "mean": float(array.mean()),
        "min": float(array.min()),
        **{f"p{share}": float(value) for share, value in zip(_PERCENTILES, percentiles, strict=True)},
    }


def summarise(scores: Scores) -> dict[str, float]:
    """What the manifest keeps of the scores; nothing where there are none."""
    if not scores.ids:
        return {}
    psnr = distribution(scores.psnr)
    return {
        "psnr": psnr.pop("mean"),
        "ssim": float(scores.ssim.mean()),
        **{f"psnr_{name}": value for name, value in psnr.items()},
    }
