"""What stands in a published data set beside the shards: card, license, croissant.json and a picture."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gsbench.store.audit import AUDIT
from gsbench.store.card import About, card
from gsbench.store.croissant import croissant
from gsbench.store.folder import Folder, read_labels, read_shards
from gsbench.store.manifest import MANIFEST
from gsbench.store.quality import read_scores
from gsbench.store.webp import decode_image

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
