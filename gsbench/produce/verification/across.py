"""What must hold across rows, shards, splits and configs."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from gsbench.core.tasks import all_regimes, ids_sha256, regime_ids
from gsbench.store.manifest import MANIFEST, Manifest, Regime
from gsbench.store.schema import IMAGE_CONFIGS, SPLITS, Schema

_NAMED = 10


@dataclass(slots=True)
class Seen:
    """What the shards of one config held."""

    labels: dict[str, dict[str, str]] = field(default_factory=lambda: {split: {} for split in SPLITS})
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    hashes: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    draws: dict[str, set[str]] = field(default_factory=dict)
    views: dict[str, tuple[int, ...]] = field(default_factory=dict)


def note(name: str, config: str, split: str, table: pa.Table, seen: Seen, schema: Schema) -> Iterator[str]:
    """Takes down what the checks across tables need; finds rows out of order on the way."""
    labels = seen.labels[split]
    last = next(reversed(labels), "")
    has_images = config in IMAGE_CONFIGS
    view_numbers = table["view"].to_pylist() if has_images else [0] * len(table)
    for object_id, label, view in zip(
        table["object_id"].to_pylist(), table["label"].to_pylist(), view_numbers, strict=True
    ):
        follows = view > seen.views[object_id][-1] if has_images and object_id == last else object_id > last
        if not follows:
            yield f"{name}: {object_id}: object_id out of order or twice"
            return
        if not 0 <= label < len(schema.classes):
            return  # already told
        labels[object_id], last = schema.classes[label], object_id
        seen.counts[split][schema.classes[label]] += 1
        seen.views[object_id] = (*seen.views.get(object_id, ()), view)
    if config == "gaussians":
        ids = table["object_id"].to_pylist()
        seen.hashes.update(zip(ids, table["mesh_sha256"].to_pylist(), strict=True))
        duplicates = zip(ids, table["duplicate_of"].to_pylist(), strict=True)
        seen.duplicates.update({object_id: first for object_id, first in duplicates if first is not None})
        draws = zip(ids, table["regime_draws"].to_pylist(), strict=True)
        seen.draws.update({object_id: set(names) for object_id, names in draws})


def check_totals(manifest: Manifest, seen: Mapping[str, Seen]) -> Iterator[str]:
    """Compares the configs with each other and with the manifest."""
    reference = seen[next(iter(seen))]
    shared = set(reference.labels["train"]) & set(reference.labels["test"])
    if shared:
        yield f"{min(shared)}: in train and in test"
    for config, one in seen.items():
        for split in SPLITS:
            if one.labels[split] != reference.labels[split]:
                differing = min(set(one.labels[split].items()) ^ set(reference.labels[split].items()))[0]
                yield f"{config}, {split}: {differing} is not the same object as in {next(iter(seen))}"
            counts = {name: one.counts[split][name] for name in manifest.classes}
            stated = manifest.counts[config].get(split)
            if stated != counts:
                yield f"{MANIFEST}: counts of {config}, {split} are {stated}, found {counts}"
    for config in IMAGE_CONFIGS:
        if config in seen and len(set(seen[config].views.values())) != 1:
            yield f"{config}: the objects differ in their view numbers"
    for object_id in sorted(set(manifest.set_aside) & (set(reference.labels["train"]) | set(reference.labels["test"]))):
        yield f"{MANIFEST}: {object_id} is set aside and yet in the data"
    yield from _check_regimes(manifest, reference.labels["train"], seen.get("gaussians"))
    if "gaussians" in seen:
        yield from _check_duplicates(seen["gaussians"])


def _check_regimes(manifest: Manifest, labels: dict[str, str], gaussians: Seen | None) -> Iterator[str]:
    regimes = {f"{regime}/{draw}": regime_ids(labels, regime, draw) for regime, draw in all_regimes()}
    expected = {name: Regime(len(ids), ids_sha256(ids)) for name, ids in regimes.items()}
    for name in sorted(expected.keys() | manifest.regimes.keys()):
        if manifest.regimes.get(name) != expected.get(name):
            yield f"{MANIFEST}: regime {name} is {manifest.regimes.get(name)}, found {expected.get(name)}"
    if gaussians is None:
        return
    members = {name: set(ids) for name, ids in regimes.items()}
    for object_id, draws in gaussians.draws.items():
        right = {name for name, ids in members.items() if object_id in ids}
        if draws != right:
            yield f"{object_id}: regime_draws are {sorted(draws)}, must be {sorted(right)}"
            return


def _check_duplicates(gaussians: Seen) -> Iterator[str]:
    first: dict[str, str] = {}
    for object_id, digest in sorted(gaussians.hashes.items()):
        original = first.setdefault(digest, object_id)
        right = None if original == object_id else original
        if gaussians.duplicates.get(object_id) != right:
            yield f"{object_id}: duplicate_of is {gaussians.duplicates.get(object_id)}, must be {right}"
            return


def check_split(
    manifest: Manifest,
    labels: Mapping[str, Mapping[str, str]],
    official: Mapping[str, tuple[str, str]],
    part: bool,
) -> Iterator[str]:
    """Compares the objects with the split that they claim to be of.

    Args:
        manifest: says which objects are set aside or missing.
        labels: split -> object_id -> class name.
        official: object_id -> class name and split.
        part: whether they are a part, which need not say what it lacks.
    """
    here = {object_id: (label, split) for split in SPLITS for object_id, label in labels[split].items()}
    if foreign := sorted(here.keys() - official.keys()):
        yield f"{len(foreign)} objects are not in the official split: {_named(foreign)}"
    wrong = sorted(name for name in here.keys() & official.keys() if here[name] != official[name])
    if wrong:
        moved = [f"{name} ({'/'.join(here[name])}, not {'/'.join(official[name])})" for name in wrong]
        yield f"{len(wrong)} objects are not where the official split has them: {_named(moved)}"
    if not part and (lost := sorted(official.keys() - here.keys() - set(manifest.set_aside) - set(manifest.missing))):
        yield (
            f"{MANIFEST}: {len(lost)} objects of the official split are neither in the data, nor set aside, nor said "
            f"to be missing: {_named(lost)}"
        )
    if found := sorted(here.keys() & set(manifest.missing)):
        yield f"{MANIFEST}: {len(found)} objects are said to be missing and yet in the data: {_named(found)}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
