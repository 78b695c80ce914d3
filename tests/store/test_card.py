from pathlib import Path

import datasets
import huggingface_hub

from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import open_folder
from gsbench.store.schema import CONFIGS
from tests.store.conftest import ABOUT, OBJECTS, rows_of_everything


def test_the_head_lists_configs_and_features_as_datasets_writes_them(made: Path) -> None:
    card = huggingface_hub.DatasetCard.load(made / "README.md").data.to_dict()
    assert [entry["config_name"] for entry in card["configs"]] == ["gaussians", "points", "views", "reconstructions"]
    assert [entry.get("default", False) for entry in card["configs"]] == [True, False, False, False]
    assert card["configs"][1]["data_files"][1] == {"split": "test", "path": "points/test-*.parquet"}
    manifest = open_folder(made).manifest
    for info in card["dataset_info"]:
        features = datasets.Features._from_yaml_list(info["features"])
        assert features == manifest.schema(info["config_name"]).features()
        counts = {split["name"]: split["num_examples"] for split in info["splits"]}
        stated = manifest.counts[info["config_name"]]
        assert counts == {split: sum(of_class.values()) for split, of_class in stated.items()}
        assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"]) > 0


def test_the_text_states_conventions_counts_recipe_and_terms(made: Path) -> None:
    text = (made / "README.md").read_text()
    for part in ("unit, w x y z", "OpenCV axes", "0..1, linear", "Random numbers.", '"seed": 1', "| sofa | 10 | 3 |"):
        assert part in text
    assert open_folder(made).manifest.fingerprint() in text
    assert "$" not in text


def test_eval_yaml_names_a_task_a_config(made: Path) -> None:
    import yaml

    record = yaml.safe_load((made / "eval.yaml").read_text())
    assert set(record) == {"name", "description", "evaluation_framework", "tasks"}
    assert record["tasks"] == [{"id": f"tiny-{config}", "config": config, "split": "test"} for config in CONFIGS]


def test_scores_are_told_by_class_and_the_worst_by_name(made: Path) -> None:
    text = (made / "README.md").read_text()
    assert "| PSNR (dB) | objects | mean | min | 5 % | 25 % | 50 % | 75 % | 95 % |" in text
    # Objects 1 to 13 of a class have 30.25 to 33.25 dB.
    assert "| sofa | 13 | 31.75 | 30.25 | 30.40 | 31.00 | 31.75 | 32.50 | 33.10 |" in text
    assert "| all | 26 | 31.75 | 30.25 |" in text
    assert "Lowest PSNR: `chair_0001` 30.25, `sofa_0001` 30.25, `chair_0002` 30.50" in text


def test_what_is_missing_set_aside_or_there_twice_is_listed(tmp_path: Path) -> None:
    missing = ("bed_0001", "bed_0002", "bed_0003", "bed_0007", "sofa_0099")
    contents = Contents(ABOUT, OBJECTS, 4, set_aside={"chair_0099": "it is empty"}, missing=missing)
    manifest = create_folder(tmp_path / "tiny", contents, rows_of_everything())
    assert manifest.missing == missing
    text = (tmp_path / "tiny" / "README.md").read_text()
    assert "not here, 5 in all:\n\n- bed (4): 0001-0003, 0007\n- sofa (1): 0099\n" in text
    assert "- `chair_0099`: it is empty" in text
    assert "- `sofa_0012` (test) has the mesh file of `chair_0002` (train)" in text


def test_points_alone_have_a_card(tmp_path: Path) -> None:
    rows = {key: of_split for key, of_split in rows_of_everything().items() if key[0] == "points"}
    create_folder(tmp_path / "points", Contents(ABOUT, OBJECTS), rows)
    text = (tmp_path / "points" / "README.md").read_text()
    assert "There are no Gaussians." in text
    assert "No object was set aside." in text
