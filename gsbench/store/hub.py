"""Data sets on the Hugging Face Hub: brought here shard by shard, each held against the manifest."""

import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from gsbench.core.parsing import InputError
from gsbench.store.audit import AUDIT
from gsbench.store.hashes import check_hash
from gsbench.store.hub_errors import explain, is_outage, patiently, redact, unwritable
from gsbench.store.manifest import MANIFEST, Manifest, load_manifest

_SECONDS = 4.0
"""How long `has` waits: it is asked where nobody named the Hub."""

_AT_ONCE = 4
_CARD = "README.md"


def download(
    repo: str,
    revision: str | None,
    configs: Sequence[str] | None,
    fingerprint: str | None = None,
    notify: Callable[[str], None] = warnings.warn,
) -> Path:
    """Brings a data set to this machine, or what of it is not here yet.

    Where the Hub cannot be reached, a copy that was brought here before is taken, and `notify` says so.

    Args:
        repo: ORG/NAME.
        revision: a branch, tag or commit; None is the newest.
        configs: the configs whose shards to bring; None is all of them.
        fingerprint: of the data that are meant; None takes the repository at its word.
        notify: called with one line.

    Returns:
        The folder in Hugging Face's cache. Each shard in it that was asked for is the manifest's.

    Raises:
        InputError: there is none such, it is not allowed, the Hub cannot be reached, a shard or the fingerprint is
            another, or the cache cannot be written.
    """
    folder, online = _find(repo, revision, notify)
    manifest = load_manifest(folder)
    check_fingerprint(manifest, fingerprint, repo)
    names = [name for name in manifest.shards if configs is None or name.partition("/")[0] in configs]
    others = [AUDIT] if manifest.audit_sha256 else []

    def bring() -> None:
        if online:
            with contextlib.suppress(_entry_not_found()):
                _fetch(repo, _CARD, folder.name)
        _side_by_side([functools.partial(_fetch, repo, name, folder.name) for name in (*others, *names)])

    missing = [name for name in (*others, *names) if not (folder / name).is_file()]
    if online or missing:
        _told(bring, repo, revision, lambda: _bytes_so_far(folder))
    for name in names:
        _check(folder / name, manifest, name)
    return folder


def check_fingerprint(manifest: Manifest, fingerprint: str | None, where: object) -> None:
    """Raises an InputError unless the data are those of a fingerprint; None takes any."""
    found = manifest.fingerprint()
    if fingerprint is not None and found != fingerprint:
        raise InputError(f"{where}: its fingerprint is {found[:12]} (must be {fingerprint[:12]}: these are other data)")


def _find(repo: str, revision: str | None, notify: Callable[[str], None]) -> tuple[Path, bool]:
    """The folder with the manifest of a revision, and whether the Hub has answered for it."""
    import huggingface_hub  # takes .1 s
    from huggingface_hub import constants

    def ask() -> str:
        url = huggingface_hub.hf_hub_url(repo, MANIFEST, repo_type="dataset", revision=revision)
        huggingface_hub.get_hf_file_metadata(url)
        return _fetch(repo, MANIFEST, revision)

    try:
        return Path(patiently(ask)).parent, True
    except Exception as error:  # the Hub's client and the HTTP libraries below it share no base class
        if told := unwritable(error):
            raise told from None
        reason = explain(error, repo, revision)
        cached = _cached(repo, revision) if is_outage(error) else None
        if cached is None:
            raise _failure(repo, revision, reason) from None
        if not constants.HF_HUB_OFFLINE:
            notify(f"{repo}: the copy from before is used, the Hugging Face Hub has not answered: {reason}")
        return cached.parent, False


def _told(
    work: Callable[[], None], repo: str, revision: str | None, progress: Callable[[], object] = lambda: None
) -> None:
    try:
        patiently(work, progress)
    except InputError:
        raise
    except Exception as error:  # as above
        raise unwritable(error) or _failure(repo, revision, explain(error, repo, revision)) from None


def _failure(repo: str, revision: str | None, reason: str) -> InputError:
    at = f" at revision {redact(revision)}" if revision else ""
    return InputError(
        f"{repo}: no such folder, and not to be had from the Hugging Face Hub{at}: {reason}; the embedded data set "
        "`mini` needs no network"
    )


def _fetch(repo: str, name: str, revision: str | None) -> str:
    import huggingface_hub

    return str(huggingface_hub.hf_hub_download(repo, name, repo_type="dataset", revision=revision))


def _entry_not_found() -> type[Exception]:
    from huggingface_hub import errors

    return errors.EntryNotFoundError


def _side_by_side(jobs: list[Callable[[], str]]) -> None:
    """Runs the jobs, a few at once, in threads that end with the process; raises the first error of any."""
    waiting, failures = list(reversed(jobs)), list[BaseException]()

    def work() -> None:
        with contextlib.suppress(IndexError):
            while not failures:
                job = waiting.pop()
                try:
                    job()
                except BaseException as error:
                    failures.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _bytes_so_far(folder: Path) -> int:
    """Of a repository's files in the cache, those being written by other processes among them."""
    total = 0
    for path in (folder.parent.parent / "blobs").glob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _check(path: Path, manifest: Manifest, name: str) -> None:
    """Holds a downloaded shard against the manifest; one that is another is removed, to be brought anew."""
    try:
        check_hash(path, manifest.shards[name])
    except InputError as error:
        with contextlib.suppress(OSError):
            blob = path.resolve()
            path.unlink()
            blob.unlink()
        raise InputError(f"{error}; the copy was removed: try again, and tell who published it if this stays") from None


def _cached(repo: str, revision: str | None) -> Path | None:
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(repo, MANIFEST, repo_type="dataset", revision=revision)
    return Path(found) if isinstance(found, str) else None


def is_cached(repo: str) -> bool:
    """Whether a data set, or a part of it, was brought here before."""
    return _cached(repo, None) is not None


def has(repo: str) -> bool:
    """Whether the Hub has a data set; False when it does not answer in time."""
    import huggingface_hub

    try:
        return patiently(lambda: huggingface_hub.file_exists(repo, MANIFEST, repo_type="dataset"), seconds=_SECONDS)
    except Exception:  # whatever it was, the Hub is of no use now
        return False


def repository_of(folder: Path) -> tuple[str, str] | None:
    """ORG/NAME and the commit of a folder in Hugging Face's cache; None for any other folder."""
    from huggingface_hub import constants

    parts = folder.parts[-3:]
    kind, _, repo = parts[0].partition("--")
    if kind != "datasets" or parts[1] != "snapshots" or Path(constants.HF_HUB_CACHE) != folder.parents[2]:
        return None
    return repo.replace("--", "/"), folder.name


def urls_of(folder: Path, manifest: Manifest, config: str) -> dict[str, str]:
    """Where each shard of a config is read from, for streaming: the file if it is here, else its address on the Hub.

    A file is held against the manifest, of a shard on the Hub the hash that the Hub itself states for it.

    Raises:
        InputError: a shard is another, or the Hub cannot be reached.
    """
    names = [name for name in manifest.shards if name.startswith(f"{config}/")]
    place = repository_of(folder)
    if place is None or all((folder / name).is_file() for name in names):
        for name in names:
            check_hash(folder / name, manifest.shards[name])
        return {name: os.path.abspath(folder / name) for name in names}
    repo, commit = place
    stated: dict[str, str] = {}

    def ask() -> None:
        from huggingface_hub import hf_api

        for entry in hf_api.HfApi().list_repo_tree(repo, config, revision=commit, repo_type="dataset"):
            if isinstance(entry, hf_api.RepoFile) and entry.lfs:
                stated[entry.path] = entry.lfs.sha256

    _told(ask, repo, commit)
    for name in names:
        if stated.get(name) != manifest.shards[name].sha256:
            raise InputError(f"{repo}: {name}: shard is another than {MANIFEST} says, by the hash that the Hub states")
    return {name: f"hf://datasets/{repo}@{commit}/{name}" for name in names}
