"""Opening a data folder by name, path or Hub repository, and reading it fast."""

import importlib.resources
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from gsbench.parsing import InputError, suggest
from gsbench.store.audit import AUDIT
from gsbench.store.manifest import MANIFEST, Manifest, load_manifest
from gsbench.store.schema import SPLITS, Schema

if TYPE_CHECKING:
    import datasets

MODELNET10 = "modelnet10-gs"
MINI = "mini"
NAMES = (MINI, MODELNET10)

HUB_REPO = "gsbench/modelnet10-gs"
"""Where `modelnet10-gs` is on the Hugging Face Hub."""

ENV_DATA = "GSBENCH_DATA"
"""Environment variable with the folder of a local build of ModelNet10-GS."""

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Folder:
    """An open data folder: where it lies and what its manifest says."""

    path: Path
    manifest: Manifest


def open_folder(path: Path) -> Folder:
    """Opens a data folder.

    Raises:
        InputError: no such folder, or one that is no data set; the message names it.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder (allowed: a folder that `gsbench build` wrote, {_known()})")
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path}: no data set, it has no {MANIFEST} (allowed: a folder that `gsbench build` wrote)")
    return Folder(path, load_manifest(path))


def resolve(name_or_path: str, revision: str | None = None, configs: Sequence[str] | None = None) -> Path:
    """Finds a data set on this machine, or brings it there from the Hub.

    Args:
        name_or_path: `mini`, `modelnet10-gs`, a folder, or `ORG/NAME` on the Hub. `modelnet10-gs` is the folder in
            $GSBENCH_DATA, else ./modelnet10-gs, else the Hub's.
        revision: Hub revision; None is its newest. A local folder has none to choose from.
        configs: the configs to download; None is all of them.

    Returns:
        The folder; `open_folder` reads it.

    Raises:
        InputError: nothing of that name here or on the Hub, or the Hub cannot be reached.
    """
    if name_or_path == MINI:
        return _local(Path(str(importlib.resources.files("gsbench") / "mini")), revision)
    if name_or_path == MODELNET10:
        local = _local_modelnet10()
        return _local(local, revision) if local else _download(HUB_REPO, revision, configs)
    if Path(name_or_path).is_dir():
        return _local(Path(name_or_path), revision)
    if _REPO.fullmatch(name_or_path):
        return _download(name_or_path, revision, configs)
    close = suggest(name_or_path, NAMES)
    raise InputError(f"{name_or_path}: no such data set{close} (allowed: {_known()}, a folder, or ORG/NAME on the Hub)")


def _known() -> str:
    return ", ".join(NAMES)


def _local(path: Path, revision: str | None) -> Path:
    folder = open_folder(path)
    if revision not in (None, folder.manifest.version):
        raise InputError(f"{path}: revision {revision} asked for, the folder is {folder.manifest.version}")
    return path


def _local_modelnet10() -> Path | None:
    if chosen := os.environ.get(ENV_DATA):
        return Path(chosen)
    here = Path(MODELNET10)
    return here if (here / MANIFEST).is_file() else None


def _download(repo: str, revision: str | None, configs: Sequence[str] | None) -> Path:
    import huggingface_hub  # takes .1 s

    folders = ["*"] if configs is None else configs
    patterns = [MANIFEST, AUDIT, "*.md", "*.yaml", *(f"{config}/*.parquet" for config in folders)]
    try:
        path = huggingface_hub.snapshot_download(
            repo, repo_type="dataset", revision=revision, allow_patterns=patterns, etag_timeout=_HUB_SECONDS
        )
    except Exception as error:  # the Hub's client and the two HTTP libraries below it share no base class
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        at = f" at revision {revision}" if revision else ""
        raise InputError(
            f"{repo}: no such folder, and not to be had from the Hugging Face Hub{at} (offline, or no such data set): "
            f"{reason}; the embedded data set `{MINI}` needs no network"
        ) from None
    return Path(path)


def default_data() -> tuple[str, str | None]:
    """The data set that is used when none is named.

    Returns:
        ModelNet10-GS if there is a local build, a downloaded copy, or the Hub answers at once and has it, with no
        notice; else `mini` with the sentence that says so. Takes four seconds at most.
    """
    if _local_modelnet10() or _cached() or _on_hub():
        return MODELNET10, None
    return MINI, (
        f"ModelNet10-GS is neither here (./{MODELNET10}, ${ENV_DATA}) nor reachable on the Hugging Face Hub: "
        f"using the embedded data set `{MINI}`, made of procedural shapes. Its scores are not comparable."
    )


def _cached() -> bool:
    import huggingface_hub

    return isinstance(huggingface_hub.try_to_load_from_cache(HUB_REPO, MANIFEST, repo_type="dataset"), str)


def _on_hub() -> bool:
    """Whether the Hub has ModelNet10-GS; False when it does not answer in time."""
    import huggingface_hub

    found: list[bool] = []

    def ask() -> None:
        try:
            found.append(huggingface_hub.file_exists(HUB_REPO, MANIFEST, repo_type="dataset"))
        except Exception:  # as in _download; whatever it was, the Hub is of no use now
            found.append(False)

    # A thread, since looking up the Hub's address can outlast any timeout of the request itself.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_HUB_SECONDS)
    return found == [True]


def load_dataset(
    name: str,
    config: str = "gaussians",
    split: str | None = None,
    revision: str | None = None,
) -> "datasets.DatasetDict | datasets.Dataset":
    """Loads one config of a data set with Hugging Face `datasets`.

    Args:
        name: `mini`, `modelnet10-gs`, a folder, or `ORG/NAME` on the Hub.
        config: `gaussians`, `points` or `views`.
        split: `train` or `test` (or a slice such as `train[:10]`); None for both.
        revision: Hub revision; None is its newest.

    Returns:
        What `datasets.load_dataset` returns: a Dataset for a split, else a DatasetDict.

    Raises:
        InputError: no such data set, config or split.
    """
    Schema(config, ())  # a config that no data set can have is refused before anything is downloaded
    path = resolve(name, revision, [config])
    open_folder(path).manifest.schema(config)
    import datasets  # takes most of a second

    return datasets.load_dataset(str(path), config, split=split)


def read_table(folder: Folder, config: str, split: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a split of a config straight from its shards; page checksums catch damaged bytes on the way.

    Args:
        folder: an open data folder.
        config: one that the folder has.
        split: `train` or `test`.
        columns: the columns to read; None for all.

    Returns:
        The rows in order of object_id. `gsbench.store.arrays.ragged` turns its columns into numpy arrays.

    Raises:
        InputError: no such config, split or column, or a shard that is missing or damaged; the message names it.
    """
    return pa.concat_tables([table for _, table in read_shards(folder, config, split, columns)])


def read_shards(
    folder: Folder, config: str, split: str, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, pa.Table]]:
    """As `read_table`, one shard at a time with its path in the folder: for what is too large to be read at once."""
    schema = folder.manifest.schema(config)
    shards = folder.manifest.shards_of(config, split)
    if not shards:
        raise InputError(f"{folder.path}: config {config} has no split '{split}' (allowed: {', '.join(SPLITS)})")
    names = [column.name for column in schema.columns]
    for column in columns or ():
        if column not in names:
            raise InputError(f"{config}: no column '{column}'{suggest(column, names)} (it has: {', '.join(names)})")
    for shard in shards:
        yield shard, _read_shard(folder.path / shard, columns)


def _read_shard(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """Row groups in parallel: Arrow's own threads take a column each, of which one often holds most of the bytes."""
    names = None if columns is None else list(columns)

    def read_group(group: int) -> pa.Table:
        with pq.ParquetFile(path, metadata=metadata, memory_map=True, page_checksum_verification=True) as file:
            return file.read_row_group(group, columns=names, use_threads=False)

    try:
        metadata = pq.read_metadata(path)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            return pa.concat_tables(threads.map(read_group, range(metadata.num_row_groups)))
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: shard is missing or damaged ({reason[:160]}); run `gsbench verify`") from None


def read_labels(folder: Folder, split: str) -> dict[str, str]:
    """object_id -> class name of a split, sorted by object_id, from the first config that the folder has.

    Raises:
        InputError: no such split, or a damaged shard.
    """
    config = next(iter(folder.manifest.counts))
    table = read_table(folder, config, split, ["object_id", "label"])
    classes = folder.manifest.classes
    ids, labels = table["object_id"].to_pylist(), table["label"].to_pylist()
    return {object_id: classes[label] for object_id, label in zip(ids, labels, strict=True)}
