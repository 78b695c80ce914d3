"""Gaussians in a wrong place or in other conventions, with every hash right: `verify` must say so."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.types import Gaussians, Mesh
from gsbench.meshes.off import save_off
from gsbench.meshes.split import mesh_sha256
from gsbench.produce.compare import compare
from gsbench.produce.verification import Alignment, verify
from gsbench.produce.verification.alignment import alignment_problems
from gsbench.store.arrays import Row
from gsbench.store.create import Contents, create_folder
from gsbench.store.schema import GAUSSIAN_COLUMNS
from gsbench.store.webp import encode_webp
from tests.store.conftest import (
    ABOUT,
    OBJECTS,
    RADIUS,
    SIZE,
    TWINS,
    gaussian_row,
    photographs,
    rows_of_everything,
    view_rows,
)  # fmt: skip

Change = Callable[[Row], Row]


def moved(row: Row, **change: np.ndarray) -> Row:
    return {**row, **{name: value.astype(np.float32) for name, value in change.items()}}


def shifted(row: Row) -> Row:
    return moved(row, means=row["means"] + np.array([0.4, 0, 0]))


def scaled(row: Row) -> Row:
    return moved(row, means=row["means"] * 0.7, scales=row["scales"] * 0.7)


def enlarged(row: Row) -> Row:
    return moved(row, scales=np.exp(row["scales"]))


def in_log(row: Row) -> Row:
    return moved(row, scales=np.log(row["scales"]))


def in_logit(row: Row) -> Row:
    return moved(row, opacities=np.log(row["opacities"] / (1 - row["opacities"])))


def activated_twice(row: Row) -> Row:
    return moved(row, opacities=1 / (1 + np.exp(-row["opacities"])))


def scalar_last(row: Row) -> Row:
    return moved(row, quats=np.roll(row["quats"], -1, axis=1))


def inverted(row: Row) -> Row:
    return moved(row, quats=row["quats"] * np.array([1, -1, -1, -1]))


def plain_color(row: Row) -> Row:
    return moved(row, sh=row["sh"] * 0.28209479 + 0.5)


def make(out: Path, change: Change, configs: tuple[str, ...]) -> Path:
    rows = {key: of_split for key, of_split in rows_of_everything().items() if key[0] in configs}
    for split in OBJECTS:
        rows["gaussians", split] = map(change, rows["gaussians", split])
    create_folder(out, Contents(ABOUT, OBJECTS, sh_coefficients=4, max_shard_bytes=1_000_000), rows)
    return out


RANGES = [
    (in_log, r"scales has a scale <= 0 .scales are linear, no logarithms"),
    (in_logit, r"opacities leaves 0..1 .opacities are linear, no logits"),
    (enlarged, r"scales has a mean above 0.5"),
]
GEOMETRY = [
    (
        shifted,
        r"gaussians: centers lie off the surfaces by \d\.\d+% of the extent .*at most 5%, of one.*shifted",
    ),
    (scaled, r"gaussians: centers lie off the surfaces by \d\.\d+% .*worst: \w+_\d{4} \d"),
    (scalar_last, r"gaussians: thin axes follow the surfaces' normals if quaternions are read as x y z w .mean"),
    (inverted, r"gaussians: thin axes follow the surfaces' normals if quaternions are read as w x y z, inverted"),
]
RENDERS = [shifted, scaled, scalar_last, inverted, activated_twice, plain_color]


@pytest.mark.parametrize(("change", "message"), RANGES + GEOMETRY)
def test_points_show_what_is_wrong(tmp_path: Path, change: Change, message: str) -> None:
    problems = verify(make(tmp_path / "tiny", change, ("gaussians", "points"))).problems
    assert any(re.search(message, problem) for problem in problems), problems


@pytest.mark.parametrize("change", RENDERS)
def test_reconstructions_show_that_something_is_wrong(tmp_path: Path, change: Change) -> None:
    problems = verify(make(tmp_path / "tiny", change, ("gaussians", "views", "reconstructions"))).problems
    assert any("the stored Gaussians do not give the reconstruction" in problem for problem in problems), problems


def lifelike(object_id: str) -> Iterator[Row]:
    """Views that look like the Gaussians."""
    row = gaussian_row(object_id)
    gaussians = Gaussians(*(row[name] for name in GAUSSIAN_COLUMNS))
    images = compare(gaussians, photographs(), False, "cpu").images
    for view, image in zip(view_rows(object_id), images, strict=True):
        rgba = np.concatenate([image, np.full((SIZE, SIZE, 1), 255, np.uint8)], axis=2)
        rgba[0, 0] = 0  # or a decoder may leave the alpha channel out
        yield {**view, "image": encode_webp(rgba, 0)}


@pytest.mark.parametrize("change", [lambda row: row, *RENDERS])
def test_views_alone_show_it_too(tmp_path: Path, change: Change) -> None:
    def scored(object_id: str) -> Row:
        return {**change(gaussian_row(object_id)), "psnr": np.float32(60)}

    rows = {("gaussians", split): map(scored, sorted(OBJECTS[split])) for split in OBJECTS}
    rows |= {("views", split): (row for name in sorted(OBJECTS[split]) for row in lifelike(name)) for split in OBJECTS}
    create_folder(tmp_path / "tiny", Contents(ABOUT, OBJECTS, sh_coefficients=4), rows)
    report = verify(tmp_path / "tiny")
    assert report.images.rendered == 26
    found = any("the stored Gaussians do not give the view" in problem for problem in report.problems)
    assert found == (change in RENDERS), report.problems


def test_a_false_psnr_of_a_reconstruction_is_found(tmp_path: Path) -> None:
    rows = rows_of_everything()
    for split in OBJECTS:
        flattered = ({**row, "psnr": row["psnr"] + np.float32(0.1)} for row in rows["reconstructions", split])
        rows["reconstructions", split] = flattered
    create_folder(tmp_path / "tiny", Contents(ABOUT, OBJECTS, sh_coefficients=4), rows)
    problems = verify(tmp_path / "tiny").problems
    assert len(problems) == 26
    assert re.search(r"chair_0011: view [01]: the reconstruction's psnr is \d+\.\d\d, the images give", problems[0])


def sphere() -> Mesh:
    """A fine sphere of the objects' radius, and two specks that make the world frame's radius 1."""
    count = 60
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, count), np.linspace(0, 2 * np.pi, count), indexing="ij")
    ring = np.sin(polar)
    ball = RADIUS * np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), np.cos(polar)], -1).reshape(-1, 3)
    corner = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    faces = [[corner, corner + 1, corner + count], [corner + 1, corner + count, corner + count + 1]]
    specks = np.array([[x, y, 0] for x in (-1, 1) for y in (0, 1e-4, 2e-4)])
    triangles = np.concatenate(
        [np.concatenate([np.stack(f, 1) for f in faces]), len(ball) + np.arange(6).reshape(2, 3)]
    )
    return Mesh(np.concatenate([ball, specks]).astype(np.float32), triangles.astype(np.int32))


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("meshes")
    for split, labels in OBJECTS.items():
        for object_id, label in labels.items():
            path = root / label / split / f"{object_id}.off"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_off(path, sphere())
            path.write_text(f"{path.read_text()}# {TWINS[0] if object_id in TWINS else object_id}\n")
    return root


def of_meshes(meshes: Path) -> Change:
    def change(row: Row) -> Row:
        (path,) = meshes.glob(f"*/*/{row['object_id']}.off")
        return {**row, "mesh_sha256": mesh_sha256(path)}

    return change


def test_meshes_give_exact_distances(tmp_path: Path, meshes: Path) -> None:
    report = verify(make(tmp_path / "tiny", of_meshes(meshes), ("gaussians", "points")), meshes)
    assert report.problems == ()
    assert report.alignment is not None
    assert (report.alignment.against, report.alignment.objects) == ("meshes", 26)
    # The chords of the mesh lie below the sphere by radius (1 - cos(pi / 59)) at most.
    assert 0 < report.alignment.mean < RADIUS * (1 - np.cos(np.pi / 59)) / (2 * RADIUS * np.sqrt(3)) * 1.1
    assert report.alignment.axes["w x y z"] > 0.95


def test_meshes_show_a_shift(tmp_path: Path, meshes: Path) -> None:
    def change(row: Row) -> Row:
        return shifted(of_meshes(meshes)(row))

    report = verify(make(tmp_path / "tiny", change, ("gaussians", "points")), meshes)
    assert re.search(r"centers lie off the surfaces by 6\.\d", report.problems[0])


def test_other_and_lost_meshes_are_named(tmp_path: Path, meshes: Path) -> None:
    path = make(tmp_path / "tiny", of_meshes(meshes), ("gaussians", "points"))
    copied = Path(shutil.copytree(meshes, tmp_path / "meshes"))
    (copied / "sofa/test/sofa_0013.off").unlink()
    other = copied / "chair/train/chair_0007.off"
    other.write_text(other.read_text() + "# again\n")
    lost, changed = verify(path, copied).problems
    assert lost.endswith("meshes: no mesh of 1 objects, such as sofa_0013")
    assert changed.endswith("meshes: 1 meshes are not those of the data, such as chair_0007")
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        verify(path, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("objects", "mean", "worst", "sound"),
    [(100, 0.0099, 0.03, True), (100, 0.0101, 0.03, False), (99, 0.03, 0.03, True), (99, 0.01, 0.051, False)],
)
def test_a_mean_over_many_objects_must_be_smaller(objects: int, mean: float, worst: float, sound: bool) -> None:
    alignment = Alignment("points", objects, mean, {"chair_0001": worst}, {})
    assert (list(alignment_problems(alignment)) == []) == sound
