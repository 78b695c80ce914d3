"""The objects that two rows differ on, as a page with a picture of each, from the data at hand."""

import base64
import io
from pathlib import Path

from gsbench.board.compare import Comparison
from gsbench.board.site import Pages
from gsbench.core.files import write_atomic
from gsbench.core.parsing import InputError
from gsbench.store.folder import Folder, read_images
from gsbench.store.webp import over_white

_PIXELS = 192


def write_flips(path: Path, names: tuple[str, str], found: Comparison, folder: Folder) -> None:
    """Writes one page that needs nothing beside it.

    Args:
        path: of the page.
        names: of the two rows.
        found: what they differ on.
        folder: the data set with its views; what the page shows of it stays on this machine.

    Raises:
        InputError: the folder has no views, or a shard is missing or damaged.
        OSError: the page cannot be written.
    """
    if "views" not in folder.manifest.counts:
        raise InputError(f"{folder.path}: has {', '.join(folder.manifest.counts)} (must have views, for pictures)")
    better = [flip for flip in found.flips if flip.b > flip.a]
    worse = [flip for flip in found.flips if flip.b < flip.a]
    fewer = f"{abs(found.objects):.1f}".removesuffix(".0")
    objects = "object" if fewer == "1" else "objects"
    told = f"B gets {fewer} {objects} {'fewer' if found.objects < 0 else 'more'} right; p = {found.flips_p:.3f}."
    page = Pages().render(
        "flips.html",
        f"{names[0]} and {names[1]}",
        None,
        names=names,
        found=found,
        told=told,
        data_set=f"{folder.manifest.name} {folder.manifest.fingerprint()[:8]}",
        groups=[("B more often right", better), ("A more often right", worse)],
        pictures=_pictures(folder, {flip.object_id for flip in found.flips}),
        percent=lambda share: f"{100 * share:.1f}",
    )
    write_atomic(path, page.encode())


def _pictures(folder: Folder, ids: set[str]) -> dict[str, str]:
    """A view of each object as a `data:` address: the one a third of the way along its rig."""
    from PIL import Image

    views: dict[str, list[tuple[int, object]]] = {object_id: [] for object_id in ids}
    for (object_id, view), image in read_images(folder, "views", ids):
        views[object_id].append((view, image))
    pictures = {}
    for object_id, seen in views.items():
        if not seen:
            raise InputError(f"{folder.path}: no views of {object_id} (must have some)")
        _, image = sorted(seen, key=lambda pair: pair[0])[len(seen) // 3]
        picture = Image.fromarray(over_white(image))
        picture.thumbnail((_PIXELS, _PIXELS))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        pictures[object_id] = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return pictures
