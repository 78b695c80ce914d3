"""Figures of a data set: what they say, that they are legible, and that they are the same each time."""

import itertools
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gsbench.cli import main
from gsbench.core.geometry import rgb_to_dc
from gsbench.core.types import Gaussians
from gsbench.paper.figures import NAMES, parse_name
from gsbench.paper.figures.detail import OF_DATA, density_of, draw_object, find_crowd, fullest_ball, in_sight
from gsbench.paper.figures.drawing import (
    camera_at,
    direction,
    draw_dots,
    drawn_box,
    enlarged,
    extent_of,
    picture,
    project,
)
from gsbench.paper.figures.sheet import Sheet, require
from gsbench.paper.figures.subject import open_shots, open_subject, typical_object
from gsbench.store.folder import load_object, open_folder, read_labels
from gsbench.store.load import resolve
from tests.tiny_training import make_folder

pytestmark = pytest.mark.slow

WHITE = np.ones((8, 8, 3), np.float32)


@pytest.fixture(scope="module")
def folder():
    return open_folder(resolve("mini"))


@pytest.fixture(scope="module")
def sheets(folder):
    return {name: draw_object(name, folder) for name in OF_DATA}


def words_of(sheet: Sheet):
    """Every text of a figure that is not empty, with its box in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(sheet.figure).draw()
    texts = [*sheet.figure.texts, *(text for legend in sheet.figure.legends for text in legend.get_texts())]
    for axes in sheet.figure.axes:
        texts.append(axes.title)
        if axes.axison:
            low, high = sorted(axes.get_ylim())
            ticks = zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
            texts += [axes.yaxis.label, *(label for label, at in ticks if low <= at <= high)]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text().strip()]


@pytest.mark.parametrize("name", OF_DATA)
def test_a_figure_says_what_it_shows(sheets, folder, name):
    caption = sheets[name].caption
    object_id = caption.partition("), ")[2].partition(" of the test split")[0]
    gaussians, psnr = load_object(folder, object_id), open_subject(folder, object_id).psnr
    start = f"mini {folder.manifest.version} ({folder.manifest.fingerprint()[:8]}), {object_id} of the test split, "
    assert caption.startswith(start)
    assert f": {len(gaussians):,} Gaussians, SH degree 1, {psnr:.1f} dB PSNR on held-out views." in caption


def overlaps(sheet: Sheet) -> list[tuple[str, ...]]:
    """Words that leave the page, and pairs of words that lie on each other."""
    words, page = words_of(sheet), sheet.figure.bbox
    outside = [
        (text,)
        for text, box in words
        if not (page.x0 <= box.x0 and page.y0 <= box.y0 and box.x1 <= page.x1 and box.y1 <= page.y1)
    ]
    touching = [
        (first, second)
        for (first, a), (second, b) in itertools.combinations(words, 2)
        if min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) > max(a.y0, b.y0) + 1
    ]
    return [*outside, *touching]


@pytest.mark.parametrize("name", OF_DATA)
def test_no_words_overlap_or_leave_the_page(sheets, name):
    assert len(words_of(sheets[name])) >= 5
    assert overlaps(sheets[name]) == []


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_equal_figures_are_equal_bytes(folder, tmp_path, suffix):
    for file in ("first", "again"):
        draw_object("figure4", folder, "chair_0025").save(tmp_path / f"{file}{suffix}")
    content = (tmp_path / f"first{suffix}").read_bytes()
    assert content == (tmp_path / f"again{suffix}").read_bytes()
    assert {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix] == content[: 5 if suffix == ".svg" else 4]
    files = {f"{name}{end}" for name in ("first", "again") for end in (suffix, ".txt", ".tex")}
    assert {path.name for path in tmp_path.iterdir()} == files


def test_the_caption_stands_beside_the_figure_as_text_and_as_latex(sheets, tmp_path):
    sheets["figure2"].save(tmp_path / "figure2.png", width=3.25)
    caption = (tmp_path / "figure2.txt").read_text().strip()
    assert caption == sheets["figure2"].caption
    latex = (tmp_path / "figure2.tex").read_text()
    assert r"\includegraphics[width=3.25in]{figure2.png}" in latex
    assert caption.replace("_", r"\_").replace("%", r"\%")[:40] in latex
    with Image.open(tmp_path / "figure2.png") as image:
        assert image.width == 975, "3.25 inches of 300 dots"


def test_the_typical_object_is_the_median(folder):
    object_id, words = typical_object(folder, "sofa")
    assert words == "the sofa of median PSNR"
    ids = [name for name, label in read_labels(folder, "test").items() if label == "sofa"]
    psnr = sorted(open_subject(folder, one).psnr for one in ids)
    assert open_subject(folder, object_id).psnr == psnr[(len(psnr) - 1) // 2]
    assert typical_object(folder, "piano")[1] == "the bathtub of median PSNR"


def test_gaussians_drawn_in_a_view_are_where_the_mesh_is(folder):
    """The same camera, the same pixels: the two rows of figure 1 agree to the PSNR that the data set claims."""
    shots, subject = open_shots(folder, "table_0030"), open_subject(folder, "table_0030")
    assert (shots.images.shape, len(shots.positions)) == ((12, 64, 64, 3), 12)
    for view in (0, 5, 11):
        fine = picture(subject.gaussians, enlarged(shots.cameras[[view]], 128))
        ours = fine.reshape(64, 2, 64, 2, 3).mean((1, 3))
        error = np.mean((ours - shots.images[view] / 255) ** 2)
        assert -10 * np.log10(error) > subject.psnr - 4


def test_a_ball_fills_the_camera():
    towards, center = direction(30, 50), np.array([0.2, -0.1, 0.3])
    camera = camera_at(towards, 200, center, extent=0.5, distance=4.0)
    u, v, depth = project(center, camera)
    np.testing.assert_allclose((u, v, depth), (100, 100, 4), atol=1e-3)
    side = np.cross(towards, (0, 0, 1.0))
    edge = center + 0.5 * (side / np.linalg.norm(side) * np.cos(np.arcsin(0.125)) + towards * 0.125)
    assert abs(project(edge, camera)[0] - 100) == pytest.approx(100, abs=0.01), "where the view's edge touches it"


def test_dots_hide_what_is_behind_them_and_are_vectors(tmp_path):
    towards = np.array([1.0, 0, 0])
    sheet = Sheet(2, 2, "Two dots.")
    positions, colors = np.array([[0.5, 0, 0], [-0.5, 0, 0]]), np.array([[1.0, 0, 0], [0, 0, 1]])
    axes = sheet.axes(0, 0, 2, 2)
    draw_dots(axes, positions, colors, 0.2, camera_at(towards, 64), (slice(0, 64), slice(0, 64)))
    sheet.save(tmp_path / "dots.png")
    red, green, blue = np.asarray(Image.open(tmp_path / "dots.png").convert("RGB"))[300, 300].tolist()
    assert red > 250 > 5 > max(green, blue), "the near one is drawn last"
    sheet.save(tmp_path / "dots.svg")
    text = (tmp_path / "dots.svg").read_text()
    assert "#ff0000" in text
    assert "<image" not in text


def dots(positions, colors, radius: float) -> Gaussians:
    """Opaque balls of one size."""
    count = len(positions)
    return Gaussians(
        np.asarray(positions, np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        np.full((count, 3), radius / 2, np.float32),
        np.full(count, 0.999, np.float32),
        rgb_to_dc(np.asarray(colors, np.float32))[:, None].astype(np.float32),
    )


def test_the_fullest_ball_and_the_density():
    rng = np.random.default_rng(0)
    plane = np.concatenate([rng.uniform(-1, 1, (600, 2)), np.zeros((600, 1))], axis=1)
    cluster = np.array([0.5, 0.5, 0]) + rng.normal(0, 0.03, (100, 3)) * (1, 1, 0)
    means = np.concatenate([plane, cluster]).astype(np.float32)
    center, inside = fullest_ball(means)
    assert np.linalg.norm(center - (0.5, 0.5, 0)) < 0.1
    assert inside[600:].sum() == 100
    density = density_of(means)
    assert np.median(density[inside]) > 10 * np.median(density[~inside])
    assert np.median(density[~inside]) == pytest.approx(150, rel=0.25), "600 on an area of 4"


def ball_of_dots(hidden: int, crowd: int):
    """A closed shell, with more dots inside it and a crowd on top of it."""
    rng = np.random.default_rng(1)
    shell = rng.normal(size=(3000, 3))
    shell *= 0.8 / np.linalg.norm(shell, axis=1, keepdims=True)
    top = np.array([0, 0, 0.8]) + rng.normal(0, 0.05, (crowd, 3)) * (1, 1, 0)
    positions = np.concatenate([shell, rng.uniform(-0.1, 0.1, (hidden, 3)), top])
    return dots(positions, np.full((len(positions), 3), 0.5), 0.05)


def test_what_lies_behind_or_below_the_surface_is_out_of_sight():
    balls = ball_of_dots(hidden=500, crowd=0)
    towards = direction(40, 10)
    seen = in_sight(balls, towards)
    assert not seen[3000:].any()
    outward = balls.means[:3000] @ towards / 0.8
    assert seen[:3000][outward > 0.7].all()
    assert not seen[:3000][outward < -0.1].any()


def test_a_crowd_is_what_can_be_seen():
    balls = ball_of_dots(hidden=500, crowd=200)
    crowd = find_crowd(balls)
    assert np.linalg.norm(crowd.center - (0, 0, 0.8)) < 0.1
    assert crowd.towards[2] > 0.5, "from above"
    assert crowd.seen.sum() == len(crowd.inside) == len(crowd.density)
    assert crowd.contrast > 5


def test_nothing_can_be_seen():
    clear = dots(np.zeros((4, 3)), np.ones((4, 3)), 0.1)
    with pytest.raises(ValueError, match=r"no Gaussians at a surface that can be seen \(figure4 needs some\)"):
        find_crowd(replace(clear, opacities=np.zeros(4, np.float32)))


def test_drawn_box_holds_all_that_is_drawn():
    image = np.ones((100, 100, 3), np.float32)
    image[10:20, 30:80] = 0
    rows, columns = drawn_box(image)
    assert rows.stop - rows.start == columns.stop - columns.start
    assert rows.start <= 10 < 20 <= rows.stop
    assert columns.start <= 30 < 80 <= columns.stop
    assert columns.stop - columns.start < 65
    assert drawn_box(WHITE) == (slice(0, 8), slice(0, 8))


def test_extent_holds_the_object(folder):
    gaussians = load_object(folder, "bed_0027")
    far = np.linalg.norm(gaussians.means, axis=1)
    assert np.quantile(far, 0.99) < extent_of(gaussians) < 1.2 * far.max()


@pytest.mark.parametrize(
    ("name", "parsed"),
    [("figure1", ("figure1", ".png")), ("figure3.svg", ("figure3", ".svg")), ("figure7.pdf", ("figure7", ".pdf"))],
)
def test_names(name, parsed):
    assert parse_name(name) == parsed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure9"], f"figure9: no such figure; did you mean 'figure7' .*allowed: {', '.join(NAMES)}"),
        (["figure1.jpg"], r"figure1.jpg: no format '.jpg' \(allowed: .png, .pdf, .svg\)"),
        (["figure1", "--data", "mini", "--object", "chair_0099"], "mini: no object 'chair_0099'; did you mean"),
        (["figure1", "--data", "nowhere"], "nowhere: no such data set"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["figures", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(message, err)


def test_a_folder_without_views(tmp_path, capsys):
    data = make_folder(tmp_path / "tiny")
    assert main(["figures", "figure1", "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "tiny has no config 'views' (it has: gaussians, points)" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == [], "nothing half-drawn stays"
    assert main(["figures", "figure2", "figure4", "--data", str(data), "--out", str(tmp_path / "out")]) == 0


def test_the_command_prints_what_it_drew(tmp_path, capsys):
    words = ["figures", "figure2", "--data", "mini", "--object", "sofa_0001", "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["figure"] == "figure2"
    assert record["path"] == str(tmp_path / "out" / "figure2.png")
    assert "sofa_0001 of the train split: " in record["caption"]
    with Image.open(record["path"]) as image:
        assert image.width > 1800


def test_an_out_that_is_a_file(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main(["figures", "figure1", "--data", "mini", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"gsbench: error: {tmp_path}/out: File exists\n"


def test_a_missing_extra_is_told_at_use(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["figures", "figure1", "--data", "mini", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "figures need matplotlib (" in err
    assert "install it: pip install 'gsbench-3d[figures]'" in err
    assert err.count("\n") == 1
    require("numpy")
