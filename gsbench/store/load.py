"""Finding a data set by name, path or Hub repository, and loading it.

A name means one thing everywhere: `mini` and `modelnet10-gs` are data sets whatever lies beside; a folder called so is
written ./mini. What is a folder is that folder, whatever characters are in its path; ORG/NAME is on the Hub.
"""

import importlib.resources
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from gsbench.core.parsing import InputError, suggest
from gsbench.store import hub, rows
from gsbench.store.folder import MINI, MODELNET10, NAMES, check_configs, known_names, open_folder, shards_of
from gsbench.store.manifest import MANIFEST
from gsbench.store.schema import SPLITS, Schema

HUB_REPO = "gsbench/modelnet10-gs"
"""Where `modelnet10-gs` is on the Hugging Face Hub."""

PINNED = "1f600bbedc8f2c80650075de2e08998b2e804d8208281c6a5d375fc6d0025d0c"
"""The fingerprint that `modelnet10-gs` means where it comes from the Hub: that of the board's ModelNet10-GS."""

ENV_DATA = "GSBENCH_DATA"
"""Environment variable with the folder of a local build of ModelNet10-GS."""

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
"""ORG/NAME, as the Hub names repositories."""


def resolve(
    source: str | Path,
    revision: str | None = None,
    configs: Sequence[str] | None = None,
    notify: Callable[[str], None] = warnings.warn,
) -> Path:
    """Finds a data set on this machine, or brings it there from the Hub.

    Args:
        source: `mini`, `modelnet10-gs`, a folder, or `ORG/NAME` on the Hub, each with `@REVISION` behind it where one
            is wanted; a Path is a folder, whatever it is called. `modelnet10-gs` is the folder in $GSBENCH_DATA, else
            ./modelnet10-gs, else the Hub's. `~` is the user's home.
        revision: Hub revision; None is its newest. A local folder has but its version.
        configs: the configs to download; None is all of them.
        notify: called with one line, of a folder here that the name does not mean, or a Hub that does not answer.

    Returns:
        The folder; `open_folder` reads it. Its path, as a string, is not one of the names.

    Raises:
        InputError: nothing of that name here or on the Hub, or the Hub cannot be reached.
    """
    if isinstance(source, Path):
        return _local(source, revision)
    for place in (source, os.path.expanduser(source)) if source not in NAMES else ():
        if place and os.path.isdir(place):
            return _local(Path(place), revision)
    name, at, asked = source.rpartition("@")
    if at and asked and (name in NAMES or REPO.fullmatch(name) or os.path.isdir(name)):
        if revision not in (None, asked):
            raise InputError(f"{source}: revision {revision} asked for as well (allowed: one of them)")
        return resolve(name, asked, configs, notify)
    if source == MINI:
        return _local(_mini(notify), revision)
    if source == MODELNET10:
        local = _local_modelnet10(notify)
        pinned = PINNED if revision is None else None
        return _local(local, revision) if local else hub.download(HUB_REPO, revision, configs, pinned, notify)
    if REPO.fullmatch(source):
        return hub.download(source, revision, configs, notify=notify)
    if os.path.lexists(source):
        open_folder(Path(source))  # says what it is instead
    close = suggest(source[:100], NAMES)
    shown = source[:300] if source.isprintable() and source else repr(source[:300])
    raise InputError(f"{shown}: no such data set{close} (allowed: {known_names()}, a folder, or ORG/NAME on the Hub)")


def _local(path: Path, revision: str | None) -> Path:
    folder = open_folder(path)
    if revision not in (None, folder.manifest.version):
        raise InputError(f"{path}: revision {revision} asked for, the folder is {folder.manifest.version}")
    return path.absolute() if str(path) in NAMES else path  # written so that it stays a path


def _mini(notify: Callable[[str], None]) -> Path:
    embedded = Path(str(importlib.resources.files("gsbench") / "mini"))
    if os.path.isdir(MINI) and not os.path.samefile(MINI, embedded):
        notify(f"`{MINI}` is the embedded data set; the folder of that name here is ./{MINI}")
    return embedded


def _local_modelnet10(notify: Callable[[str], None]) -> Path | None:
    here = Path(MODELNET10)
    if chosen := os.environ.get(ENV_DATA):
        if os.path.isdir(here) and not (os.path.isdir(chosen) and os.path.samefile(here, chosen)):
            notify(f"`{MODELNET10}` is ${ENV_DATA}, {chosen}; the folder of that name here is ./{MODELNET10}")
        if not os.path.isdir(chosen):
            raise InputError(f"{ENV_DATA}: {chosen}: no such folder (must be a build of ModelNet10-GS, or not set)")
        return Path(chosen)
    if (here / MANIFEST).is_file():
        return here
    if os.path.isdir(here):
        notify(f"./{MODELNET10} is no data set, it has no {MANIFEST}: `{MODELNET10}` is looked for on the Hub")
    return None


def default_data() -> tuple[str, str | None]:
    """The data set that is used when none is named.

    Returns:
        ModelNet10-GS if there is a local build, a downloaded copy, or the Hub answers at once and has it, with no
        notice; else `mini` with the sentence that says so. Takes four seconds at most.
    """
    if _local_modelnet10(lambda _: None) or hub.is_cached(HUB_REPO) or hub.has(HUB_REPO):
        return MODELNET10, None
    return MINI, (
        f"ModelNet10-GS is neither here (./{MODELNET10}, ${ENV_DATA}) nor reachable on the Hugging Face Hub: "
        f"using the embedded data set `{MINI}`, made of procedural shapes. Its scores are not comparable."
    )


def load_dataset(
    name: str | Path,
    config: str = "gaussians",
    split: str | None = None,
    revision: str | None = None,
    *,
    streaming: bool = False,
    fingerprint: str | None = None,
) -> rows.Rows:
    """Loads one config of a data set with Hugging Face `datasets`.

    Where a row lacks a value, such as `duplicate_of`, it has an empty string or array, which torch's DataLoader takes;
    the Parquet files have null there.

    Args:
        name: `mini`, `modelnet10-gs`, a folder, or `ORG/NAME[@REVISION]` on the Hub; see `resolve`.
        config: `gaussians`, `points`, `views` or `reconstructions`.
        split: `train` or `test` (or a slice such as `train[:10]`); None for both.
        revision: Hub revision; None is its newest.
        streaming: read rows as they are asked for, from the Hub without keeping the files. Their hashes are then those
            that the Hub states.
        fingerprint: that the data must have, in full; None takes the manifest's.

    Returns:
        What `datasets.load_dataset` returns: a Dataset for a split, else a DatasetDict; iterable ones for streaming.

    Raises:
        InputError: no such data set, config or split; or the data are not those of the manifest or the fingerprint.
    """
    Schema(config, ())  # a config that no data set can have is refused before anything is downloaded
    rows.check_split(split, SPLITS)
    if streaming and split not in (None, *SPLITS):
        raise InputError(f"split: {split!r} with streaming (allowed: {', '.join(SPLITS)})")
    folder = open_folder(resolve(name, revision, [] if streaming else [config]))
    manifest = folder.manifest
    hub.check_fingerprint(manifest, fingerprint, name)
    schema = manifest.schema(config)
    if streaming:
        urls = hub.urls_of(folder.path, manifest, config)
    else:
        check_configs(folder, [config])
        urls = {
            path: os.path.abspath(folder.path / path) for each in SPLITS for path in shards_of(folder, config, each)
        }
    shards = {each: [urls[path] for path in shards_of(folder, config, each)] for each in SPLITS}
    hashes = {url: manifest.shards[path].sha256 for path, url in urls.items()}
    return rows.load(folder.path, schema, shards, hashes, split, streaming)
