"""The audit of whole folders: clean ones, the real one, and what it must not depend on."""

import pytest

from gsbench.meshes.shapes import LABELS, make_shape
from gsbench.meshes.split import IDENTICAL_FILES
from gsbench.produce.audit import audit
from gsbench.store.audit import audit_json
from tests.produce.audit.conftest import moved, subdivided

# Sound shapes: no two solids of theirs share an edge.
SOUND = [(label, seed) for label in ("bathtub", "bed", "chair", "dresser", "sofa", "table") for seed in (1, 2)]


@pytest.fixture
def mixed(put, chair):
    put("chair/train/a", chair)
    put("chair/test/b", moved(chair, 1))
    put("sofa/train/c", subdivided(chair))
    put("bed/test/bad", chair).write_bytes(b"OFF")
    put("bed/train/d", make_shape("bed", 2))


def test_a_clean_folder_gives_an_empty_report(folder, put):
    for label, seed in SOUND:
        put(f"{label}/{'train' if seed == 1 else 'test'}/{label}_{seed}", make_shape(label, seed))
    result = audit(folder, workers=1)
    assert set(result.counts().values()) == {0}
    assert result.watertight == len(SOUND)
    assert result.objects == {"train": 6, "test": 6}
    assert result.official is None


def test_procedural_objects_are_no_duplicates(folder, put):
    for label in LABELS:
        for seed in range(3):
            put(f"{label}/train/{label}_{seed}", make_shape(label, seed))
    result = audit(folder, workers=1)
    assert result.near_duplicates == result.same_surface == ()


@pytest.mark.usefixtures("mixed")
def test_the_bytes_depend_on_the_meshes_alone(folder, tmp_path):
    first = audit_json(audit(folder, workers=1))
    folder.rename(tmp_path / "ModelNet10")
    assert audit_json(audit(tmp_path, workers=1)) == first
    assert str(tmp_path) not in first


@pytest.mark.slow
@pytest.mark.usefixtures("mixed")
def test_workers_change_nothing(folder):
    assert audit(folder, workers=2) == audit(folder, workers=1)


@pytest.mark.usefixtures("mixed")
def test_progress_goes_up_to_the_end(folder):
    steps = []
    audit(folder, workers=1, progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert steps[-1][0] == steps[-1][1]
    assert len(steps) > 5


@pytest.mark.usefixtures("mixed")
def test_the_fingerprint_of_the_files_changes_with_any_of_them(folder, put, chair):
    before = audit(folder, workers=1).files_sha256
    put("chair/train/a", moved(chair, scale=1.0001))
    after = audit(folder, workers=1).files_sha256
    assert before != after
    assert len(after) == 64


def test_the_note_is_kept(folder, put, chair):
    put("chair/train/a", chair)
    assert audit(folder, 1, "as downloaded").note == "as downloaded"


def test_a_single_mesh_and_a_folder_of_broken_ones(folder, put, chair):
    put("chair/train/a", chair)
    assert audit(folder, workers=1).near_duplicates == ()
    (folder / "chair/train/a.off").write_bytes(b"")
    assert list(audit(folder, workers=1).unreadable) == ["a"]


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_must_be_positive(folder, put, chair, workers):
    put("chair/train/a", chair)
    with pytest.raises(ValueError, match=f"workers: {workers} \\(must be at least 1\\)"):
        audit(folder, workers=workers)


@pytest.mark.modelnet
def test_the_real_meshes(modelnet10):
    result = audit(modelnet10)
    official = result.official
    assert official is not None
    assert official.wrong_class == official.wrong_split == official.unknown == ()
    assert set(official.identical_files_found) | set(official.identical_files_undetectable) == set(IDENTICAL_FILES)
    assert not set(official.identical_files_found) & set(official.identical_files_undetectable)
    assert set(result.unreadable) == set()
    assert sum(result.objects.values()) + len(official.missing) == 4899
