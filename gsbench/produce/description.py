"""What decides the bytes of a build, written down, so that no work folder is gone on with by another build."""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gsbench
from gsbench.core.source import LIBRARY, find_sources, reader, sources_sha256
from gsbench.meshes.split import MeshFile, mesh_sha256
from gsbench.produce.preset import Preset

FORMAT = 2
"""Of a work folder's files."""

_PROGRAMS = (
    "numpy", "numba", "llvmlite", "pillow", "fpsample", "trimesh", "pyarrow", "datasets", "huggingface_hub",
)  # fmt: skip
_DRAWN_WITH = ("pyrender", "PyOpenGL")
_FITTED_WITH = ("torch", "gsplat")


@dataclass(frozen=True, slots=True)
class Source:
    """One mesh file: what is made of it, and how to tell that it is still the same without reading it.

    Attributes:
        label: the class.
        split: `train` or `test`.
        sha256: of its bytes, or None where it could not be read.
        bytes: its size.
        mtime_ns: when it was last written.
    """

    label: str
    split: str
    sha256: str | None
    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Description:
    """Everything that decides a build.

    Attributes:
        format: of the work folder.
        recipe: the whole preset.
        code: hash of the modules that a build runs.
        programs: versions, and the device of the fit, `cpu` or `cuda`.
        meshes: the objects by id.
        derived_from: the collection that they are of, or None; see `gsbench.store.origin`.
        part: whether they are only some of the objects that were at hand, or few of the collection's.
    """

    format: int
    recipe: dict[str, Any]
    code: str
    programs: dict[str, str]
    meshes: dict[str, Source]
    derived_from: str | None = None
    part: bool = False


def describe(files: Sequence[MeshFile], recipe: Preset, device: str, known: Mapping[str, Source]) -> Description:
    """Describes a build. Files that are as `known` has them are not read again."""
    return Description(
        format=FORMAT,
        recipe=json.loads(json.dumps(dataclasses.asdict(recipe))),  # as it is read again: JSON has no tuples
        code=code_sha256()[:12],
        programs=find_programs(recipe.render.renderer, device),
        meshes={file.object_id: _source(file, known.get(file.object_id)) for file in files},
    )


def find_programs(renderer: str, device: str) -> dict[str, str]:
    """The versions here of all that decides a byte, and the device."""
    programs = [*_PROGRAMS]
    programs += _DRAWN_WITH if renderer == "pyrender" else ()
    programs += _FITTED_WITH if device == "cuda" else ()
    versions = {name: _version(name) for name in programs}
    return {"gsbench": gsbench.__version__, "python": platform.python_version(), **versions, "device": device}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def code_sha256() -> str:
    """Of the modules that a build runs, which can decide a byte: two checkouts of one version are two programs."""
    return sources_sha256(find_sources(reader(), ["gsbench.produce.build"], [LIBRARY]))


def _source(file: MeshFile, known: Source | None) -> Source:
    try:
        status = file.path.stat()
        size, written = status.st_size, status.st_mtime_ns
        same = known is not None and (known.bytes, known.mtime_ns) == (size, written)
        sha256 = known.sha256 if known and same and known.sha256 else mesh_sha256(file.path)
    except OSError:
        size, written, sha256 = 0, 0, None
    return Source(file.label, file.split, sha256, size, written)


def mended_meshes(theirs: Description, ours: Description, aside: Collection[str]) -> set[str]:
    """Ids whose meshes may differ between two builds, since no object was made of them: those of `aside` that are
    gone or other files now, and as many new ones as are gone, under which they may be there again."""
    gone = {object_id for object_id in aside if object_id in theirs.meshes and object_id not in ours.meshes}
    other = {
        object_id
        for object_id in aside
        if object_id in theirs.meshes
        and object_id in ours.meshes
        and not _same_mesh(theirs.meshes[object_id], ours.meshes[object_id])
    }
    new = sorted(ours.meshes.keys() - theirs.meshes.keys())
    return gone | other | (set(new) if len(new) <= len(gone) else set())


def without_meshes(description: Description, object_ids: Collection[str]) -> Description:
    """The description of the build of all other meshes; its words are left out, since they tell of all."""
    meshes = {name: mesh for name, mesh in description.meshes.items() if name not in object_ids}
    return dataclasses.replace(description, meshes=meshes, recipe={**description.recipe, "about": None})


def first_difference(theirs: Description, ours: Description) -> str | None:
    """The first thing that makes two builds different ones, in words; None if one can go on with the other's work."""
    for name in ("recipe", "programs", "code"):
        before, now = dict(_leaves(name, getattr(theirs, name))), dict(_leaves(name, getattr(ours, name)))
        for key in dict.fromkeys([*before, *now]):
            if before.get(key) != now.get(key):
                return f"its {key} is {before.get(key, 'not set')}, yours is {now.get(key, 'not set')}"
    if missing := sorted(theirs.meshes.keys() - ours.meshes.keys()):
        return f"it has {len(missing)} meshes that you have not, such as {missing[0]}"
    if more := sorted(ours.meshes.keys() - theirs.meshes.keys()):
        return f"you have {len(more)} meshes that it has not, such as {more[0]}"
    for object_id, source in theirs.meshes.items():
        if not _same_mesh(source, ours.meshes[object_id]):
            return f"its mesh of {object_id} is not the one that you have"
    return None


def _same_mesh(theirs: Source, ours: Source) -> bool:
    """Whether it is the same mesh in the same place; one that could not be read may have been any."""
    same = None in (theirs.sha256, ours.sha256) or theirs.sha256 == ours.sha256
    return same and (theirs.label, theirs.split) == (ours.label, ours.split)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key, value
