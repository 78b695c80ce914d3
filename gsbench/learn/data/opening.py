"""From a data folder and a task to its objects."""

import dataclasses
from collections.abc import Callable, Sequence

from gsbench.core.parsing import InputError
from gsbench.core.recipe import ImageOptions
from gsbench.core.tasks import CamerasOf, Modality, Task, ViewsFrom, ids_sha256, regime_ids
from gsbench.learn.data.clouds import columns_of, most_points, open_points
from gsbench.learn.data.images import config_of, mean_psnr, open_images, rows_of, views_of
from gsbench.learn.data.objects import Objects
from gsbench.store.folder import Folder, check_configs, read_labels, read_shards


def most_inputs(folder: Folder, modality: Modality, views_from: ViewsFrom, cameras: CamerasOf = "train") -> int:
    """The largest number of points, Gaussians or views that an object of the data set's test split has.

    Raises:
        InputError: the data set lacks the modality, or images of such cameras.
    """
    if modality != "images":
        return most_points(folder, modality, "test")
    views = views_of(folder, views_from, "test", cameras)
    if not views:
        raise InputError(f"{folder.path}: no images of {views_from} from {cameras} cameras (must have some)")
    return max(map(len, views.values()))


def training_ids(folder: Folder, regime: int | None, draw: int) -> list[str]:
    """The training objects of a regime, sorted: of a folder with a held-out part, of what is left for training.

    Raises:
        InputError: they are not those that the data set's manifest freezes; the message names both hashes.
    """
    if regime is None:
        raise InputError("regime is unknown (must be known to train)")
    ids = regime_ids(read_labels(folder, "train"), regime, draw)
    frozen = folder.manifest.regimes.get(f"{regime}/{draw}")
    if not folder.validation and frozen and frozen.sha256 != (digest := ids_sha256(ids)):
        raise InputError(
            f"{folder.path}: regime {regime}/{draw} has ids of sha256 {digest[:12]} "
            f"(must be {frozen.sha256[:12]}, as manifest.json says)"
        )
    return ids


def open_objects(
    folder: Folder,
    task: Task,
    split: str,
    how: ImageOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    min_opacity: float = 0.0,
    sampling_draw: int = 0,
) -> Objects:
    """Reads the objects of a task: of `train` those of its regime, of `test` all.

    An object gives the first `num_points` of its furthest-point order, or as many drawn uniformly without replacement,
    the same ones each time. Those are centered on their mean and scaled into the unit sphere; a Gaussian's log-scales
    move with them, by minus the log of the radius, and its quaternion takes the sign with w >= 0. An object with fewer
    points is padded. Of images it gives `num_views`, evenly spaced along the rig; only test images may be of other
    cameras than those that Gaussians were fitted to.

    Args:
        folder: the data set.
        task: what is fed to the model.
        split: `train` or `test`.
        how: the images' size, to which they are resized with antialiasing; None leaves it as it is stored.
        progress: called with images read and images in all.
        min_opacity: Gaussians that are less opaque are left out before any are chosen; surface points have no opacity.
        sampling_draw: 0 for the points described above; another number for other points: a uniform draw of its own, or
            a furthest-point order from a start that is drawn. How much a score depends on them is told so.

    Raises:
        InputError: the data set lacks the modality, the split or the regime's objects; or the task asks for more points
            or views than there are, or than the stored order is long; or images are damaged, differ in size, or would
            not fit into memory.
    """
    chosen = _ids(folder, task, split)
    if task.modality != "images":
        return open_points(folder, task, split, set(chosen), min_opacity, sampling_draw)
    views_from, num_views, cameras = _views(task, split)
    size = None if how is None else how.size
    return open_images(folder, views_from, split, chosen, num_views, size, cameras, progress)


def check_data(folder: Folder, tasks: Sequence[Task], notify: Callable[[str], None] | None = None) -> None:
    """Holds what tasks are made from against the manifest, and looks at every value of their test objects.

    What training reads is looked at then; test objects are read only after it.

    Args:
        folder: the data set.
        tasks: on it.
        notify: as in `gsbench.store.folder.check_configs`.

    Raises:
        InputError: the data are not those of the manifest, or break a promise of the schema; the message names shard,
            object and column.
    """
    images = [task for task in tasks if task.modality == "images"]
    configs = {config_of(_views(task, "test")[0]) for task in images}
    configs |= {task.modality for task in tasks if task.modality != "images"}
    first = next(iter(folder.manifest.counts))
    check_configs(folder, [first, *sorted(configs - {first})], notify)
    for task in tasks:
        if task.modality != "images":
            for _ in read_shards(folder, task.modality, "test", ["object_id", *columns_of(task)]):
                pass


def check_views(folder: Folder, task: Task, split: str) -> None:
    """Raises the InputError of `open_objects` for a task on images that too few are there for, and reads none of them.

    Args:
        folder: the data set.
        task: on images.
        split: `train` or `test`.
    """
    views_from, num_views, cameras = _views(task, split)
    rows_of(folder, views_from, split, _ids(folder, task, split), num_views, cameras)


def stored_psnr(folder: Folder, task: Task, split: str) -> float:
    """Mean PSNR in dB of the renders of Gaussians that a task's images are."""
    _, num_views, cameras = _views(task, split)
    return mean_psnr(folder, split, _ids(folder, task, split), num_views, cameras)


def _ids(folder: Folder, task: Task, split: str) -> list[str]:
    return training_ids(folder, task.regime, task.draw) if split == "train" else sorted(read_labels(folder, split))


def _views(task: Task, split: str) -> tuple[ViewsFrom, int, CamerasOf]:
    assert task.num_views is not None, "a task on images has a number of views"
    assert task.views_from is not None, "a task on images says what they show"
    assert task.views_from != "unknown", "images that are loaded are known"
    assert task.cameras != "unknown", "a task on images says from where"
    return task.views_from, task.num_views, "train" if split == "train" else task.cameras


def open_pairs(
    folder: Folder,
    points: Task,
    images: Task,
    split: str,
    how: ImageOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    min_opacity: float = 0.0,
) -> Objects:
    """Reads points and images of the same objects, for a model that sees both.

    Args:
        folder: the data set.
        points: a task on points or Gaussians.
        images: a task on images, of the same regime and draw.
        split: `train` or `test`.
        how: as in `open_objects`.
        progress: as in `open_objects`.
        min_opacity: as in `open_objects`.

    Raises:
        InputError: as `open_objects`.
    """
    assert (points.regime, points.draw) == (images.regime, images.draw), "pairs are of the same objects"
    clouds = open_objects(folder, points, split, min_opacity=min_opacity)
    views = open_objects(folder, images, split, how, progress)
    return dataclasses.replace(clouds, images=views.images)
