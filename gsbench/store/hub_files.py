"""What stands in a published data set beside the shards: card, license, croissant.json and a picture."""

import io
from pathlib import Path

import numpy as np

from gsbench.store.audit import AUDIT
from gsbench.store.card import About, card
from gsbench.store.croissant import croissant
from gsbench.store.folder import Folder, read_images, read_labels
from gsbench.store.manifest import MANIFEST
from gsbench.store.quality import read_scores
from gsbench.store.webp import over_white

CROISSANT, PICTURE = "croissant.json", "objects.png"

_CARD, _LICENSE = "README.md", "LICENSE"
_PICTURED = 6


def hub_files(folder: Folder, about: About, repo: str, made: Path) -> dict[str, Path]:
    """Path in the repository -> the file that goes there; what is not in the folder is written to `made`.

    Raises:
        InputError: a shard is missing or damaged.
        OSError: `made` cannot be written.
    """
    manifest = folder.manifest
    picture = _picture(folder)
    if picture is not None:
        (made / PICTURE).write_bytes(picture)
    text = card(folder, about, read_scores(folder), repo, PICTURE if picture else None)
    (made / _CARD).write_text(text, encoding="utf-8")
    (made / _LICENSE).write_text(
        f"{about.title}\n\nLicense: {about.license}\n\n{about.source.strip()}\n", encoding="utf-8"
    )
    (made / CROISSANT).write_text(croissant(manifest, about, repo), encoding="utf-8")
    kept = [name for name in (MANIFEST, AUDIT, _LICENSE) if (folder.path / name).is_file()]
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
    renders = dict(read_images(folder, "reconstructions", set(wanted)))
    views = {key: image for key, image in read_images(folder, "views", set(wanted)) if key in renders}
    columns = []
    for object_id in wanted:
        shared = sorted(key for key in views if key[0] == object_id)
        if shared:
            columns.append(np.concatenate([over_white(views[shared[0]]), renders[shared[0]]]))
    if not columns:
        return None
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(columns, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()
