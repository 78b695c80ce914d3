"""Training and scoring on a GPU, held to the CPU: the same tests on both, those of CUDA marked `gpu`."""

import numpy as np
import pytest
import torch

from gsbench.learn.checkpoints import from_pretrained
from gsbench.learn.data import open_objects
from gsbench.learn.evaluation import evaluate, predict
from gsbench.learn.evaluation.embedding import extract
from gsbench.learn.precision import resolve_precision
from gsbench.store.folder import open_folder
from tests.tiny_training import OBJECTS, make_folder

SUPERVISED = ("pointnet:smoke", "pointnet++:smoke", "mvcnn:smoke")
PAIRS = ("ssl-pointnet:smoke", "ssl-pointnet++:smoke", "ssl-plus:smoke")
CPU = torch.device("cpu")


def on(device: str, names: tuple[str, ...], *marks: pytest.MarkDecorator) -> list:
    return [pytest.param(device, name, marks=marks, id=f"{device}-{name}") for name in names]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "tiny", ("gaussians", "views", "reconstructions"))


@pytest.mark.parametrize(
    ("device", "name"), [*on("cpu", ("pointnet:smoke",)), *on("cuda", SUPERVISED + PAIRS, pytest.mark.gpu)]
)
def test_what_a_device_trained_the_cpu_scores_alike(data, tmp_path, device, name):
    pairs = {"pretext_views": 2} if name in PAIRS else {}
    points = {} if name == "mvcnn:smoke" else {"num_points": 24}
    (result,) = evaluate(name, data, device=device, checkpoints=tmp_path / "kept", **pairs, **points)
    trained = result.pretext or result.run
    assert trained.precision == resolve_precision("auto", torch.device(device))
    assert set(result.predictions) == set(OBJECTS["test"])
    (folder,) = (path.parent for path in (tmp_path / "kept").glob("*/model.safetensors"))
    net, about = from_pretrained(folder)
    test = open_objects(open_folder(data), result.task, "test", about.recipe.images)
    if result.pretext is None:
        rows = np.array([result.predictions[object_id] for object_id in test.ids])
        np.testing.assert_allclose(predict(net, test), rows, atol=2e-3)
    else:
        there = extract(net.to(device), test.to(torch.device(device)))
        np.testing.assert_allclose(extract(net.to(CPU), test), there, rtol=1e-2, atol=1e-2 * np.abs(there).max())


@pytest.mark.parametrize(
    ("device", "name"), [*on("cpu", PAIRS[:1], pytest.mark.slow), *on("cuda", PAIRS, pytest.mark.gpu)]
)
def test_an_encoder_is_fine_tuned_and_asked_about_images_there(data, tmp_path, device, name):
    common = {"num_points": 24, "pretext_views": 2, "device": device, "checkpoints": tmp_path / "kept"}
    (tuned,) = evaluate(name, data, protocol="finetune", regime=50, **common)
    (seen,) = evaluate(name, data, modality="images", num_views=2, views_from="gaussians", **common)
    assert tuned.pretext == seen.pretext, "one training, for both"
    assert tuned.run.device.startswith(device)
