"""The published tables: TOML beside this file, a file a table, and one of the networks and the data behind them."""

import dataclasses
import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gsbench.core.files import read_toml
from gsbench.core.parsing import InputError, parse, suggest
from gsbench.core.tasks import CamerasOf, Features, Modality, Protocol, Sampling, ViewsFrom

Variant = Literal["smoke", "short", "full"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""How much of the published training a run takes: seconds, hours on a few cores, or all of it."""

Metric = Literal["accuracy", "cross_modality_accuracy", "mpd_positive", "mpd_negative"]
DISTANCES = ("mpd_positive", "mpd_negative")
"""Metrics that are no shares, so that they have no per cent."""

TABLES = ("table1", "table2", "table3", "table4", "table5")
FIGURE = "figure7"
SOURCE = "Simionescu, Self-Supervised Cross-modality Feature Learning using 3D Gaussian Splatting"

_FOLDER = Path(str(importlib.resources.files("gsbench.paper.reproduce") / "published"))


@dataclass(frozen=True, slots=True)
class PublishedData:
    """What the published figures were scored on.

    Attributes:
        name: the data set's; one made from it is named `name-...`.
        train: training objects.
        test: test objects.
        gaussians: in the mean object.
        fit: how they were made, in words.
        sh_degree: of them.
        image_size: of the views, in pixels.
    """

    name: str
    train: int
    test: int
    gaussians: int
    fit: str
    sh_degree: int
    image_size: int


@dataclass(frozen=True, slots=True)
class PublishedTraining:
    """What the source says of a network's training; None of a key is what it does not say.

    Attributes:
        epochs: passes over the training objects.
        batch_size: objects a step.
        optimizer: its name.
        image_size: of the network's images, in pixels.
        num_points: Gaussians an object.
        pretext_views: images an object that it learned from.
        min_opacity: Gaussians that are less opaque were left out.
        sh_channels: numbers of spherical harmonics a Gaussian.
    """

    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    image_size: int | None = None
    num_points: int | None = None
    pretext_views: int | None = None
    min_opacity: float | None = None
    sh_channels: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A network of the tables: its name there, our recipe for each variant of a run, and its published training.

    `full_sh` is the recipe of `full` for spherical harmonics of the published degree, where the published network read
    fewer numbers of them than there are.
    """

    network: str
    smoke: str
    short: str
    full: str
    full_sh: str | None = None
    published: PublishedTraining = PublishedTraining()

    def recipe(self, variant: Variant, published_sh: bool = False) -> str:
        """What `--model` takes for a variant of a run, on spherical harmonics of the published degree or without."""
        if variant == "full" and published_sh and self.full_sh is not None:
            return self.full_sh
        return {"smoke": self.smoke, "short": self.short, "full": self.full}[variant]


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a table: what was scored, what was published, and what that leaves unsaid.

    Attributes:
        row: the words that name it in the table.
        model: a key of the models.
        published: the figure; None where we add one.
        modality: what the network sees; None is the table's.
        protocol: None is the table's.
        metric: None is the table's.
        features: channels of a Gaussian.
        sampling: of the Gaussians.
        regime: per cent of the labels.
        num_views: images an object.
        views_from: what they show.
        cameras: that they are seen from.
        hides: what is not said with this figure, besides what the table does not say.
    """

    row: tuple[str, ...]
    model: str
    published: float | None = None
    modality: Modality | None = None
    protocol: Protocol | None = None
    metric: Metric | None = None
    features: Features = "xyz"
    sampling: Sampling = "fps"
    regime: int = 100
    num_views: int | None = None
    views_from: ViewsFrom = "meshes"
    cameras: CamerasOf = "train"
    hides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _TableFile:
    """A table's TOML; its keys stand for those that its cells leave out."""

    title: str
    headings: tuple[str, ...]
    protocol: Protocol
    cells: tuple[Cell, ...]
    modality: Modality | None = None
    metric: Metric = "accuracy"
    hides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _ModelsFile:
    """The TOML of what all tables share."""

    data: PublishedData
    models: dict[str, Model]


@dataclass(frozen=True, slots=True)
class Table:
    """A published table.

    Attributes:
        name: one of `TABLES`.
        title: what it is about.
        headings: of the words that name a cell.
        cells: with every key that the table gives filled in.
        hides: what the table does not say of any of its figures.
        data: that it was made on.
        models: by the keys that cells name.
    """

    name: str
    title: str
    headings: tuple[str, ...]
    cells: tuple[Cell, ...]
    hides: tuple[str, ...]
    data: PublishedData
    models: dict[str, Model]


def load_table(name: str) -> Table:
    """A published table by its name.

    Raises:
        InputError: no such table.
    """
    if name not in TABLES:
        allowed = ", ".join((*TABLES, FIGURE))
        raise InputError(f"{name}: no such table{suggest(name, (*TABLES, FIGURE))} (allowed: {allowed})")
    path = _FOLDER / f"{name}.toml"
    file, shared = parse(read_toml(path), _TableFile, str(path)), load_models()
    for cell in file.cells:
        assert cell.model in shared.models, f"{name}: {cell.row} is of an unknown model"
        assert len(cell.row) == len(file.headings), f"{name}: {cell.row} has other headings"
    cells = tuple(_filled(cell, file) for cell in file.cells)
    return Table(name, file.title, file.headings, cells, file.hides, shared.data, shared.models)


def load_models() -> _ModelsFile:
    """What all tables share: the published data and the networks."""
    path = _FOLDER / "models.toml"
    return parse(read_toml(path), _ModelsFile, str(path))


def _filled(cell: Cell, file: _TableFile) -> Cell:
    modality = cell.modality or file.modality
    assert modality is not None, f"{cell.row}: neither the cell nor its table says what is seen"
    return dataclasses.replace(
        cell, modality=modality, protocol=cell.protocol or file.protocol, metric=cell.metric or file.metric
    )
