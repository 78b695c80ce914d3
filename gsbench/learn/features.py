"""Frozen features from any framework: read from a file, and scored by the board's own probe in every regime."""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from gsbench.core.files import file_size
from gsbench.core.parsing import InputError, check_choice, shown
from gsbench.core.results import as_predictions
from gsbench.core.tasks import all_regimes
from gsbench.core.types import Array
from gsbench.learn.data import training_ids
from gsbench.learn.evaluation.embedding import Embedded
from gsbench.learn.evaluation.scoring import scores_of
from gsbench.learn.probe import fit_probe
from gsbench.store.folder import Folder, read_labels

MAX_BYTES = 4_000_000_000
"""Of a file of features, and of what is packed in one."""

MAX_WIDTH = 8192
"""Of the features of an object: a step of the probe's fit takes a time that grows with its third power."""


@dataclass(frozen=True, slots=True)
class Features:
    """Features of all training and test objects of a data set.

    Attributes:
        rows: object_id -> row of `values`.
        values: `[n d]`.
        sha256: of ids and values, whatever the file's format and order: of each object, sorted by id, the id, a
            newline, and its values as little-endian floats of 32 bits.
    """

    rows: dict[str, int]
    values: Float32[Array, "n d"]
    sha256: str

    def of(self, ids: Sequence[str], labels: dict[str, str], classes: Sequence[str]) -> Embedded:
        """The features and class indices of these objects."""
        place = {name: number for number, name in enumerate(classes)}
        indices = np.array([place[labels[object_id]] for object_id in ids], np.int64)
        return Embedded(tuple(ids), indices, self.values[[self.rows[object_id] for object_id in ids]])


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probe made of features in a regime.

    Attributes:
        regime: per cent of the training labels.
        draw: which draw of it.
        train_objects: labeled objects.
        probabilities: test object_id -> class probabilities.
        accuracy: of the probe.
        stated: nearest neighbors and retrieval, which predictions do not give.
    """

    regime: int
    draw: int
    train_objects: int
    probabilities: dict[str, list[float]]
    accuracy: float
    stated: dict[str, float]


def probe_features(features: Features, folder: Folder) -> Iterator[Probed]:
    """Fits the probe to the labeled objects of each regime and draw, and asks it of the test objects.

    Raises:
        InputError: a regime of one class alone, or one whose objects are not those of the manifest.
    """
    classes, train, test = folder.manifest.classes, read_labels(folder, "train"), read_labels(folder, "test")
    seen = features.of(sorted(test), test, classes)
    for regime, draw in all_regimes():
        ids = training_ids(folder, regime, draw)
        labeled = features.of(ids, train, classes)
        probabilities = as_predictions(
            fit_probe(labeled.features, labeled.labels, len(classes)).probabilities(seen.features)
        )
        scores = scores_of(labeled, seen, probabilities)
        accuracy = scores.pop("accuracy")
        predicted = dict(zip(seen.ids, probabilities.tolist(), strict=True))
        yield Probed(regime, draw, len(ids), predicted, accuracy, scores)


def read_features(path: Path, folder: Folder) -> Features:
    """Reads features of all training and test objects: `object_id` and `features`, arrays of .npz, columns of .parquet.

    Raises:
        InputError: it cannot be read, or all that is wrong with it.
    """
    check_choice(f"{path}: the file's ending", path.suffix.lower(), (".npz", ".parquet"))
    try:
        file_size(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    ids, values = (_read_npz if path.suffix.lower() == ".npz" else _read_parquet)(path)
    splits = {split: read_labels(folder, split).keys() for split in ("train", "test")}
    faults = [*_faults_of_ids(ids, splits), *_faults_of_values(ids, values)]
    if faults:
        raise InputError(f"{path}: {'; '.join(faults)}")
    values = values.astype(np.float32)
    rows = {object_id: number for number, object_id in enumerate(ids)}
    digest = hashlib.sha256()
    for object_id in sorted(rows):
        digest.update(f"{object_id}\n".encode() + values[rows[object_id]].astype("<f4").tobytes())
    return Features(rows, values, digest.hexdigest())


def _read_npz(path: Path) -> tuple[list[Any], Any]:
    try:
        with zipfile.ZipFile(path) as packed:
            if (size := sum(each.file_size for each in packed.infolist())) > MAX_BYTES:
                raise InputError(f"{path}: unpacks to {size:,} bytes (allowed: {MAX_BYTES:,})")
        with np.load(path, allow_pickle=False) as arrays:
            _check_has(path, arrays.files)
            ids, values = arrays["object_id"], arrays["features"]
    except InputError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: not a .npz of plain arrays ({str(error).partition(chr(10))[0][:200]})") from None
    return list(ids.tolist()) if ids.ndim == 1 else [], values


def _read_parquet(path: Path) -> tuple[list[Any], Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            packed = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
            if packed > MAX_BYTES:
                raise InputError(f"{path}: unpacks to {packed:,} bytes (allowed: {MAX_BYTES:,})")
            _check_has(path, file.schema_arrow.names)
            table = file.read(["object_id", "features"])
        lists = table.column("features").to_pylist()
        return table.column("object_id").to_pylist(), np.array(lists, np.float64)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not Parquet with lists of equally many numbers ({str(error).partition(chr(10))[0][:200]})"
        ) from None


def _check_has(path: Path, names: Sequence[str]) -> None:
    for key in ("object_id", "features"):
        if names.count(key) != 1:
            found = ", ".join(shown(name) for name in names[:5])
            raise InputError(f"{path}: {key} is missing (must hold object_id and features; there are {found})")


def _faults_of_ids(ids: Sequence[Any], splits: Mapping[str, Collection[str]]) -> list[str]:
    faults = []
    if any(not isinstance(object_id, str) for object_id in ids):
        faults.append("object_id holds something that is no text")
    counts = Counter(object_id for object_id in ids if isinstance(object_id, str))
    for split, wanted in splits.items():
        if missing := [object_id for object_id in wanted if object_id not in counts]:
            faults.append(f"{_some(missing)} of the {split} objects missing")
    if unknown := [object_id for object_id in counts if not any(object_id in wanted for wanted in splits.values())]:
        faults.append(f"{_some(unknown)} no object of the data set")
    if repeated := [object_id for object_id, count in counts.items() if count > 1]:
        faults.append(f"{_some(repeated)} there more than once")
    return faults


def _faults_of_values(ids: Sequence[Any], values: Any) -> list[str]:
    if values.ndim != 2 or len(values) != len(ids) or not 1 <= values.shape[1] <= MAX_WIDTH:
        shape = f"[{len(ids)} d], d from 1 to {MAX_WIDTH}"
        return [f"features are of shape {list(values.shape)} (must be {shape}, as there are {len(ids)} ids)"]
    if values.dtype.kind not in "fiu":
        return [f"features are of type {values.dtype} (must be numbers)"]
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32)).all(1)
    bad = [object_id for object_id, fine in zip(ids, finite, strict=True) if not fine]
    return [f"{_some(bad)} with features that are not finite"] if bad else []


def _some(names: Sequence[Any]) -> str:
    return ", ".join(map(shown, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
