from pathlib import Path

import datasets
import huggingface_hub

from gsbench.store.folder import open_folder
from gsbench.store.schema import CONFIGS


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
