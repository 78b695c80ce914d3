"""What a data set has of what a published table needs."""

from functools import cache, cached_property
from typing import Literal

from gsbench.board import Truth, make_truth
from gsbench.core.tasks import CamerasOf, ViewsFrom
from gsbench.learn.data import most_points, views_of
from gsbench.paper.reproduce.tables import Cell, PublishedData
from gsbench.store.folder import Folder
from gsbench.store.origin import published_name
from gsbench.store.schema import SPLITS

_CONFIG: dict[ViewsFrom, str] = {"meshes": "views", "gaussians": "reconstructions"}


class DataFacts:
    """A data folder, and the counts of it that cells ask for, each read once."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.points = cache(self._points)
        self.views = cache(self._views)
        self._published = cache(lambda: published_name(folder))

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.folder.manifest.name

    @cached_property
    def truth(self) -> Truth:
        """The labels of the test objects."""
        return make_truth(self.folder.path, "test")

    def is_of(self, published: PublishedData) -> bool:
        """Whether the data set is the published one, or made from all of it."""
        return self._published() == published.name

    def has_published_sh(self, cell: Cell, published: PublishedData) -> bool:
        """Whether a cell's network sees spherical harmonics, and those are of the published degree."""
        return cell.features == "xyz+geo+sh" and self.folder.manifest.sh_coefficients == (published.sh_degree + 1) ** 2

    def objects(self, split: str) -> int:
        """Objects of a split."""
        return max(sum(splits[split].values()) for splits in self._one_row_an_object().values())

    def lacks(self, cell: Cell, pairs: bool) -> str | None:
        """What the data set lacks for a cell, in words, or None.

        Args:
            cell: of a table.
            pairs: whether its model learns from pairs of images and Gaussians, whatever it is scored on.
        """
        has = self.folder.manifest.counts
        needed = [cell.modality] if cell.modality in ("points", "gaussians") else []
        for config in dict.fromkeys([*needed, *(["gaussians", "views"] if pairs else [])]):
            if config not in has:
                return f"needs {config}, the data has {', '.join(has)}"
        if cell.modality != "images" or cell.num_views is None:
            return None
        of = f"images of {cell.views_from}" + (f" from {cell.cameras} cameras" if cell.views_from != "meshes" else "")
        sources = {("meshes", "train"), (cell.views_from, cell.cameras)} if pairs else {(cell.views_from, cell.cameras)}
        found = min(self.views(*source) for source in sources)
        return f"needs {cell.num_views} {of}, the data has {found}" if found < cell.num_views else None

    def _points(self, modality: Literal["points", "gaussians"], min_opacity: float = 0.0) -> int:
        """As many points, or Gaussians of that opacity, as some object of either split has; 0 where there are none."""
        if modality not in self.folder.manifest.counts:
            return 0
        return min(most_points(self.folder, modality, split, min_opacity) for split in SPLITS)

    def _views(self, views_from: ViewsFrom, cameras: CamerasOf) -> int:
        """The fewest images that an object of either split has."""
        config = _CONFIG[views_from]
        if config not in self.folder.manifest.counts:
            return 0
        counts = [
            len(rows)
            for split in self.folder.manifest.counts[config]
            for rows in views_of(self.folder, views_from, split, cameras).values()
        ]
        return min(counts, default=0)

    def _one_row_an_object(self) -> dict[str, dict[str, dict[str, int]]]:
        counts = self.folder.manifest.counts
        kept = {config: splits for config, splits in counts.items() if config in ("gaussians", "points")}
        assert kept or counts, "a data set has a config"
        return kept or counts
