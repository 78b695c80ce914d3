"""The card of a data folder, README.md, and the Hub's eval.yaml."""

import importlib.resources
import json
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pyarrow.parquet as pq

from gsbench.results import write_atomic
from gsbench.store.manifest import Manifest
from gsbench.store.schema import CONFIGS

_TASKS = {
    "gaussians": "object classification from 3D Gaussians",
    "points": "object classification from point clouds",
    "views": "object classification from rendered views",
    "reconstructions": "object classification from renders of 3D Gaussians",
}


@dataclass(frozen=True, slots=True)
class About:
    """The words of a data set.

    Attributes:
        name: short name, such as `modelnet10-gs`.
        version: of the data set.
        title: heading of the card.
        license: a Hub licence identifier.
        source: where the objects come from, and under what terms; Markdown.
    """

    name: str
    version: str
    title: str
    license: str
    source: str


def write_card(folder: Path, manifest: Manifest, about: About) -> None:
    """Writes README.md and eval.yaml beside the shards of `folder`; OSError if that fails."""
    write_atomic(folder / "README.md", _card(folder, manifest, about).encode())
    write_atomic(folder / "eval.yaml", _eval_yaml(manifest, about).encode())


def _card(folder: Path, manifest: Manifest, about: About) -> str:
    template = (importlib.resources.files("gsbench_cards") / "modelnet10-gs" / "README.md").read_text(encoding="utf-8")
    text = Template(template).substitute(
        title=about.title,
        name=about.name,
        version=about.version,
        source=about.source.strip(),
        fingerprint=manifest.fingerprint(),
        counts=_counts_table(manifest),
        columns="\n\n".join(_columns_table(config) for config in manifest.counts),
        quality=", ".join(f"{key} {value:.2f}" for key, value in manifest.quality.items()) or "not measured",
        set_aside=_set_aside(manifest),
        recipe=json.dumps(manifest.recipe, indent=1),
    )
    return f"---\n{_front_matter(folder, manifest, about)}---\n\n{text}"


def _front_matter(folder: Path, manifest: Manifest, about: About) -> str:
    """The YAML head with `configs` and `dataset_info`, as `datasets` writes it."""
    from datasets import DatasetInfo  # takes most of a second
    from datasets.info import DatasetInfosDict
    from datasets.splits import SplitDict, SplitInfo
    from huggingface_hub import DatasetCardData

    infos = DatasetInfosDict()
    for config, splits in manifest.counts.items():
        split_infos = SplitDict()
        for split, counts in splits.items():
            size = sum(_uncompressed_bytes(folder / path) for path in manifest.shards_of(config, split))
            split_infos.add(SplitInfo(split, num_bytes=size, num_examples=sum(counts.values())))
        stored = sum(shard.bytes for path, shard in manifest.shards.items() if path.startswith(f"{config}/"))
        infos[config] = DatasetInfo(
            features=manifest.schema(config).features(),
            splits=split_infos,
            download_size=stored,
            dataset_size=sum(info.num_bytes for info in split_infos.values()),
        )
    first = next(iter(manifest.counts))
    card = DatasetCardData(
        pretty_name=about.title,
        license=about.license,
        tags=["3d", "gaussian-splatting", "point-cloud", "multi-view", "benchmark"],
        configs=[_config_entry(config, list(splits), config == first) for config, splits in manifest.counts.items()],
    )
    infos.to_dataset_card_data(card)
    return str(card.to_yaml(line_break="\n")) + "\n"


def _config_entry(config: str, splits: list[str], default: bool) -> dict[str, object]:
    files = [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in splits]
    return {"config_name": config, "data_files": files, **({"default": True} if default else {})}


def _uncompressed_bytes(path: Path) -> int:
    metadata = pq.read_metadata(path)
    return sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))


def _counts_table(manifest: Manifest) -> str:
    columns = [(config, split) for config, splits in manifest.counts.items() for split in splits]
    rows = [["class", *(f"{config}, {split}" for config, split in columns)], ["---", *["---:"] * len(columns)]]
    rows += [[name, *(str(manifest.counts[c][s][name]) for c, s in columns)] for name in manifest.classes]
    rows += [["all", *(str(sum(manifest.counts[c][s].values())) for c, s in columns)]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _columns_table(config: str) -> str:
    lines = [f"Config `{config}`:", "", "| column | type | what |", "|---|---|---|"]
    for column in CONFIGS[config]:
        shape = " [" + " ".join("n" if dim is None else str(dim) for dim in column.shape) + "]" if column.shape else ""
        lines.append(f"| `{column.name}` | {column.dtype}{shape} | {column.about} |")
    return "\n".join(lines)


def _set_aside(manifest: Manifest) -> str:
    if not manifest.set_aside:
        return "No object was set aside."
    lines = [f"- `{object_id}`: {reason}" for object_id, reason in manifest.set_aside.items()]
    return "\n".join(["Set aside, with the reason:", "", *lines])


def _eval_yaml(manifest: Manifest, about: About) -> str:
    from huggingface_hub.utils import yaml_dump

    tasks = [{"id": f"{about.name}-{config}", "config": config, "split": "test"} for config in manifest.counts]
    described = "; ".join(_TASKS[config] for config in manifest.counts)
    return str(
        yaml_dump({"name": about.title, "description": described, "evaluation_framework": "gsbench", "tasks": tasks})
    )
