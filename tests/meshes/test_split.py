"""The official layout: what counts as a mesh, in which order, and what is refused."""

import hashlib
import os
from pathlib import Path

import pytest

from gsbench.core.parsing import InputError
from gsbench.meshes.split import list_meshes, mesh_sha256


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


@pytest.mark.parametrize("inside", ["", "ModelNet10/"])
def test_lists_by_label_then_train_before_test_then_id(tmp_path: Path, inside: str) -> None:
    names = ["sofa/test/sofa_2.off", "sofa/train/sofa_1.off", "bed/train/bed_10.off", "bed/train/bed_02.OFF"]
    _touch(tmp_path, *(inside + name for name in names))
    _touch(tmp_path, inside + "README.txt", inside + "bed/.DS_Store", inside + "bed/train/._bed_10.off")
    _touch(tmp_path, inside + "bed/train/notes.txt", inside + "docs/page.html", "__MACOSX/x/train/y.txt")
    _touch(tmp_path, inside + "bed/extra/notes.txt", "__MACOSX/bed/train/._bed_10.off")
    found = [(mesh.object_id, mesh.label, mesh.split) for mesh in list_meshes(tmp_path)]
    assert found == [
        ("bed_02", "bed", "train"),
        ("bed_10", "bed", "train"),
        ("sofa_1", "sofa", "train"),
        ("sofa_2", "sofa", "test"),
    ]
    assert list_meshes(tmp_path)[3].path == tmp_path / inside / names[0]


def test_one_id_in_two_places_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "bed/train/bed_1.off", "sofa/test/bed_1.ply")
    with pytest.raises(ValueError, match=r"sofa/test/bed_1\.ply: object id 'bed_1' is taken by .*bed/train/bed_1\.off"):
        list_meshes(tmp_path)


def test_a_folder_of_another_layout_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "bed_1.off", "train/bed_2.off")
    told = r"no meshes found, the layout must be <label>/<train\|test>/<object_id>\.off; there is one at .*/bed_1\.off"
    with pytest.raises(InputError, match=told):
        list_meshes(tmp_path)
    (tmp_path / "bed_1.off").unlink()
    with pytest.raises(InputError, match=r"there is one at .*/train/bed_2\.off"):
        list_meshes(tmp_path)


@pytest.mark.parametrize("inside", ["", "ModelNet10/"])
@pytest.mark.parametrize(
    "stray",
    ["sofa/Train/sofa_1.off", "sofa/val/sofa_1.ply", "sofa/sofa_1.OFF", "bed/val/bed_2.off", "bed/bed_2.glb", "x.off",
     "bed/train/more/bed_2.off", "a/b/train/c.off", "bed/TEST/bed_2.stl"],
)  # fmt: skip
def test_no_mesh_is_left_out_without_a_word(tmp_path: Path, inside: str, stray: str) -> None:
    _touch(tmp_path, inside + "bed/train/bed_1.off", inside + stray)
    with pytest.raises(InputError, match=rf"{inside}{stray}: a mesh where none is read from \(allowed: .*/<label>/"):
        list_meshes(tmp_path)
    (tmp_path / inside / stray).unlink()
    assert [mesh.object_id for mesh in list_meshes(tmp_path)] == ["bed_1"]


def test_a_class_beside_modelnet10_is_not_left_out(tmp_path: Path) -> None:
    _touch(tmp_path, "ModelNet10/bed/train/bed_1.off", "sofa/train/sofa_1.off")
    with pytest.raises(InputError, match=r"sofa/train/sofa_1\.off: a mesh where none is read from"):
        list_meshes(tmp_path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"bed_\xe9.off", r"bed_\\udce9\.off"),
        (b"bed_\\1.off", r"bed_\\1\.off"),
        (b"bed_\n1.off", r"bed_\\n1\.off"),
        (b"bed_\x1b[2J.off", r"bed_\\x1b\[2J"),
    ],
)
def test_names_that_cannot_be_kept_are_named_in_printable_text(tmp_path: Path, name: bytes, shown: str) -> None:
    _touch(tmp_path, "bed/train/bed_1.off")
    path = os.fsencode(tmp_path / "bed/train") + b"/" + name
    Path(os.fsdecode(path)).write_text("OFF")
    with pytest.raises(InputError, match=f"{shown}.*: the name of its object id is not printable UTF-8") as caught:
        list_meshes(tmp_path)
    assert str(caught.value).isprintable()
    os.rename(path, tmp_path / "bed/train/bed_é.off")
    assert len(list_meshes(tmp_path)) == 2


def test_a_name_too_long_for_the_files_of_a_build_is_refused_with_the_limit(tmp_path: Path) -> None:
    _touch(tmp_path, f"bed/train/{'b' * 250}.off")
    assert len(list_meshes(tmp_path)) == 1
    _touch(tmp_path, f"bed/train/{'c' * 251}.off")
    with pytest.raises(InputError, match=r"object id has 251 bytes \(allowed: up to 250\); rename it"):
        list_meshes(tmp_path)


def test_links_to_a_pool_inside_the_folder_leave_nothing_out(tmp_path: Path) -> None:
    _touch(tmp_path, "pool/a.off", "bed/train/bed_1.off")
    (tmp_path / "bed/train/bed_2.off").symlink_to("../../pool/a.off")
    assert [mesh.object_id for mesh in list_meshes(tmp_path)] == ["bed_1", "bed_2"]
    _touch(tmp_path, "pool/b.off")
    with pytest.raises(InputError, match=r"pool/b\.off: a mesh where none is read"):
        list_meshes(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        list_meshes(tmp_path / "nowhere")


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.off").write_bytes(b"OFF\r\n\0")
    assert mesh_sha256(tmp_path / "a.off") == hashlib.sha256(b"OFF\r\n\0").hexdigest()


def test_links_inside_the_folder_and_to_the_folder_are_followed(tmp_path: Path) -> None:
    _touch(tmp_path, "meshes/chair/train/chair_0001.off")
    first = tmp_path / "meshes/chair/train/chair_0001.off"
    (first.parent / "chair_0002.off").symlink_to(first)
    (tmp_path / "meshes/chair/test").symlink_to("train")
    (tmp_path / "elsewhere").symlink_to("meshes")
    (first.parent / "notes.txt").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="object id 'chair_0001' is taken"):
        list_meshes(tmp_path / "elsewhere")
    (tmp_path / "meshes/chair/test").unlink()
    assert [mesh.object_id for mesh in list_meshes(tmp_path / "elsewhere")] == ["chair_0001", "chair_0002"]


@pytest.mark.parametrize("link", ["chair", "chair/test", "chair/test/chair_0002.off"])
@pytest.mark.parametrize("target", ["outside", "nowhere"])
def test_links_out_of_the_folder_or_nowhere_are_refused(tmp_path: Path, link: str, target: str) -> None:
    _touch(tmp_path, "meshes/table/train/table_0001.off")
    (tmp_path / "outside").mkdir()
    path = tmp_path / "meshes" / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match=f"meshes/{link}: a link to .*/{target}, which is not in"):
        list_meshes(tmp_path / "meshes")
