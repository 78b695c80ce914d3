"""Machines that cannot take part in a build are named."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gsbench.produce.description import Description, describe
from gsbench.produce.engine import WorkItem
from gsbench.produce.engines import Machine, require_alike
from gsbench.produce.local import LocalEngine
from gsbench.produce.preset import load_preset


class OneOther(LocalEngine):
    """An engine with one other machine, which differs."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(1)
        self._changes = changes

    def everywhere(self, task: WorkItem) -> dict[str, Machine]:
        return {"other": dataclasses.replace(task.function(*task.arguments), **self._changes)}


@pytest.fixture(scope="module")
def here() -> Description:
    return describe([], load_preset("mini"), "cpu", {})


def test_machines_that_are_alike_take_part(here: Description, tmp_path: Path) -> None:
    require_alike(OneOther(), [tmp_path], here)
    require_alike(LocalEngine(1), [tmp_path], here)


def test_a_folder_that_a_machine_does_not_see_is_named(here: Description, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"/there: cannot be read on other \(all machines must see it under this path"):
        require_alike(OneOther(), [tmp_path, tmp_path / "there"], here)


def test_programs_that_differ_are_named(here: Description, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"other: gsbench code is c0de there and {here.code} here .must be the same"):
        require_alike(OneOther(code="c0de"), [tmp_path], here)
    with pytest.raises(ValueError, match=r"other: numba is 0 there and .* here"):
        require_alike(OneOther(programs={**here.programs, "numba": "0"}), [tmp_path], here)
