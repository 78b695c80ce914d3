"""What Hugging Face's libraries do: bring data sets from the Hub, and load them with `datasets`."""

import contextlib
import errno
import hashlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from gsbench.core.parsing import InputError
from gsbench.store.audit import AUDIT
from gsbench.store.manifest import MANIFEST
from gsbench.store.schema import Schema

if TYPE_CHECKING:
    import datasets

_SECONDS = 4.0
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.ENOENT)


def download(repo: str, revision: str | None, configs: Sequence[str] | None) -> Path:
    """Brings a data set to this machine, or what of it is not here yet.

    Args:
        repo: ORG/NAME.
        revision: a branch, tag or commit; None is the newest.
        configs: the configs to bring; None is all of them.

    Raises:
        InputError: there is none such, the Hub cannot be reached, or its cache cannot be written.
    """
    import huggingface_hub  # takes .1 s

    folders = ["*"] if configs is None else configs
    patterns = [MANIFEST, AUDIT, "*.md", "*.yaml", *(f"{config}/*.parquet" for config in folders)]
    try:
        path = huggingface_hub.snapshot_download(
            repo, repo_type="dataset", revision=revision, allow_patterns=patterns, etag_timeout=_SECONDS
        )
    except Exception as error:  # the Hub's client and the two HTTP libraries below it share no base class
        if told := unwritable(error):
            raise told from None
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        at = f" at revision {revision}" if revision else ""
        raise InputError(
            f"{repo}: no such folder, and not to be had from the Hugging Face Hub{at} (offline, or no such data set): "
            f"{reason}; the embedded data set `mini` needs no network"
        ) from None
    return Path(path)


def unwritable(error: BaseException | None) -> InputError | None:
    """What to say of an error, or one that it comes from, that says that Hugging Face's cache cannot be written."""
    while error is not None and not (isinstance(error, OSError) and error.errno in _UNWRITABLE):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    home = os.environ.get("HF_HOME")
    where = error.filename or home or "~/.cache/huggingface"
    return InputError(
        f"{where}: the cache of Hugging Face cannot be written ({error.strerror}); HF_HOME is "
        f"{home or 'not set'} (must be a folder that can be written, with room)"
    )


def is_cached(repo: str) -> bool:
    """Whether a data set, or a part of it, was brought here before."""
    import huggingface_hub

    return isinstance(huggingface_hub.try_to_load_from_cache(repo, MANIFEST, repo_type="dataset"), str)


def has(repo: str) -> bool:
    """Whether the Hub has a data set; False when it does not answer in time."""
    import huggingface_hub

    found: list[bool] = []

    def ask() -> None:
        try:
            found.append(huggingface_hub.file_exists(repo, MANIFEST, repo_type="dataset"))
        except Exception:  # as in download; whatever it was, the Hub is of no use now
            found.append(False)

    # A thread, since looking up the Hub's address can outlast any timeout of the request itself.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return found == [True]


def check_split(split: str | None, splits: Sequence[str]) -> None:
    """Raises an InputError unless `split` is None or names some of `splits`, or slices of them, as `datasets` does."""
    slices = rf"(?:{'|'.join(splits)}|all)(?:\[-?\d*%?:-?\d*%?\](?:\((?:closest|pct1_dropremainder)\))?)?"
    if split is not None and not re.fullmatch(rf"{slices}(?: *\+ *{slices})*", split, re.ASCII):
        raise InputError(f"split: {split[:80]!r} (allowed: {', '.join(splits)}, or slices such as train[:10])")


def load(
    folder: Path, schema: Schema, shards: Mapping[str, Sequence[str]], hashes: Mapping[str, str], split: str | None
) -> "datasets.DatasetDict | datasets.Dataset":
    """Loads one config of a local data folder, whatever characters are in its path.

    `datasets` takes paths for patterns (`[1]`, `*`, `?`) and for chains of file systems (`::`); here it is told files.
    What it keeps in its cache is found again by their hashes.

    Args:
        folder: the data folder.
        schema: of the config to be loaded.
        shards: split to the paths of the config's shards in the folder, in order.
        hashes: path of a shard to its sha256.
        split: as `datasets` takes it; None for all.

    Raises:
        InputError: the cache cannot be written, or `datasets` does not read a shard.
    """
    import datasets  # takes most of a second
    from datasets.data_files import DataFilesList

    try:
        root = _plain(Path(os.path.abspath(folder)), Path(datasets.config.HF_DATASETS_CACHE))
        files = {
            name: DataFilesList([str(root / path) for path in paths], [(hashes[path],) for path in paths])
            for name, paths in shards.items()
        }
        return datasets.load_dataset(
            "parquet", schema.config, data_files=files, features=schema.features(), split=split
        )
    except (OSError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        if told := unwritable(error):
            raise told from None
        cause = error.__cause__ or error
        raise InputError(
            f"{folder}: {schema.config}: `datasets` cannot read it ({' '.join(str(cause).split()):.200})"
        ) from None


def _plain(folder: Path, cache: Path) -> Path:
    """The folder, or where its path has `::`, which `datasets` splits any path at, a link to it in its cache."""
    if "::" not in str(folder):
        return folder
    link = cache / "gsbench" / hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        with contextlib.suppress(FileExistsError):  # another process has made it just now
            link.symlink_to(folder)
    return link
