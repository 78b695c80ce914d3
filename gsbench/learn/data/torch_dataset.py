"""Rows of a data set for a training loop of one's own: a torch `Dataset`, and `collate` for counts that vary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gsbench.core.parsing import InputError, suggest
from gsbench.store.load import load_dataset
from gsbench.store.schema import CONFIGS, SPLITS

_VARYING = frozenset(
    column.name
    for columns in CONFIGS.values()
    for column in columns
    if column.shape[:1] == (None,) and column.dtype != "string"
)
"""Columns whose first dimension differs from one row to the next."""


class TorchDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """One split of one config as a map-style torch dataset; `collate` makes batches of its rows.

    A row is a dict: numbers and arrays are tensors (`means` `[n 3]` float32, `label` int64), an image is
    `[c h w]` uint8, texts are `str`. What the files have as null is an empty text or tensor.

    Args:
        name: `mini`, `modelnet10-gs`, a folder, or `ORG/NAME[@REVISION]` on the Hub.
        config: `gaussians`, `points`, `views` or `reconstructions`.
        split: `train` or `test`.
        columns: those to read; None for all. Fewer are faster.
        revision: Hub revision; None is its newest.
        fingerprint: that the data must have; None takes the manifest's.

    Raises:
        InputError: as `gsbench.load_dataset`, or for a column that the config lacks.
    """

    def __init__(
        self,
        name: str | Path,
        config: str = "gaussians",
        split: str = "train",
        columns: Sequence[str] | None = None,
        revision: str | None = None,
        fingerprint: str | None = None,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"split: {split[:80]!r} (allowed: {', '.join(SPLITS)})")
        rows: Any = load_dataset(name, config, split, revision, fingerprint=fingerprint)
        for column in columns or ():
            if column not in rows.column_names:
                close = suggest(column, rows.column_names)
                raise InputError(f"{config}: no column {column[:80]!r}{close} (it has: {', '.join(rows.column_names)})")
        self.classes: list[str] = rows.features["label"].names
        self._rows = (rows if columns is None else rows.select_columns(list(columns))).with_format("torch")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self._rows[index])

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """Rows of a batch, read at once; torch's DataLoader asks for it."""
        columns = self._rows[indices]
        return [{name: values[row] for name, values in columns.items()} for row in range(len(indices))]


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of rows whose counts vary: the `collate_fn` of a torch DataLoader.

    Args:
        rows: of a `TorchDataset`, or of `gsbench.load_dataset(...).with_format("torch")`.

    Returns:
        A dict with the rows' keys. Tensors are stacked; those of columns whose count varies (`means`, `points`, ...)
        are padded with zeros at their end, and `mask` has `[b n]` bool for each such column, True where the row has a
        value. Texts and lists of texts become a list.

    Raises:
        InputError: no rows, or tensors of a column that can be neither stacked nor padded; the message names it.
    """
    if not rows:
        raise InputError("collate: no rows (must be at least one)")
    batch: dict[str, Any] = {}
    masks: dict[str, torch.Tensor] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if not all(isinstance(value, torch.Tensor) for value in values):
            batch[name] = values
        elif name in _VARYING:
            batch[name], masks[name] = _pad(values)
        else:
            shapes = {tuple(value.shape) for value in values}
            if len(shapes) > 1:
                raise InputError(f"collate: {name} has shapes {sorted(shapes)} (must be equal)")
            batch[name] = torch.stack(values)
    return {**batch, **({"mask": masks} if masks else {})}


def _pad(values: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """`[b n ...]` with zeros behind each row's own, and `[b n]` bool, False on them."""
    lengths = torch.tensor([len(value) for value in values])
    longest = max(values, key=len)
    padded = longest.new_zeros((len(values), *longest.shape))
    for row, value in enumerate(values):
        padded[row, : len(value)] = value.reshape(len(value), *longest.shape[1:])
    return padded, torch.arange(len(longest)) < lengths[:, None]
