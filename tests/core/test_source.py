"""Which files a module runs: from imports of every kind, in any tree; and what decides a score is there."""

import pytest

from gsbench.core.source import BASELINES, LIBRARY, find_sources, public_modules, reader, sources_sha256

TREE = {
    "gsbench/__init__.py": b"_PUBLIC = {'evaluate': 'gsbench.run', 'Batch': 'gsbench.types'}\n",
    "gsbench/types.py": b"",
    "gsbench/run.py": b"import numpy\nfrom gsbench.deep import part\nfrom gsbench.deep.other import name\n",
    "gsbench/deep/__init__.py": b"from .shared import x\n",
    "gsbench/deep/part.py": b"def f():\n    try:\n        from .. import late\n    except ImportError:\n        pass\n",
    "gsbench/deep/other.py": b"match 1:\n    case 1:\n        from .twice import name\n",
    "gsbench/deep/twice.py": b"import gsbench.deep.other\n",
    "gsbench/deep/shared.py": b"import typing\nif typing.TYPE_CHECKING:\n    from gsbench import cli\n",
    "gsbench/late.py": b"from gsbench import Batch\n",
    "gsbench/cli.py": b"import gsbench.run\n",
}


def test_imports_of_every_kind_are_followed():
    found = find_sources(TREE.get, ["gsbench.run"], [LIBRARY])
    assert set(found) == set(TREE) - {"gsbench/__init__.py", "gsbench/cli.py"}
    assert public_modules(TREE.get)["evaluate"] == "gsbench.run"


def test_the_hash_is_of_names_and_bytes():
    found = find_sources(TREE.get, ["gsbench.run"], [LIBRARY])
    digest = sources_sha256(found)
    assert sources_sha256(dict(reversed(found.items()))) == digest
    assert sources_sha256(found | {"gsbench/late.py": b"from gsbench import Batch\r\n"}) == digest
    assert sources_sha256(found | {"gsbench/late.py": b"from gsbench import Batch  # x\n"}) != digest
    moved = {("gsbench/later.py" if name == "gsbench/late.py" else name): data for name, data in found.items()}
    assert sources_sha256(moved) != digest


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x = (\n", r"gsbench/late\.py: line 1 is no Python \('\(' was never closed\)"),
        (b"\xff", r"gsbench/late\.py: line 1 is no Python"),
        (b"\0", r"gsbench/late\.py: .*is no Python"),
        (b"-" * 200_000 + b"1", r"gsbench/late\.py: .*is no Python"),
    ],
    ids=["syntax", "utf8", "null", "deep"],
)
def test_a_file_that_is_no_python_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        find_sources((TREE | {"gsbench/late.py": data}).get, ["gsbench.run"], [LIBRARY])


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"gsbench\.lost: no such module"):
        find_sources(TREE.get, ["gsbench.lost"], [LIBRARY])


def test_what_decides_a_score_is_found_and_what_does_not_is_not():
    found = find_sources(
        reader(), ["gsbench.learn.evaluation", "gsbench_baselines.pointnet2.model"], [LIBRARY, BASELINES]
    )
    decisive = ("core/metrics", "learn/train", "learn/augment", "learn/probe", "learn/calls",
                "learn/data/clouds", "learn/data/images", "learn/evaluation/embedding", "learn/evaluation/scoring",
                "store/folder")  # fmt: skip
    assert {f"gsbench/{name}.py" for name in decisive} <= found.keys()
    fused = ("fused_mlp/__init__", "fused_mlp/kernels", "pointnet2/kernels")
    assert {f"gsbench_baselines/{name}.py" for name in fused} <= found.keys()
    rooms = {path.split("/")[1] for path in found if path.startswith(f"{LIBRARY}/")}
    assert not rooms & {"cli", "paper", "board", "produce", "reconstruct", "formats"}
