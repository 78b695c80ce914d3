"""A data set is what its meshes are: its name, words, missing list, audit and published figures follow their hashes."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from gsbench.board.cells import describe_data
from gsbench.board.truth import make_truth
from gsbench.core.parsing import InputError
from gsbench.core.tasks import fingerprint
from gsbench.meshes.off import save_off
from gsbench.meshes.shapes import make_shape
from gsbench.meshes.shapes.__main__ import write_shapes
from gsbench.meshes.split import MeshFile, list_meshes, mesh_sha256, official_objects
from gsbench.produce.audit import audit
from gsbench.produce.build import build
from gsbench.produce.description import Description, Source, describe
from gsbench.produce.identity import Given, identify, missing_objects
from gsbench.produce.preset import Preset, adapt, load_preset, select
from gsbench.produce.verification import verify
from gsbench.store import origin
from gsbench.store.audit import load_audit, save_audit
from gsbench.store.folder import open_folder
from gsbench.store.leaks import audit_of, leaks_of, shipped_audit
from gsbench.store.load import resolve
from gsbench.store.manifest import Manifest, save_manifest
from gsbench.store.origin import Known, Origin, is_reserved, known_objects, origin_of, published_name, strangers

LITE = """
extends = "lite"
about.version = "1.0.0-lite-tiny"
rig = { views = 12, held_out = 3, size = 32 }
fit = { stages = [{ resolution = 32, iterations = 24 }], num_gaussians = 64, hull_resolution = 24 }
store = { points = 50, views = 4, view_size = 16, reconstructions = 2, novel = 5 }
"""
"""The default preset, scaled down."""


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("preset") / "tiny.toml"
    path.write_text(LITE)
    return str(path)


@pytest.fixture(scope="module")
def mugs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that no collection has; a test object is in train as well."""
    root = tmp_path_factory.mktemp("data") / "mugs & cats"
    for label, shape in (("mug", "toilet"), ("cat", "chair")):
        for split, numbers in (("train", (1, 2)), ("test", (3, 4))):
            (root / label / split).mkdir(parents=True)
            for number in numbers:
                save_off(root / label / split / f"{label}_{number:04d}.off", make_shape(shape, number))
    shutil.copy(root / "mug/train/mug_0001.off", root / "mug/test/mug_0004.off")
    return root


@pytest.fixture(scope="module")
def built(mugs: Path, lite: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    build(mugs, out, lite, workers=1)
    return out


def texts(folder: Path) -> str:
    return "".join((folder / name).read_text() for name in ("README.md", "manifest.json", "eval.yaml"))


@pytest.mark.slow
def test_other_meshes_are_not_called_modelnet10(built: Path) -> None:
    manifest = open_folder(built).manifest
    assert (manifest.name, manifest.derived_from, manifest.part) == ("mugs-cats", None, False)
    assert manifest.missing == ()
    assert manifest.audit_sha256 is None
    text = texts(built)
    for word in ("ModelNet10-GS", "modelnet10", "princeton", "Princeton", "4899", "4827", "official split that"):
        assert word not in text, word
    assert "# mugs-cats (1.0.0-lite-tiny): meshes as 3D Gaussians" in text
    assert "8 mesh files of a folder called `mugs-cats`" in text
    assert "license: unknown" in text
    assert "nobody has looked for near duplicates" in text
    assert "No object is known to be missing." in text
    assert 'load_dataset("FOLDER/mugs-cats"' in text


def test_verify_passes_what_build_made_of_other_meshes(built: Path, mugs: Path) -> None:
    report = verify(built, mugs)
    assert report.problems == ()
    assert report.missing == ()


def test_nothing_is_published_on_other_meshes(built: Path) -> None:
    folder = open_folder(built)
    assert origin_of(folder) is None
    assert published_name(folder) == "mugs-cats"
    called = dataclasses.replace(folder, manifest=dataclasses.replace(folder.manifest, name="modelnet10-gs"))
    assert published_name(called) is None
    stated = dataclasses.replace(folder, manifest=dataclasses.replace(folder.manifest, derived_from="modelnet10"))
    assert published_name(stated) == "mugs-cats", "the hashes say otherwise"


def test_the_board_says_which_test_object_is_in_train_too(built: Path) -> None:
    truth = make_truth(built, "test")
    assert truth.leaked == {"files": ("mug_0004",)}
    text = describe_data(truth)
    assert "1 as the same file" in text
    assert "No test object" not in text


@pytest.mark.parametrize("change", [{"derived_from": "modelnet10"}, {"name": "modelnet10-gs"}, {"name": "mini"}])
def test_verify_finds_a_false_origin(built: Path, tmp_path: Path, change: dict[str, str]) -> None:
    out = Path(shutil.copytree(built, tmp_path / "copy"))
    save_manifest(dataclasses.replace(open_folder(out).manifest, **change), out)  # type: ignore[arg-type]
    (problem,) = verify(out).problems
    assert next(iter(change.values())) in problem


@pytest.mark.slow
def test_an_audit_of_these_meshes_comes_along(mugs: Path, lite: str, tmp_path: Path) -> None:
    save_audit(audit(mugs, workers=1, note="Scanned."), tmp_path / "audit.json")
    build(mugs, tmp_path / "out", lite, workers=1, name="Mine", audit=tmp_path / "audit.json")
    folder = open_folder(tmp_path / "out")
    assert folder.manifest.name == "Mine"
    assert audit_of(folder) == load_audit(tmp_path / "audit.json")
    assert "looked at 8 meshes (4 train, 4 test), each beside all others. Scanned." in texts(tmp_path / "out")
    leaked = leaks_of(folder)
    assert leaked == dict.fromkeys(("files", "surfaces", "near"), ("mug_0004",))
    assert verify(tmp_path / "out").problems == ()
    (tmp_path / "out/audit.json").write_text((tmp_path / "out/audit.json").read_text().replace("mug_0004", "mug_0003"))
    (problem,) = verify(tmp_path / "out").problems
    assert problem.startswith("audit.json: is missing, or not the audit")


def test_an_audit_of_other_meshes_is_refused_before_the_work(mugs: Path, lite: str, tmp_path: Path) -> None:
    save_audit(shipped_audit(), tmp_path / "audit.json")
    with pytest.raises(InputError, match=r"audit\.json: is of other meshes \(3928 train, 899 test\) than those in"):
        build(mugs, tmp_path / "out", lite, audit=tmp_path / "audit.json")
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../up", r"--name: '../up' \(allowed: up to 80 letters"),
        ("", "--name: ''"),
        ("a\udce9", r"--name: 'a\\udce9'"),
        ("modelnet10-gs", "--name: the name 'modelnet10-gs' is kept for what is made from ModelNet10's meshes"),
        ("Mini", "--name: the name 'Mini' is kept for"),
    ],
)
def test_names_that_are_not_allowed(mugs: Path, lite: str, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(mugs, tmp_path / "out", lite, name=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "message"), [("ModelNet10", "'ModelNet10' is kept"), ("äö", "give one with --name")]
)
def test_a_folder_whose_name_cannot_be_taken(mugs: Path, tmp_path: Path, folder: str, message: str) -> None:
    shutil.copytree(mugs, tmp_path / folder)
    with pytest.raises(InputError, match=message):
        build(tmp_path / folder, tmp_path / "out")


def test_kept_names() -> None:
    assert all(map(is_reserved, ("mini", "mini-2", "MODELNET10", "modelnet10-points")))
    assert not any(map(is_reserved, ("minivan", "modelnet101", "modelnet40", "my-mini")))


# What the meshes of a collection are called, from the hashes alone, without a mesh.


def described(
    collection: str, preset: str = "lite", limit: tuple[int, int] | None = None, drop: set[str] | None = None,
    name: str | None = None, **other: str
) -> Description:  # fmt: skip
    """A build of a collection's objects but those of `drop`; of `other` the file has the hash given."""
    recipe = adapt(load_preset(preset), None, limit)
    listed, sources = [], {}
    for object_id, known in known_objects(collection).items():
        if object_id not in (drop or ()):
            listed.append(MeshFile(object_id, known.label, known.split, Path(f"/nowhere/{object_id}.off")))
            digest = other.get(object_id, known.digests[-1])
            sources[object_id] = Source(known.label, known.split, digest, 1, 1)
    files = select(listed, recipe.limit_per_class)
    taken = {file.object_id: sources[file.object_id] for file in files}
    bare = dataclasses.replace(describe([], recipe, "cpu", {}), meshes=taken)
    return identify(bare, files, recipe, Given(Path("/nowhere/folder"), listed, preset, name))


def blobs() -> set[str]:
    """Objects of ModelNet10 that are known by their git blob alone."""
    return {object_id for object_id, known in known_objects("modelnet10").items() if len(known.digests) == 1}


def test_the_table_is_of_all_of_modelnet10() -> None:
    known = known_objects("modelnet10")
    assert {name: (each.label, each.split) for name, each in known.items()} == official_objects()
    assert len(blobs()) == 72
    again = {name: each.digests[1] for name, each in known.items() if name not in blobs()}
    assert fingerprint(again) == shipped_audit().files_sha256, "the re-encoded files are those that were audited"
    first = {each.digests[0] for each in known.values()}
    assert len(first) == 4891, "as distributed, 8 pairs are identical"


def test_the_largest_files_are_known_by_their_git_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`git hash-object` of the file; in a data folder, which has sha256 alone, they are no strangers."""
    path = tmp_path / "bed_0001.off"
    path.write_bytes(b"OFF\n")
    known = {
        "bed_0001": Known("bed", "train", ("git:6506cb3d7510339db2ebe955a4637e16729d6ebd",)),
        "bed_0002": Known("bed", "train", ("ab" * 32,)),
    }
    monkeypatch.setattr("gsbench.store.origin.known_objects", lambda _collection: known)
    objects = {name: origin.Source("bed", "train", "ab" * 32) for name in known}
    assert strangers("modelnet10", objects, {"bed_0001": path}) == ([], 2)
    assert strangers("modelnet10", objects) == ([], 1)
    path.write_bytes(b"OFF \n")
    assert strangers("modelnet10", objects, {"bed_0001": path}) == (["bed_0001"], 1)


def test_what_merely_lacks_files_is_the_whole_and_lists_them() -> None:
    found = described("modelnet10", drop=blobs())
    assert (found.derived_from, found.part) == ("modelnet10", False)
    assert set(missing_objects(found)) == blobs()
    about = found.recipe["about"]
    assert (about["name"], about["version"]) == ("modelnet10-gs", "1.0.0-lite")
    assert about["title"] == "ModelNet10-GS (lite): ModelNet10 as 3D Gaussians"
    assert about["source"].startswith("Made from the meshes of [ModelNet10](https://modelnet.cs.princeton.edu)")


def test_files_as_distributed_are_modelnet10_too() -> None:
    other = {name: each.digests[0] for name, each in known_objects("modelnet10").items()}
    found = described("modelnet10", drop=blobs(), name=None, **other)
    assert (found.derived_from, found.part) == ("modelnet10", False)


def test_some_classes_few_objects_or_a_limit_are_a_part_of_its_own() -> None:
    known = known_objects("modelnet10")
    no_sofas = {name for name, each in known.items() if each.label == "sofa"} | blobs()
    few = {name for name in known if int(name[-4:]) % 3} | blobs()
    fewer = few | {"bed_0003"}
    parts = [
        described("modelnet10", drop=no_sofas),
        described("modelnet10", drop=few),
        described("modelnet10", drop=fewer),
        described("modelnet10", drop=blobs(), limit=(20, 10)),
        described("modelnet10", drop=blobs(), limit=(20, 11)),
    ]
    for found in parts:
        assert (found.derived_from, found.part, missing_objects(found)) == ("modelnet10", True, ())
        about, count = found.recipe["about"], len(found.meshes)
        assert about["name"].startswith("modelnet10-gs-part-")
        assert f", a part: {sum(m.split == 'train' for m in found.meshes.values())} training and" in about["title"]
        assert about["source"].startswith(f"A part of the {4899:,} objects: ")
        assert count < 4500
    assert len({found.recipe["about"]["name"] for found in parts}) == 5
    assert parts[3].recipe["about"]["version"] == "1.0.0-lite-first-20-10"


def test_a_limit_that_leaves_nothing_out_is_no_part() -> None:
    assert not described("modelnet10", drop=blobs(), limit=(889, 100)).part


def test_nearly_all_of_modelnet10_needs_a_name() -> None:
    with pytest.raises(
        InputError, match=r"1 of 4827 meshes are not those of ModelNet10, such as .*bed_0001\.off .*--name"
    ):
        described("modelnet10", drop=blobs(), bed_0001="ab" * 32)
    found = described("modelnet10", drop=blobs(), name="mended", bed_0001="ab" * 32)
    assert (found.derived_from, found.part, found.recipe["about"]["name"]) == (None, False, "mended")
    assert missing_objects(found) == ()
    assert "princeton" not in json.dumps(found.recipe)


def test_another_split_is_not_modelnet10() -> None:
    found = described("modelnet10", drop=blobs())
    turned = {name: dataclasses.replace(mesh, split="train") for name, mesh in found.meshes.items()}
    files = [MeshFile(name, mesh.label, mesh.split, Path(name)) for name, mesh in turned.items()]
    bare = dataclasses.replace(found, meshes=turned)
    given = Given(Path("/nowhere/resplit"), files, "lite", "resplit")
    assert identify(bare, files, load_preset("lite"), given).derived_from is None


@pytest.mark.parametrize(
    ("collection", "preset", "version", "title"),
    [
        ("shapes", "mini", "1.0.0", "gsbench mini: procedural shapes as 3D Gaussians"),
        ("shapes", "lite", "1.0.0-lite", "gsbench mini (lite): procedural shapes as 3D Gaussians"),
        ("shapes", "full", "1.0.0-full", "gsbench mini (full): procedural shapes as 3D Gaussians"),
        ("modelnet10", "full", "1.0.0", "ModelNet10-GS (full): ModelNet10 as 3D Gaussians"),
        ("modelnet10", "mini", "1.0.0-mini", "ModelNet10-GS (mini): ModelNet10 as 3D Gaussians"),
    ],
)
def test_versions_and_titles(collection: str, preset: str, version: str, title: str) -> None:
    about = described(collection, preset, drop=blobs()).recipe["about"]
    assert (about["version"], about["title"]) == (version, title)
    assert about["name"] == ("mini" if collection == "shapes" else "modelnet10-gs")


def test_the_embedded_data_set_is_described_as_it_was() -> None:
    manifest = open_folder(resolve("mini")).manifest
    found = described("shapes", "mini")
    assert found.recipe == manifest.recipe
    assert {name: mesh.sha256 for name, mesh in found.meshes.items()} == {
        name: each.digests[0] for name, each in known_objects("shapes").items()
    }


def test_the_procedural_shapes_are_known_by_their_files(tmp_path: Path) -> None:
    write_shapes(tmp_path, 1, 0, seed=0)
    known = known_objects("shapes")
    for file in list_meshes(tmp_path):
        assert mesh_sha256(file.path) in known[file.object_id].digests


@pytest.mark.parametrize(
    ("words", "key"), [('version = "2/3"', "version"), ('version = "2", title = "a\\u202eb"', "title")]
)
def test_words_that_no_manifest_can_have_are_refused_before_the_work(
    mugs: Path, tmp_path: Path, words: str, key: str
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(LITE.replace('about.version = "1.0.0-lite-tiny"', f"about = {{ {words} }}"))
    with pytest.raises(InputError, match=f"about.{key} is"):
        build(mugs, tmp_path / "out", str(path))


def test_words_of_a_preset_of_ones_own_are_kept(mugs: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    words = 'about = { version = "2", name = "mugs", title = "Mugs", source = "I made them.", license = "cc0-1.0" }'
    path.write_text(LITE.replace('about.version = "1.0.0-lite-tiny"', words))
    recipe: Preset = load_preset(str(path))
    files = list_meshes(mugs)
    about = identify(describe(files, recipe, "cpu", {}), files, recipe, Given(mugs, files, str(path))).recipe["about"]
    assert about == {"name": "mugs", "version": "2", "title": "Mugs", "license": "cc0-1.0", "source": "I made them."}


def test_older_folders_are_told_by_their_content() -> None:
    """Their manifests name no origin: the hashes tell, and the fingerprints of the two that are on the board."""
    folder = open_folder(resolve("mini"))
    assert folder.manifest.derived_from is None
    assert origin_of(folder) == Origin("shapes", False)
    root = Path(__file__).parents[2] / "leaderboard/datasets"
    for name in ("modelnet10-gs@1f600bbe", "modelnet10-points@be325d68"):
        recorded = json.loads((root / f"{name}.json").read_text())["fingerprint"]
        older = _with_fingerprint(folder.manifest, recorded)
        assert origin_of(dataclasses.replace(folder, manifest=older)) == Origin("modelnet10", False)  # type: ignore[arg-type]
        assert published_name(dataclasses.replace(folder, manifest=older)) == "modelnet10"  # type: ignore[arg-type]


def _with_fingerprint(manifest: Manifest, recorded: str) -> Manifest:
    class Older(Manifest):
        def fingerprint(self) -> str:
            return recorded

    return Older(**{field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)})


@pytest.mark.modelnet
def test_a_hundred_and_twenty_real_meshes_are_a_part(modelnet10: Path, tmp_path: Path) -> None:
    files = list_meshes(modelnet10)
    chosen = select(files, adapt(load_preset("lite"), None, (8, 4)).limit_per_class)
    for file in chosen:
        path = tmp_path / "meshes" / file.path.relative_to(modelnet10)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.path, path)
    recipe = load_preset("lite")
    for root, listed in ((modelnet10, files), (tmp_path / "meshes", list_meshes(tmp_path / "meshes"))):
        found = identify(describe(listed, recipe, "cpu", {}), listed, recipe, Given(root, listed, "lite"))
        assert found.derived_from == "modelnet10"
        assert found.part == (len(listed) < 4409)
        assert len(missing_objects(found)) == (0 if found.part else 4899 - len(listed))
