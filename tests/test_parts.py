"""Which slow tests are a commit's turn."""

from tests.conftest import PARTS, part_of


def test_every_test_has_one_turn_and_keeps_it() -> None:
    names = [f"tests/test_a.py::test_{number}" for number in range(1000)]
    counts = [sum(part_of(name) == part for name in names) for part in range(PARTS)]
    assert sum(counts) == len(names)
    assert min(counts) > 60, "no turn has few of them"
    assert part_of("tests/test_a.py::test_0") == part_of("tests/test_a.py::test_0")
