"""The card of a data folder, README.md, and the Hub's eval.yaml."""

import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import pyarrow.parquet as pq

from gsbench.core.files import write_atomic
from gsbench.store.folder import NAMES, Folder, read_table
from gsbench.store.manifest import Manifest
from gsbench.store.quality import Scores, audit_text, distribution
from gsbench.store.schema import SPLITS, Schema

_TASKS = {
    "gaussians": "object classification from 3D Gaussians",
    "points": "object classification from point clouds",
    "views": "object classification from rendered views",
    "reconstructions": "object classification from renders of 3D Gaussians",
}
_WORST = 10
_PICTURED = "views of the meshes above, renders of their Gaussians from the same cameras below"
_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (float("inf"), "1M<n<10M"))
_CITATIONS = {
    "modelnet10": """@inproceedings{wu2015shapenets,
  title = {3D {ShapeNets}: A Deep Representation for Volumetric Shapes},
  author = {Wu, Zhirong and Song, Shuran and Khosla, Aditya and Yu, Fisher and Zhang, Linguang and Tang, Xiaoou
            and Xiao, Jianxiong},
  booktitle = {CVPR},
  year = {2015}
}""",
    "": """@article{kerbl2023gaussians,
  title = {3D {Gaussian} Splatting for Real-Time Radiance Field Rendering},
  author = {Kerbl, Bernhard and Kopanas, Georgios and Leimk{\\"u}hler, Thomas and Drettakis, George},
  journal = {ACM Transactions on Graphics},
  volume = {42},
  number = {4},
  year = {2023}
}""",
}


@dataclass(frozen=True, slots=True)
class About:
    """The words of a data set.

    Attributes:
        name: short name, such as `modelnet10-gs`.
        version: of the data set.
        title: heading of the card.
        license: a Hub license identifier.
        source: where the objects come from, and under what terms; Markdown.
    """

    name: str
    version: str
    title: str
    license: str
    source: str


def write_card(folder: Folder, about: About, scores: Scores) -> None:
    """Writes README.md and eval.yaml beside the shards of `folder`; OSError if that fails."""
    load = about.name if about.name in NAMES else f"FOLDER/{about.name}"
    write_atomic(folder.path / "README.md", card(folder, about, scores, load).encode())
    write_atomic(folder.path / "eval.yaml", _eval_yaml(folder.manifest, about).encode())


def card(folder: Folder, about: About, scores: Scores, load: str, picture: str | None = None) -> str:
    """The text of README.md.

    Args:
        folder: an open data folder whose shards are sound.
        about: its words.
        scores: of its Gaussians.
        load: what `gsbench.load_dataset` is to be given for it.
        picture: the file of a picture beside the card.

    Raises:
        InputError: a shard is missing or damaged.
    """
    manifest = folder.manifest
    template = (importlib.resources.files("gsbench_cards") / "modelnet10-gs" / "README.md").read_text(encoding="utf-8")
    text = Template(template).substitute(
        title=about.title,
        name=about.name,
        load=load,
        picture=f"\n![Objects of this data set: {_PICTURED}]({picture})\n" if picture else "",
        citation=citation(manifest),
        version=about.version,
        source=about.source.strip(),
        fingerprint=manifest.fingerprint(),
        origin=_origin(manifest),
        floats=manifest.float_type,
        counts=_counts_table(manifest),
        columns="\n\n".join(_columns_table(manifest.schema(config)) for config in manifest.counts),
        quality=_quality(scores),
        missing=_missing(manifest.missing, manifest.part),
        set_aside=_set_aside(manifest.set_aside),
        duplicates=_duplicates(folder),
        audit=audit_text(folder),
        recipe=json.dumps(manifest.recipe, indent=1),
    )
    return f"---\n{_front_matter(folder.path, manifest, about)}---\n\n{text}"


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
    objects = sum(sum(counts.values()) for counts in manifest.counts[first].values())
    terms: dict[str, Any] = {"license_name": f"{manifest.derived_from or about.name}-terms", "license_link": "LICENSE"}
    card = DatasetCardData(
        pretty_name=about.title,
        license=about.license,
        **(terms if about.license == "other" else {}),
        size_categories=[next(name for most, name in _SIZES if objects < most)],
        task_categories=["image-classification"] if "views" in manifest.counts else ["other"],
        source_datasets=["extended|other-modelnet10" if manifest.derived_from == "modelnet10" else "original"],
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


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    names = list(head)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _counts_table(manifest: Manifest) -> str:
    columns = [(config, split) for config, splits in manifest.counts.items() for split in splits]
    rows = [[name, *(str(manifest.counts[c][s][name]) for c, s in columns)] for name in manifest.classes]
    rows += [["all", *(str(sum(manifest.counts[c][s].values())) for c, s in columns)]]
    return _table(["class", *(f"{config}, {split}" for config, split in columns)], rows)


def _quality(scores: Scores) -> str:
    if not scores.ids:
        return "There are no Gaussians."
    groups = {**scores.by_class(), "all": scores.psnr}
    rows = [
        [name, str(len(psnr)), *(f"{value:.2f}" for value in distribution(psnr).values())]
        for name, psnr in groups.items()
    ]
    percents = [name.replace("p", "") + " %" if name.startswith("p") else name for name in distribution(scores.psnr)]
    worst = ", ".join(f"`{object_id}` {psnr:.2f}" for object_id, psnr in scores.worst(_WORST).items())
    ssim = f"Mean SSIM: {scores.ssim.mean():.4f}. Lowest PSNR: {worst}."
    return f"{_table(['PSNR (dB)', 'objects', *percents], rows)}\n\n{ssim}"


def _columns_table(schema: Schema) -> str:
    lines = [f"Config `{schema.config}`:", "", "| column | type | what |", "|---|---|---|"]
    for column in schema.columns:
        shape = " [" + " ".join("n" if dim is None else str(dim) for dim in schema.shape_of(column)) + "]"
        lines.append(f"| `{column.name}` | {schema.dtype_of(column)}{shape if column.shape else ''} | {column.about} |")
    return "\n".join(lines)


def _ranges(numbers: list[str]) -> str:
    """Numbers of equal width, such as `0001-0013, 0020`."""
    runs: list[list[str]] = []
    for number in numbers:
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _origin(manifest: Manifest) -> str:
    if manifest.derived_from is None:
        return "of no known collection"
    return f"{'a part, ' if manifest.part else ''}derived from `{manifest.derived_from}`"


def _missing(object_ids: Iterable[str], part: bool) -> str:
    if part:
        return "This is a part: that other objects are not here was meant to be."
    by_class: dict[str, list[str]] = {}
    for object_id in sorted(object_ids):
        label, _, number = object_id.rpartition("_")
        by_class.setdefault(label, []).append(number)
    if not by_class:
        return "No object is known to be missing."
    total = sum(map(len, by_class.values()))
    lines = [f"- {label} ({len(numbers)}): {_ranges(numbers)}" for label, numbers in by_class.items()]
    return "\n".join([f"Objects of the official split that are not here, {total} in all:", "", *lines])


def citation(manifest: Manifest) -> str:
    """BibTeX of what is to be cited."""
    title = re.sub(r"[^\w .,:()-]", "", str(manifest.recipe.get("about", {}).get("title") or manifest.name))
    own = (
        f"@misc{{{manifest.name},\n  title = {{{title}}},\n  version = {{{manifest.version}}},\n"
        f"  note = {{Made with gsbench, fingerprint {manifest.fingerprint()[:16]}}}\n}}"
    )
    return "\n".join(filter(None, (own, _CITATIONS.get(manifest.derived_from or "-"), _CITATIONS[""])))


def _set_aside(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return "No object was set aside."
    lines = [f"- `{object_id}`: {reason}" for object_id, reason in reasons.items()]
    return "\n".join(["Set aside, with the reason:", "", *lines])


def _duplicates(folder: Folder) -> str:
    if "gaussians" not in folder.manifest.counts:
        return "Nothing is known of duplicates."
    tables = {split: read_table(folder, "gaussians", split, ["object_id", "duplicate_of"]) for split in SPLITS}
    split_of = {name: split for split, table in tables.items() for name in table["object_id"].to_pylist()}
    pairs = [
        (name, original)
        for table in tables.values()
        for name, original in zip(table["object_id"].to_pylist(), table["duplicate_of"].to_pylist(), strict=True)
        if original is not None
    ]
    if not pairs:
        return "No two objects have the same mesh file."
    lines = [
        f"- `{name}` ({split_of[name]}) has the mesh file of `{original}` ({split_of[original]})"
        for name, original in sorted(pairs)
    ]
    return "\n".join(["Same mesh files, which `duplicate_of` marks:", "", *lines])


def _eval_yaml(manifest: Manifest, about: About) -> str:
    from huggingface_hub.utils import yaml_dump

    tasks = [{"id": f"{about.name}-{config}", "config": config, "split": "test"} for config in manifest.counts]
    described = "; ".join(_TASKS[config] for config in manifest.counts)
    return str(
        yaml_dump({"name": about.title, "description": described, "evaluation_framework": "gsbench", "tasks": tasks})
    )
