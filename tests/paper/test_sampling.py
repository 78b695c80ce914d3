"""How well samples cover the Gaussians, on the mini and on a layout whose distances are known."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.spatial import cKDTree

from gsbench.cli import main
from gsbench.core.parsing import InputError
from gsbench.paper.reproduce import sampling
from gsbench.store.folder import open_folder
from gsbench.store.load import resolve


def test_distances_of_a_line():
    """Eleven centers on a line a tenth apart, of which the ends are chosen; the surface lies .05 above it."""
    means = np.linspace([0, 0, 0], [1, 0, 0], 11)
    surface = means + np.array([0, 0, 0.05])
    radius, gap, surface_radius, off = sampling._measure(means, np.array([0, 10]), surface, cKDTree(surface))
    assert radius == pytest.approx(0.5)
    assert gap == pytest.approx(2.5 / 11)
    assert surface_radius == pytest.approx(np.hypot(0.5, 0.05))
    assert off == pytest.approx(0.05)


def test_furthest_points_cover_the_mini_better_than_a_uniform_draw(capsys):
    assert main(["reproduce", "sampling", "--data", "mini", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["count"], each["sampling"], each["objects"]) for each in found] == [
        (count, kind, 360) for count in sampling.COUNTS for kind in ("fps", "uniform")
    ]
    for furthest, uniform in zip(found[::2], found[1::2], strict=True):
        if furthest["count"] < 512:
            assert furthest["radius"] < 0.7 * uniform["radius"]
            assert furthest["gap"] < uniform["gap"]
        else:  # the mini's objects have 512: all are chosen
            assert furthest["radius"] == uniform["radius"] == 0
    text = sampling.as_table(open_folder(resolve("mini")), [sampling.Sampled(**each) for each in found])
    assert "mini 1.0.0 (d4de772d), 360 objects" in text


def test_what_means_nothing_for_it_is_refused(capsys):
    assert main(["reproduce", "sampling", "--data", "mini", "--cells", "1"]) == 2
    assert "--cells is of a table, not of sampling" in capsys.readouterr().err


def test_a_folder_of_points_alone_is_refused():
    folder = open_folder(resolve("mini"))
    manifest = dataclasses.replace(folder.manifest, counts={"points": folder.manifest.counts["points"]})
    with pytest.raises(InputError, match="must have gaussians"):
        sampling.measure_sampling(dataclasses.replace(folder, manifest=manifest))
