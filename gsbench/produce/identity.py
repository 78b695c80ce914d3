"""What a build calls its data set: decided by the meshes, and by their owner where they are of no known collection.

The meshes of ModelNet10, told by their hashes, make `modelnet10-gs`, and the procedural ones `mini`: with the words of
their source, and the list of what is missing. All others have the name that is given, or that of their folder. What a
limit left, some of a collection's classes, or few of its objects are a part, whose name has a hash of what it holds.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from gsbench.core.parsing import InputError, check_name
from gsbench.core.tasks import fingerprint
from gsbench.meshes.split import MeshFile, mesh_sha256
from gsbench.produce.description import Description
from gsbench.produce.preset import Limit, Preset, Wording, load_wording
from gsbench.store import origin
from gsbench.store.audit import Audit, load_audit
from gsbench.store.card import About
from gsbench.store.schema import SPLITS

_MOSTLY = 0.5
"""A folder of which this share is ModelNet10's and the rest is not may be a damaged ModelNet10: that needs a word."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_LICENSE = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """What names a data set beside its meshes.

    Attributes:
        meshes: the folder of the meshes.
        listed: all meshes in it, more than a limit takes.
        preset: the preset's name, or its file.
        name: the data set's; None is that of the meshes' collection, or of their folder.
    """

    meshes: Path
    listed: Sequence[MeshFile]
    preset: str
    name: str | None = None


def identify(description: Description, files: Sequence[MeshFile], recipe: Preset, given: Given) -> Description:
    """The description of a build with the origin of its meshes, and the data set's words as `recipe["about"]`.

    Args:
        description: has the hashes of the meshes, and no origin yet.
        files: the meshes that are taken.
        recipe: the preset.
        given: what else names the data set.

    Raises:
        InputError: a name that is needed, not allowed, or kept for other meshes.
    """
    objects = {object_id: origin.Source(m.label, m.split, m.sha256) for object_id, m in description.meshes.items()}
    collection = _find_collection(objects, files, given, named=given.name is not None or bool(recipe.about.name))
    part = len(files) < len(given.listed) or (collection is not None and origin.is_part(collection, objects))
    contents = fingerprint({object_id: source.sha256 or "" for object_id, source in objects.items()})
    about = _word(recipe.about, collection, given, recipe.limit_per_class)
    if part:
        about = _word_part(about, objects, collection, contents)
    check_name("about.version", about.version)
    if not about.title.isprintable():
        raise InputError(f"about.title is {about.title!a} (must be printable characters)")
    table = {**description.recipe, "about": dataclasses.asdict(about)}
    return dataclasses.replace(description, recipe=table, derived_from=collection, part=part)


def _find_collection(
    objects: Mapping[str, origin.Source], files: Sequence[MeshFile], given: Given, named: bool
) -> str | None:
    paths = {file.object_id: file.path for file in files}
    for collection in origin.COLLECTIONS:
        foreign, proven = origin.strangers(collection, objects, paths)
        if proven and not foreign:
            return collection
        if collection == origin.MODELNET10 and proven >= _MOSTLY * len(objects) and not named:
            raise InputError(
                f"{given.meshes}: {len(foreign)} of {len(objects)} meshes are not those of ModelNet10, such as "
                f"{paths[foreign[0]]} (its id, class, split or sha256 is another): mend or remove them, or name the "
                "data set yourself with --name"
            )
    return None


def _word(own: Wording, collection: str | None, given: Given, limit: Limit | None) -> About:
    """The words of the whole; what a preset of one's own states goes before what the meshes say."""
    variant, named = own.variant or own.version, given.name if given.name is not None else own.name or None
    if collection is not None:
        words = load_wording(collection)
        name = words.name if named is None else _check_name(named)
        heading = named or words.title
        bracket = "" if variant in heading.split() else f" ({variant})"
        title = f"{heading}{bracket}: {words.what} as 3D Gaussians"
        license_, source = words.license, words.source
    else:
        name = _name_of(given.meshes) if named is None else _check_free("--name", _check_name(named))
        title = f"{name} ({variant}): meshes as 3D Gaussians"
        license_ = _LICENSE
        source = (
            f"Made from the {len(given.listed)} mesh files of a folder called `{_safe(given.meshes.resolve().name)}`. "
            "They are of no collection that gsbench knows: where they come from and what terms they are under is for "
            "their owner to say."
        )
    version = own.version
    if collection != own.meshes and not given.preset.endswith(".toml") and not version.endswith(given.preset):
        version = f"{version}-{given.preset}"
    if limit is not None:
        version = f"{version}-first-{limit.train}-{limit.test}"
        source = (
            f"Not all objects: of each class the first {limit.train} for training and the first {limit.test} for "
            f"testing, in the order of their ids.\n\n{source}"
        )
    if own.note:
        source = f"{own.note.strip()}\n\n{source}"
    return About(name, version, own.title or title, own.license or license_, own.source or source)


def _word_part(about: About, objects: Mapping[str, origin.Source], collection: str | None, contents: str) -> About:
    """The words of a part: its name tells it from every other part, and its heading says what it has."""
    counts = Counter(source.split for source in objects.values())
    classes = len({source.label for source in objects.values()})
    has = f"{counts['train']} training and {counts['test']} test objects of {classes} classes"
    of = f" of the {len(origin.known_objects(collection)):,} objects" if collection else ""
    return dataclasses.replace(
        about,
        name=f"{about.name}-part-{contents[:8]}",
        title=f"{about.title}, a part: {has}",
        source=f"A part{of}: {has}.\n\n{about.source}",
    )


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"--name: {name!a} (allowed: up to 80 letters, digits and . _ -, the first a letter or digit)")
    return name


def _check_free(where: str, name: str) -> str:
    if origin.is_reserved(name):
        raise InputError(
            f"{where}: the name {name!r} is kept for what is made from ModelNet10's meshes or gsbench's procedural "
            "shapes, file by file, and these meshes are others (allowed: any other name, given with --name)"
        )
    return name


def _name_of(meshes: Path) -> str:
    """The folder's name, made safe."""
    name = _safe(meshes.resolve().name)
    if not name:
        raise InputError(f"{meshes}: no name for the data set can be made of this folder's (give one with --name)")
    return _check_free(str(meshes), name)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-_")[:80]


def missing_objects(description: Description) -> tuple[str, ...]:
    """Ids of the collection's objects that there was no mesh of; a part lacks none, since it says what it has."""
    if description.derived_from is None or description.part:
        return ()
    return tuple(name for name in origin.known_objects(description.derived_from) if name not in description.meshes)


def require_audited(path: Path, description: Description, given: Given) -> Audit:
    """The audit in a file, which must be of all meshes that are there, or of all that are taken.

    Raises:
        InputError: it cannot be read, or is of other meshes.
    """
    found = load_audit(path)
    taken = {object_id: mesh.sha256 or "" for object_id, mesh in description.meshes.items()}
    if found.files_sha256 == fingerprint(taken):
        return found
    others = [file for file in given.listed if file.object_id not in taken]
    try:
        if others and found.files_sha256 == fingerprint(
            taken | {file.object_id: mesh_sha256(file.path) for file in others}
        ):
            return found
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    sizes = ", ".join(f"{found.objects.get(split, 0)} {split}" for split in SPLITS)
    raise InputError(
        f"{path}: is of other meshes ({sizes}) than those in {given.meshes} (allowed: what `gsbench audit "
        f"{given.meshes} --out FILE` wrote of the files as they are)"
    )
