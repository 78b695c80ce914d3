"""A data folder onto the Hugging Face Hub: verified first, whole or not at all, and tagged last."""

import dataclasses
import hashlib
import io
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gsbench.core.parsing import InputError
from gsbench.produce.verification import verify
from gsbench.store.audit import AUDIT
from gsbench.store.card import About, card
from gsbench.store.croissant import croissant
from gsbench.store.folder import Folder, open_folder, read_labels, read_shards
from gsbench.store.hub import download
from gsbench.store.hub_errors import explain, patiently
from gsbench.store.load import REPO
from gsbench.store.manifest import MANIFEST, Manifest, load_manifest
from gsbench.store.origin import MODELNET10, origin_of
from gsbench.store.quality import read_scores
from gsbench.store.webp import decode_image

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_COMMIT_BYTES = 1_000_000_000
"""Shards that go into one commit: what an interrupted upload may have to send again."""

_CARD, _LICENSE, _CROISSANT, _PICTURE = "README.md", "LICENSE", "croissant.json", "objects.png"
_PICTURED = 6
_TOKEN = re.compile(r"[\w.~+/=-]+", re.ASCII)
_FORBIDDEN = {MODELNET10: "ModelNet's terms do not let what is made from its meshes be handed out"}
"""Collections whose terms forbid publication."""


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
        commit: that the tag is at; None where nothing was written.
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
    removal of what the folder does not have. The checksums of everything are then asked for, and compared; the tag, the
    data set's version, comes last. An interrupted upload goes on where it was when it is begun again.

    Args:
        path: the data folder.
        repo: ORG/NAME; made where there is none.
        private: whether a repository that is made is private.
        dry_run: say what would change, and write nothing.
        may_publish: collections, such as `modelnet10`, that the caller may publish though their terms forbid it.
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
    origin = origin_of(folder)
    collection = origin.collection if origin else None
    _check_terms(path, collection, may_publish)
    if not dry_run:
        _token()
    report = verify(path, progress=progress)
    if not report.ok:
        more = f" and {len(report.problems) - 1} more" if len(report.problems) > 1 else ""
        raise InputError(f"{path}: {report.problems[0]}{more} (run `gsbench verify`)")
    described = Folder(path, dataclasses.replace(manifest, derived_from=collection))
    try:
        with tempfile.TemporaryDirectory(prefix="gsbench-publish-") as made:
            files = _files(described, repo, Path(made))
            return _upload(files, manifest, repo, private, dry_run)
    except InputError:
        raise
    except Exception as error:  # the Hub's client and the libraries below it share no base class
        again = "" if dry_run else "; no tag was set, what is uploaded stays: begin again to go on"
        raise InputError(f"{repo}: {explain(error, repo)}{again}") from None


def _check_terms(path: Path, collection: str | None, may_publish: Collection[str]) -> None:
    for known in may_publish:
        if known not in _FORBIDDEN:
            raise InputError(f"may_publish: {known[:80]!r} (allowed: {', '.join(_FORBIDDEN)})")
    if collection in _FORBIDDEN and collection not in may_publish:
        raise InputError(
            f"{path}: is made from {collection}: {_FORBIDDEN[collection]}. If you have their owners' leave, or the "
            f"repository is private and for you alone, say --may-publish {collection}"
        )


def _files(folder: Folder, repo: str, made: Path) -> dict[str, Path]:
    """Path in the repository -> the file that goes there; what is not in the folder is written to `made`."""
    manifest = folder.manifest
    about = About(**{key: manifest.recipe["about"][key] for key in About.__dataclass_fields__})
    picture = _picture(folder)
    if picture is not None:
        (made / _PICTURE).write_bytes(picture)
    text = card(folder, about, read_scores(folder), repo, _PICTURE if picture else None)
    (made / _CARD).write_text(text, encoding="utf-8")
    (made / _LICENSE).write_text(
        f"{about.title}\n\nLicense: {about.license}\n\n{about.source.strip()}\n", encoding="utf-8"
    )
    (made / _CROISSANT).write_text(croissant(manifest, about, repo), encoding="utf-8")
    kept = [name for name in (MANIFEST, AUDIT) if (folder.path / name).is_file()]
    shards = {name: folder.path / name for name in manifest.shards}
    return shards | {file.name: file for file in sorted(made.iterdir())} | {name: folder.path / name for name in kept}


def _picture(folder: Folder) -> bytes | None:
    """A PNG of some objects, a column each: a view over white, and below it the render of its Gaussians."""
    from PIL import Image

    if not {"views", "reconstructions"} <= folder.manifest.counts.keys():
        return None
    labels = read_labels(folder, "test")
    first = {label: object_id for object_id, label in reversed(labels.items())}
    wanted = [first[label] for label in sorted(first)][:_PICTURED]
    renders = dict(_images(folder, "reconstructions", set(wanted)))
    views = {key: image for key, image in _images(folder, "views", set(wanted)) if key in renders}
    columns = []
    for object_id in wanted:
        shared = sorted(key for key in views if key[0] == object_id)
        if shared:
            view = views[shared[0]].astype(np.uint16)
            over_white = ((view[..., :3] * view[..., 3:] + 255 * (255 - view[..., 3:]) + 127) // 255).astype(np.uint8)
            columns.append(np.concatenate([over_white, renders[shared[0]]]))
    if not columns:
        return None
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(columns, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


def _images(folder: Folder, config: str, ids: set[str]) -> Iterator[tuple[tuple[str, int], Any]]:
    """(object id, view) and the image, of the cameras that views are from."""
    kinds = ["cameras"] if config == "reconstructions" else []
    for _, table in read_shards(folder, config, "test", ["object_id", "view", "image", *kinds]):
        for row, object_id in enumerate(table["object_id"].to_pylist()):
            if object_id in ids and not (kinds and table["cameras"][row].as_py() != "train"):
                yield (object_id, table["view"][row].as_py()), decode_image(table["image"][row].as_py()["bytes"])


def _upload(files: dict[str, Path], manifest: Manifest, repo: str, private: bool, dry_run: bool) -> Published:
    import huggingface_hub

    api = huggingface_hub.HfApi(token=None if dry_run else _token())
    there = _remote_files(api, repo)
    tag = manifest.version
    if there is not None:
        _check_tag(api, repo, tag, manifest)
    known = there or {}
    changes = [_compare(name, path, manifest, known) for name, path in files.items()]
    removed = [name for name in known if name not in files and name != ".gitattributes"]
    changes += [Change("removed", name, 0) for name in removed]
    if dry_run:
        return Published(repo, tuple(changes), tag)
    if there is None:
        api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
    changed = {change.path for change in changes if change.what in ("new", "changed")}
    for group in _groups([name for name in manifest.shards if name in changed], manifest):
        _commit(api, repo, {name: files[name] for name in group}, (), f"{len(group)} shards of {manifest.name} {tag}")
    rest = {name: files[name] for name in files if name in changed and name not in manifest.shards}
    commit = _commit(api, repo, rest, removed, f"{manifest.name} {tag}, fingerprint {manifest.fingerprint()[:8]}")
    commit = commit or str(api.dataset_info(repo).sha)
    _check_uploaded(api, repo, commit, files, manifest)
    api.create_tag(repo, repo_type="dataset", tag=tag, revision=commit, exist_ok=True)
    return Published(repo, tuple(changes), tag, commit)


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

    tree = api.list_repo_tree(repo, repo_type="dataset", revision=commit, recursive=True)
    return {each.path: each.lfs.sha256 if each.lfs else each.blob_id for each in tree if isinstance(each, RepoFile)}


def _check_tag(api: "HfApi", repo: str, tag: str, manifest: Manifest) -> None:
    """Refuses a version that the repository has of other data."""
    tags = {each.name for each in api.list_repo_refs(repo, repo_type="dataset").tags}
    if tag not in tags:
        return
    theirs = load_manifest(download(repo, tag, [])).fingerprint()
    if theirs != manifest.fingerprint():
        raise InputError(
            f"{repo}: has version {tag} already, of other data (fingerprint {theirs[:8]}, here "
            f"{manifest.fingerprint()[:8]}): raise about.version of the preset, or publish to another repository"
        )


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

    operations: list[CommitOperationAdd | CommitOperationDelete]
    operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    operations += [CommitOperationDelete(name) for name in removed]
    if not operations:
        return None
    return str(api.create_commit(repo, operations, commit_message=message, repo_type="dataset").oid)


def _check_uploaded(api: "HfApi", repo: str, commit: str, files: dict[str, Path], manifest: Manifest) -> None:
    """Compares what the Hub says that it has with what was sent."""
    known = _listed(api, repo, commit)
    wrong = [name for name, path in files.items() if _compare(name, path, manifest, known).what != "same"]
    wrong += [name for name in known if name not in files and name != ".gitattributes"]
    if wrong:
        raise InputError(f"{repo}: {wrong[0]} is not what was sent, {len(wrong)} in all; no tag is set, begin again")
