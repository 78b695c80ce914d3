"""A data folder onto the Hugging Face Hub: verified first, whole or not at all, and tagged last."""

import dataclasses
import hashlib
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gsbench.core.parsing import InputError, parse
from gsbench.produce.verification import verify
from gsbench.store.audit import AUDIT
from gsbench.store.card import About
from gsbench.store.folder import Folder, open_folder
from gsbench.store.hub import download
from gsbench.store.hub_errors import explain, patiently
from gsbench.store.hub_files import CROISSANT, PICTURE, hub_files
from gsbench.store.load import REPO
from gsbench.store.manifest import MANIFEST, Manifest, load_manifest
from gsbench.store.origin import MODELNET10, origin_of
from gsbench.store.schema import CONFIGS

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_COMMIT_BYTES = 1_000_000_000
"""Shards that go into one commit: what an interrupted upload may have to send again."""

_SILENCE = 120.0
"""Seconds that an upload waits for a byte, a commit of many files among them; the client itself would wait for ever."""

_TOKEN = re.compile(r"[\w.~+/=-]+", re.ASCII)
_FORBIDDEN = {
    MODELNET10: "ModelNet's terms do not let what is made from its meshes be handed out",
    "unknown": "nothing says under what license its source may be handed out",
    "no-derivatives": "its license does not let what is derived from the source be handed out",
}
"""Terms that forbid publication, by the name that permits it all the same."""

_OURS = (*(f"{config}/*" for config in CONFIGS), AUDIT, CROISSANT, PICTURE, "eval.yaml")
"""What a repository may hold of an earlier version; whatever else is in it is its owner's, and stays."""


@dataclass(frozen=True, slots=True)
class Change:
    """What publishing does to one file of the repository: `new`, `changed`, `same` or `removed`."""

    what: str
    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Published:
    """What was, or would be, published.

    Attributes:
        repo: ORG/NAME.
        changes: of every file.
        tag: of the data set's version.
        commit: that the tag is at; None in a dry run. A tag that was there stays where it is.
    """

    repo: str
    changes: tuple[Change, ...]
    tag: str
    commit: str | None = None


def publish(
    path: Path,
    repo: str,
    private: bool = False,
    dry_run: bool = False,
    may_publish: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Published:
    """Verifies a data folder and puts it onto the Hub as a data set repository.

    Shards go up first, in commits of a gigabyte, then in one commit the manifest, the card and all else, and the
    removal of shards and pictures of earlier versions. The checksums of everything are then asked for, and compared;
    the tag, the data set's version, comes last. An interrupted upload goes on when it is begun again.

    Args:
        path: the data folder.
        repo: ORG/NAME; made where there is none.
        private: whether a repository that is made is private.
        dry_run: say what would change, and write nothing.
        may_publish: terms that forbid it and that the caller has leave from, as the refusal names them.
        progress: of the verification, called with bytes done and bytes in all.

    Returns:
        What changed.

    Raises:
        InputError: `verify` finds something, the terms of the source forbid it, no token, the repository has this
            version of other data, or the Hub refuses or fails; a tag is set in none of these.
    """
    if not REPO.fullmatch(repo):
        raise InputError(f"repo: {repo[:80]!r} (must be ORG/NAME, of letters, digits, . _ -)")
    folder = open_folder(path)
    manifest = folder.manifest
    _check_version(path, manifest.version)
    origin = origin_of(folder)
    collection = origin.collection if origin else manifest.derived_from
    about = _about(folder)
    _check_terms(path, collection, about.license, may_publish)
    if not dry_run:
        _token()
    report = verify(path, progress=progress)
    if not report.ok:
        more = f" and {len(report.problems) - 1} more" if len(report.problems) > 1 else ""
        raise InputError(f"{path}: {report.problems[0]}{more} (run `gsbench verify`)")
    described = Folder(path, dataclasses.replace(manifest, derived_from=collection))
    try:
        with tempfile.TemporaryDirectory(prefix="gsbench-publish-") as made:
            files = hub_files(described, about, repo, Path(made))
            return _upload(files, manifest, repo, private, dry_run)
    except InputError:
        raise
    except Exception as error:  # the Hub's client and the libraries below it share no base class
        again = "" if dry_run else "; no tag was set, what is uploaded stays: begin again to go on"
        raise InputError(f"{repo}: {explain(error, repo)}{again}") from None


def _check_version(path: Path, version: str) -> None:
    if version in ("main", "HEAD") or re.fullmatch(r"[0-9a-f]{40}", version):
        raise InputError(f"{path}: version is {version!r} (must be no branch or commit: it becomes the tag)")


def _about(folder: Folder) -> About:
    table = folder.manifest.recipe.get("about", {})
    known = {key: table[key] for key in About.__dataclass_fields__ if key in table}
    return parse(known, About, f"{folder.path / MANIFEST}: recipe.about")


def _check_terms(path: Path, collection: str | None, license_: str, may_publish: Collection[str]) -> None:
    for known in may_publish:
        if known not in _FORBIDDEN:
            raise InputError(f"may_publish: {known[:80]!r} (allowed: {', '.join(_FORBIDDEN)})")
    if collection == MODELNET10:
        terms = MODELNET10
    elif license_.strip().lower() in ("unknown", "other", "none", ""):
        terms = "unknown"
    elif "nd" in license_.lower().split("-"):
        terms = "no-derivatives"
    else:
        return
    if terms not in may_publish:
        raise InputError(
            f"{path}: {_FORBIDDEN[terms]}. If you have the owners' leave, or the repository is private and for you "
            f"alone, say --may-publish {terms}"
        )


def _upload(files: dict[str, Path], manifest: Manifest, repo: str, private: bool, dry_run: bool) -> Published:
    import huggingface_hub

    api = huggingface_hub.HfApi(token=None if dry_run else _token())
    there = _remote_files(api, repo)
    tag = manifest.version
    tagged = None if there is None else _tagged(api, repo, tag, manifest)
    known = there or {}
    changes = [_compare(name, path, manifest, known) for name, path in files.items()]
    removed = [name for name in known if name not in files and _is_ours(name)]
    changes += [Change("removed", name, 0) for name in removed]
    if dry_run:
        return Published(repo, tuple(changes), tag)
    if there is None:
        patiently(lambda: api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True))
    changed = {change.path for change in changes if change.what in ("new", "changed")}
    for group in _groups([name for name in manifest.shards if name in changed], manifest):
        _commit(api, repo, {name: files[name] for name in group}, (), f"{len(group)} shards of {manifest.name} {tag}")
    rest = {name: files[name] for name in files if name in changed and name not in manifest.shards}
    commit = _commit(api, repo, rest, removed, f"{manifest.name} {tag}, fingerprint {manifest.fingerprint()[:8]}")
    commit = commit or patiently(lambda: str(api.dataset_info(repo).sha))
    _check_uploaded(api, repo, commit, files, manifest)
    if tagged is None:
        patiently(lambda: api.create_tag(repo, repo_type="dataset", tag=tag, revision=commit))
    return Published(repo, tuple(changes), tag, tagged or commit)


def _is_ours(name: str) -> bool:
    return any(Path(name).match(pattern) for pattern in _OURS)


def _token() -> str:
    import huggingface_hub

    token = huggingface_hub.get_token()
    if token is None:
        raise InputError("no token for the Hugging Face Hub: log in with `hf auth login`, or set HF_TOKEN")
    if not _TOKEN.fullmatch(token):
        raise InputError("the token of HF_TOKEN, or of `hf auth login`, has characters that no token has; log in again")
    return str(token)


def _remote_files(api: "HfApi", repo: str) -> dict[str, str] | None:
    """Path -> sha256 of a large file, git's hash of a small one, at the newest commit; None without a repository."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        commit = patiently(lambda: str(api.dataset_info(repo).sha))
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return None
    return _listed(api, repo, commit)


def _listed(api: "HfApi", repo: str, commit: str) -> dict[str, str]:
    from huggingface_hub.hf_api import RepoFile

    tree = patiently(lambda: [*api.list_repo_tree(repo, repo_type="dataset", revision=commit, recursive=True)])
    return {each.path: each.lfs.sha256 if each.lfs else each.blob_id for each in tree if isinstance(each, RepoFile)}


def _tagged(api: "HfApi", repo: str, tag: str, manifest: Manifest) -> str | None:
    """The commit of a tag that is there, None without one; refuses a version that the repository has of other data."""
    refs = patiently(lambda: api.list_repo_refs(repo, repo_type="dataset"))
    tags = {each.name: str(each.target_commit) for each in refs.tags}
    if tag not in tags:
        return None
    theirs = load_manifest(download(repo, tag, [])).fingerprint()
    if theirs != manifest.fingerprint():
        raise InputError(
            f"{repo}: has version {tag} already, of other data (fingerprint {theirs[:8]}, here "
            f"{manifest.fingerprint()[:8]}): raise about.version of the preset, or publish to another repository"
        )
    return tags[tag]


def _compare(name: str, path: Path, manifest: Manifest, known: dict[str, str]) -> Change:
    size = path.stat().st_size
    if name not in known:
        return Change("new", name, size)
    if name in manifest.shards:
        same = known[name] == manifest.shards[name].sha256
    else:
        data = path.read_bytes()
        digests = (hashlib.sha256(data).hexdigest(), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())
        same = known[name] in digests
    return Change("same" if same else "changed", name, size)


def _groups(names: Sequence[str], manifest: Manifest) -> Iterator[list[str]]:
    group: list[str] = []
    for name in names:
        if group and sum(manifest.shards[each].bytes for each in (*group, name)) > _COMMIT_BYTES:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _commit(api: "HfApi", repo: str, files: dict[str, Path], removed: Sequence[str], message: str) -> str | None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils import get_session

    operations: list[CommitOperationAdd | CommitOperationDelete]
    operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    operations += [CommitOperationDelete(name) for name in removed]
    if not operations:
        return None
    session = get_session()
    before, session.timeout = session.timeout, _SILENCE
    try:
        return str(api.create_commit(repo, operations, commit_message=message, repo_type="dataset").oid)
    finally:
        session.timeout = before


def _check_uploaded(api: "HfApi", repo: str, commit: str, files: dict[str, Path], manifest: Manifest) -> None:
    """Compares what the Hub says that it has with what was sent."""
    known = _listed(api, repo, commit)
    wrong = [name for name, path in files.items() if _compare(name, path, manifest, known).what != "same"]
    wrong += [name for name in known if name not in files and _is_ours(name)]
    if wrong:
        raise InputError(f"{repo}: {wrong[0]} is not what was sent, {len(wrong)} in all; no tag is set, begin again")
