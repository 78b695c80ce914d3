"""Whether a data folder's files are those of its manifest, byte for byte."""

from collections.abc import Iterator
from pathlib import Path

from gsbench.store.manifest import MANIFEST, MAX_SHARD_BYTES, Manifest
from gsbench.store.shards import file_sha256

_CARDS = ("README.md", "eval.yaml")


def check_files(path: Path, manifest: Manifest) -> Iterator[str]:
    """Finds shards that the manifest does not know, or whose numbers have gaps, and missing cards."""
    listed = set(manifest.shards)
    present = {str(file.relative_to(path).as_posix()) for file in path.glob("*/*.parquet")}
    for name in sorted(present - listed):
        yield f"{name}: not in {MANIFEST}"
    for config, splits in manifest.counts.items():
        for split in splits:
            names = manifest.shards_of(config, split)
            expected = [f"{config}/{split}-{i:05d}-of-{len(names):05d}.parquet" for i in range(len(names))]
            if names != expected or not names:
                yield f"{MANIFEST}: the shards of {config}, {split} are {names} (must be numbered without gaps)"
            listed -= set(names)
    for name in sorted(listed):
        yield f"{MANIFEST}: {name} belongs to no config and split that it counts"
    for name in _CARDS:
        if not (path / name).is_file():
            yield f"{name}: missing"


def check_bytes(path: Path, name: str, manifest: Manifest) -> Iterator[str]:
    """Compares one shard's size and sha256 with the manifest's."""
    shard = manifest.shards[name]
    if not path.is_file():
        yield f"{name}: missing"
    elif path.stat().st_size != shard.bytes:
        yield f"{name}: {path.stat().st_size} bytes, {MANIFEST} says {shard.bytes}"
    elif (digest := file_sha256(path)) != shard.sha256:
        yield f"{name}: sha256 is {digest[:12]}..., {MANIFEST} says {shard.sha256[:12]}..."
    elif shard.bytes > MAX_SHARD_BYTES:
        yield f"{name}: {shard.bytes} bytes (at most {MAX_SHARD_BYTES})"
