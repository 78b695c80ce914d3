"""One object from mesh to rows: what is stored is what is scored."""

import dataclasses

import numpy as np
import pytest

from gsbench.core.image_metrics import psnr
from gsbench.core.types import Gaussians
from gsbench.meshes.off import save_off
from gsbench.meshes.shapes import make_shape
from gsbench.meshes.split import MeshFile
from gsbench.produce.compare import compare
from gsbench.produce.objects import ObjectRows, build_object, finish, prepare, rows_of_object
from gsbench.produce.preset import Preset, Store, evenly_spaced, load_preset
from gsbench.reconstruct import FitRecipe, Stage
from gsbench.render.splats import rasterize
from gsbench.store.webp import decode_image

SIZE = 32


def tiny(view_size: int = SIZE, held_out: int = 3, novel: int = 5) -> Preset:
    mini = load_preset("mini")
    rig = dataclasses.replace(mini.rig, views=12, held_out=held_out, size=SIZE)
    fit = FitRecipe(stages=(Stage(SIZE, 24),), num_gaussians=64, sh_degree=1, hull_resolution=24)
    store = Store(points=50, views=6, view_size=view_size, reconstructions=3, novel=novel, gaussian_bits=6)
    return dataclasses.replace(mini, rig=rig, fit=fit, store=store)


@pytest.fixture(scope="module")
def chair(tmp_path_factory: pytest.TempPathFactory) -> MeshFile:
    path = tmp_path_factory.mktemp("meshes") / "chair_0001.off"
    save_off(path, make_shape("chair", 1))
    return MeshFile("chair_0001", "chair", "train", path)


@pytest.fixture(scope="module")
def rows(chair: MeshFile) -> ObjectRows:
    return build_object(chair, tiny())


def rendered(gaussians: Gaussians, cameras) -> np.ndarray:
    return (np.clip(rasterize(gaussians, cameras).rgb, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(float)
    return np.floor((rgba[..., :3] * alpha + 255 * (255 - alpha)) / 255 + 0.5).astype(np.uint8)


def test_reconstructions_are_renders_of_the_stored_gaussians(rows: ObjectRows) -> None:
    again = rows.reconstructions
    np.testing.assert_array_equal(again.compared.images, rendered(rows.gaussians, again.cameras))
    for name in ("means", "scales", "sh"):
        assert not (getattr(rows.gaussians, name).view(np.uint32) & ((1 << 17) - 1)).any(), "6 mantissa bits are kept"


def test_cameras_are_of_the_rig_and_then_between_it(rows: ObjectRows) -> None:
    again, recipe = rows.reconstructions, tiny()
    assert rows.view_numbers.tolist() == [0, 2, 4, 7, 9, 11]
    assert again.view_numbers.tolist() == [0, 4, 11, 12, 14, 17, 20, 22]
    assert again.is_novel.tolist() == [False] * 3 + [True] * 5
    rig, between = recipe.rig.cameras(SIZE), recipe.rig.cameras(SIZE, phase=0.5)
    np.testing.assert_array_equal(again.cameras.viewmats[:3], rig.viewmats[[0, 4, 11]])
    np.testing.assert_array_equal(again.cameras.viewmats[3:], between.viewmats[[0, 2, 5, 8, 10]])


def test_scores_compare_with_the_mesh_from_the_same_camera(rows: ObjectRows, chair: MeshFile) -> None:
    again, kept = rows.reconstructions.compared, dict(zip(rows.view_numbers.tolist(), rows.views.rgba, strict=True))
    for row, number in enumerate((0, 4, 11)):
        expected = over_white(kept[number])
        np.testing.assert_array_equal(again.expected[row], expected)
        assert again.psnr[row] == pytest.approx(psnr(again.images[row] / 255, expected / 255), abs=1e-4)
    held_out = prepare(chair, tiny()).midway[[0, 2, 4]]
    images = rendered(rows.gaussians, held_out.cameras) / 255
    expected = over_white(held_out.rgba) / 255
    assert rows.psnr == pytest.approx(np.mean([psnr(*pair) for pair in zip(images, expected, strict=True)]), abs=1e-4)
    assert rows.psnr == pytest.approx(again.psnr[3:][[0, 2, 4]].mean(), abs=1e-4)


def test_images_of_another_size_are_drawn_anew(chair: MeshFile) -> None:
    prepared = prepare(chair, tiny(view_size=16))
    assert prepared.kept.rgba.shape == (6, 16, 16, 4)
    assert prepared.novel.rgba.shape == (5, 16, 16, 4)
    large = build_object(chair, tiny())
    small = finish(prepared, large.gaussians, tiny(view_size=16))
    again = small.reconstructions
    assert (small.psnr, small.ssim) == (large.psnr, large.ssim)
    np.testing.assert_array_equal(again.compared.images, rendered(small.gaussians, again.cameras))
    np.testing.assert_array_equal(again.compared.expected[3:], over_white(prepared.novel.rgba))


@pytest.mark.parametrize(("held_out", "novel"), [(3, 5), (5, 3), (4, 4), (3, 0), (1, 11), (11, 1)])
def test_cameras_that_score_and_cameras_that_are_kept_are_shared(held_out: int, novel: int) -> None:
    recipe = tiny(held_out=held_out, novel=novel)
    assert len(recipe.midway) == max(held_out, novel)
    assert len(np.unique(recipe.midway)) == len(recipe.midway)
    assert recipe.midway.max() <= 10
    for count in (held_out, novel):
        assert len(np.unique(evenly_spaced(len(recipe.midway), count))) == count


def test_without_novel_cameras_there_are_those_of_the_rig_alone(chair: MeshFile) -> None:
    rows = build_object(chair, tiny(novel=0))
    assert rows.reconstructions.view_numbers.tolist() == [0, 4, 11]
    assert 15 < rows.psnr < 60


def test_equal_images_have_a_finite_score(chair: MeshFile) -> None:
    blank = prepare(chair, tiny()).views[:2]
    blank = dataclasses.replace(blank, rgba=np.zeros_like(blank.rgba))
    nothing = Gaussians(*(np.zeros((1, *tail), np.float32) for tail in ((3,), (4,), (3,), (), (1, 3))))
    compared = compare(nothing, blank, False, "cpu")
    assert (compared.images == 255).all()
    np.testing.assert_allclose(compared.psnr, 10 * np.log10(255**2 * 3 * SIZE**2), rtol=1e-6)


def test_the_rows_of_an_object_are_all_that_is_kept_of_it(rows: ObjectRows) -> None:
    views, again = (rows_of_object("chair_0001", rows, config) for config in ("views", "reconstructions"))
    assert {row["object_id"] for row in views + again} == {"chair_0001"}
    assert [row["cameras"] for row in again] == ["train"] * 3 + ["novel"] * 5
    compared = rows.reconstructions.compared
    for row, image, score in zip(again, compared.images, compared.psnr, strict=True):
        np.testing.assert_array_equal(decode_image(row["image"]), image)
        assert row["psnr"] == score
    for row, image, K in zip(views, rows.views.rgba, rows.views.cameras.Ks, strict=True):
        np.testing.assert_array_equal(decode_image(row["image"]), image)
        np.testing.assert_array_equal(row["K"], K)
    (gaussians,) = rows_of_object("chair_0001", rows, "gaussians")
    assert gaussians["psnr"] == pytest.approx(rows.psnr, rel=1e-6)
    (points,) = rows_of_object("chair_0001", rows, "points")
    np.testing.assert_array_equal(points["normals"], rows.normals)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reconstructions": 7}, r"store.reconstructions is 7 \(allowed: 1 to 6, store.views\)"),
        ({"reconstructions": 0}, "store.reconstructions is 0"),
        ({"novel": 12}, r"store.novel is 12 \(allowed: 0 to 11"),
    ],
)
def test_stores_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tiny(), store=dataclasses.replace(tiny().store, **change))
