"""Publishing to a Hub and loading back, by the real clients in processes of their own against `tests.hub_server`."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gsbench.core.parsing import InputError
from gsbench.produce.publish import publish as publish_folder
from gsbench.store.folder import open_folder
from gsbench.store.load import resolve
from gsbench.store.manifest import load_manifest, save_manifest
from tests.hub_server import READ_TOKEN, TOKEN, Fault, Hub
from tests.store.conftest import ABOUT, folder, made  # noqa: F401 -- fixtures
from tests.store.test_hub import put

REPO = "org/tiny"


@pytest.fixture
def tiny(folder: Path) -> Path:  # noqa: F811
    """The tiny folder with the words that `gsbench build` leaves in a manifest."""
    manifest = load_manifest(folder)
    save_manifest(dataclasses.replace(manifest, recipe={**manifest.recipe, "about": dataclasses.asdict(ABOUT)}), folder)
    return folder


@pytest.fixture(params=["lfs", "xet"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    if request.param == "xet":
        pytest.importorskip("hf_xet")
    with Hub(tmp_path / "hub", xet=request.param == "xet", page=5) as server:
        yield server


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as server:
        yield server


def command(*words: object) -> list[str]:
    script = (
        "import sys\nfrom gsbench.cli import main\nfrom gsbench.store import hub_errors\n"
        "from gsbench.produce import publish\nhub_errors.PATIENCE, publish._SILENCE = 3.0, 3.0\nsys.exit(main())"
    )
    return [sys.executable, "-c", script, *map(str, words)]


def publish(hub: Hub, path: Path, *more: object, token: str | None = TOKEN) -> tuple[int, str]:
    """Runs `gsbench publish`; returns its exit status and all that it says, in which no token stands."""
    environ = hub.env(hub.cas.parent / "home", token, HF_HUB_DISABLE_PROGRESS_BARS="1")
    words = command("publish", path, "--repo", REPO, *more)
    done = subprocess.run(words, capture_output=True, text=True, env=environ, timeout=120)
    said = done.stdout + done.stderr
    assert "hf_" not in said
    assert "Traceback" not in said
    return done.returncode, said


def load_back(hub: Hub, home: Path) -> Path:
    """The folder of a fresh machine's cache after loading every config and verifying."""
    script = (
        "import gsbench\nfrom gsbench.store.load import resolve\nfrom gsbench.produce.verification import verify\n"
        f"path = resolve('{REPO}@0.1')\nassert verify(path).ok, verify(path).problems\n"
        f"[gsbench.load_dataset('{REPO}', config) for config in ('gaussians', 'points', 'views', 'reconstructions')]\n"
        "print(path)"
    )
    environ = hub.env(home, HF_HUB_DISABLE_PROGRESS_BARS="1")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ, check=True)
    return Path(done.stdout.strip())


def assert_same(path: Path, other: Path) -> None:
    names = ["manifest.json", *open_folder(path).manifest.shards]
    assert [name for name in names if (path / name).read_bytes() != (other / name).read_bytes()] == []


@pytest.mark.slow
def test_what_is_published_loads_back_byte_for_byte(either: Hub, tiny: Path, tmp_path: Path) -> None:
    status, said = publish(either, tiny, "--dry-run", token=None)
    assert (status, either.repos) == (0, {})
    assert "new: croissant.json" in said
    assert "nothing was written" in said
    status, said = publish(either, tiny, "--private")
    assert status == 0, said
    assert f'gsbench.load_dataset("{REPO}@0.1")' in said
    repo = either.repos[REPO]
    assert repo.private
    assert repo.tags == {"0.1": repo.branches["main"]}
    assert either.requests[-1] == f"POST /api/datasets/{REPO}/tag/{repo.branches['main']}", "the tag comes last"
    assert "eval.yaml" not in repo.files()
    repo.private = False
    assert_same(tiny, load_back(either, tmp_path / "fresh"))
    before = len(either.requests)
    status, said = publish(either, tiny)
    assert (status, " same (" in said) == (0, True)
    assert not [request for request in either.requests[before:] if not request.startswith(("GET", "HEAD"))]


def test_the_card_says_what_the_hub_asks_for(hub: Hub, tiny: Path) -> None:
    import yaml

    assert publish(hub, tiny)[0] == 0
    files = hub.repos[REPO].files()
    text = (files["README.md"].data or b"").decode()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "mit"
    assert head["size_categories"] == ["n<1K"]
    assert "image-classification" in head["task_categories"]
    assert [each["config_name"] for each in head["configs"]] == list(open_folder(tiny).manifest.counts)
    for part in (f'load_dataset("{REPO}"', "](objects.png)", "@misc{tiny,", "## Columns", "## Quality"):
        assert part in text, part
    assert b"Random numbers." in (files["LICENSE"].data or b"")
    croissant = json.loads(files["croissant.json"].data or b"")
    fields = {field["@id"]: field for records in croissant["recordSet"] for field in records["field"]}
    assert fields["gaussians/sh"]["arrayShape"] == "-1,4,3"
    assert fields["views/viewmat"]["arrayShape"] == "4,4"


@pytest.mark.parametrize("stage", ["LFS files", "commit"])
@pytest.mark.slow
def test_a_killed_upload_goes_on(either: Hub, tiny: Path, tmp_path: Path, stage: str) -> None:
    if stage == "LFS files" and either.xet:
        pytest.skip("Xet's storage is a folder here, with no request to be killed in")
    pattern = "PUT /cdn" if stage == "LFS files" else "POST /api.*/commit/"
    either.faults.append(Fault(pattern, None, stall=60, after=6 if stage == "LFS files" else 0))
    environ = either.env(tmp_path / "home", TOKEN, HF_HUB_DISABLE_PROGRESS_BARS="1")
    process = subprocess.Popen(
        command("publish", tiny, "--repo", REPO), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wanted, end = (8 if stage == "LFS files" else 1), time.monotonic() + 60
    while either.count(pattern) < wanted and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert either.repos[REPO].tags == {}
    either.faults.clear()
    sent, before = len(either.blobs), either.count("PUT /cdn")
    status, said = publish(either, tiny)
    assert status == 0, said
    if not either.xet:
        assert sent >= 6
        assert either.count("PUT /cdn") - before == len(either.blobs) - sent, "what was there is not sent again"
    assert_same(tiny, load_back(either, tmp_path / "fresh"))


@pytest.mark.slow
def test_a_version_stays_what_it_is_and_a_new_one_leaves_nothing_old(hub: Hub, tiny: Path) -> None:
    assert publish(hub, tiny)[0] == 0
    hub.repos[REPO].commit("main", {**hub.repos[REPO].files(), "notes.md": hub.repos[REPO].files()["LICENSE"]}, "notes")
    at = hub.repos[REPO].tags["0.1"]
    (tiny / "LICENSE").write_text("Another.")
    status, said = publish(hub, tiny)
    assert (status, f"tag 0.1 at {at[:12]}" in said) == (0, True), said
    assert hub.repos[REPO].tags == {"0.1": at}, "a tag stays where it is"
    manifest = load_manifest(tiny)
    shards = {name: shard for name, shard in manifest.shards.items() if not name.startswith("views/")}
    counts = {config: splits for config, splits in manifest.counts.items() if config != "views"}
    shutil.rmtree(tiny / "views")
    save_manifest(dataclasses.replace(manifest, version="0.2", shards=shards, counts=counts), tiny)
    status, said = publish(hub, tiny, "--dry-run")
    assert "removed: views/test-00000-of-00001.parquet" in said, said
    assert publish(hub, tiny)[0] == 0
    names = hub.repos[REPO].files()
    assert not [name for name in names if name.startswith("views/")]
    assert "notes.md" in names
    assert set(hub.repos[REPO].tags) == {"0.1", "0.2"}


def relicensed(path: Path, license_: str) -> None:
    manifest = load_manifest(path)
    about = {**manifest.recipe["about"], "license": license_}
    save_manifest(dataclasses.replace(manifest, recipe={**manifest.recipe, "about": about}), path)


@pytest.mark.slow
@pytest.mark.parametrize(("license_", "terms"), [("unknown", "unknown"), ("cc-by-nd-4.0", "no-derivatives")])
def test_terms_that_forbid_it_must_be_named(hub: Hub, tiny: Path, license_: str, terms: str) -> None:
    relicensed(tiny, license_)
    status, said = publish(hub, tiny)
    assert (status, f"say --may-publish {terms}" in said, hub.repos) == (2, True, {}), said
    status, said = publish(hub, tiny, "--may-publish", "modelnet10")
    assert (status, f"say --may-publish {terms}" in said) == (2, True)
    assert publish(hub, tiny, "--may-publish", terms)[0] == 0


def test_what_verify_does_not_pass_is_not_published(hub: Hub, tiny: Path) -> None:
    shard = next(tiny.glob("points/test-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    status, said = publish(hub, tiny)
    assert (status, "points/test-00000-of-00001.parquet: " in said, hub.requests) == (2, True, []), said


LOOK_UP = f"GET /api/datasets/{REPO}$"
FAULTS = {
    "read-only token": (None, READ_TOKEN, "403, your account may not do this (You don't have the rights"),
    "bad token": (
        Fault("create", 401, {}, b'{"error": "Invalid credentials in Authorization header"}'),
        TOKEN,
        "401, t",
    ),
    "look-up busy": (Fault(LOOK_UP, 429, {"Retry-After": "300"}), TOKEN, "429, too many requests"),
    "look-up broken": (Fault(LOOK_UP, 503), TOKEN, "503, the Hub has a fault of its own"),
    "look-up hangs up": (Fault(LOOK_UP), TOKEN, "it cannot be reached, are you offline?"),
    "look-up silent": (Fault(LOOK_UP, None, stall=60), TOKEN, "it cannot be reached, are you offline?"),
    "card refused": (
        Fault("validate-yaml", 400, {}, b'{"errors": [{"message": "no such thing"}]}'),
        TOKEN,
        "no such thing",
    ),
    "preupload": (Fault("preupload", 403, {"X-Error-Message": "not hf_abcdefgh"}), TOKEN, "403, your account may not"),
    "storage refuses": (Fault("PUT /cdn", 403), TOKEN, "no tag was set, what is uploaded stays"),
    "storage loses": (Fault("PUT /cdn", 200), TOKEN, "was not uploaded"),
    "storage silent": (Fault("PUT /cdn", None, stall=90), TOKEN, "it cannot be reached, are you offline?"),
    "commit silent": (Fault("/commit/", None, stall=90), TOKEN, "it cannot be reached, are you offline?"),
    "commit broken": (Fault("/commit/", 500), TOKEN, "500, the Hub has a fault of its own"),
    "commit conflict": (
        Fault("/commit/", 412, {"X-Error-Message": "A commit has happened since"}),
        TOKEN,
        "A commit has",
    ),
    "other files": (Fault("/tree/", 200, {}, b"[]"), TOKEN, "is not what was sent"),
    "tag broken": (Fault("/tag/", 500), TOKEN, "500, the Hub has a fault of its own"),
    "tag forbidden": (Fault("/tag/", 403), TOKEN, "403, your account may not do this"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAULTS))
def test_each_fault_has_its_message_and_leaves_no_tag(hub: Hub, tiny: Path, name: str) -> None:
    fault, token, message = FAULTS[name]
    hub.faults += [fault] if fault else []
    status, said = publish(hub, tiny, token=token)
    assert (status, message in said) == (2, True), said
    (line,) = [line for line in said.splitlines() if line.startswith("gsbench: error:")]
    assert REPO in line
    assert not any(repo.tags for repo in hub.repos.values())
    hub.faults.clear()
    assert publish(hub, tiny)[0] == 0


@pytest.mark.slow
def test_a_version_that_is_there_of_other_data_stays(hub: Hub, tiny: Path) -> None:
    put(hub, tiny)
    repo = hub.repos[REPO]
    files = dict(repo.files())
    manifest = json.loads(files["manifest.json"].data or b"")
    manifest["shards"]["points/test-00000-of-00001.parquet"]["sha256"] = "ab" * 32
    data = json.dumps(manifest).encode()
    files["manifest.json"] = dataclasses.replace(files["manifest.json"], data=data, size=len(data))
    repo.tags["0.1"] = repo.commit("main", files, "other data")
    status, said = publish(hub, tiny)
    assert (status, "has version 0.1 already, of other data" in said) == (2, True), said
    assert repo.messages == ["upload", "other data"]


@pytest.mark.slow
def test_a_token_that_is_none_is_not_sent_or_shown(hub: Hub, tiny: Path) -> None:
    status, said = publish(hub, tiny, token=None)
    assert (status, "no token for the Hugging Face Hub: log in" in said) == (2, True), said
    status, said = publish(hub, tiny, token=f"{TOKEN}\u00e9")
    assert (status, "has characters that no token has" in said) == (2, True), said
    assert not hub.requests


@pytest.mark.parametrize("name", ["mini", "a/b/c", "org/mi ni", "../x", "org/", "-a/b"])
def test_a_repository_has_an_organization_and_a_name(tiny: Path, name: str) -> None:
    with pytest.raises(InputError, match="must be ORG/NAME"):
        publish_folder(tiny, name)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["test", "val"])
def test_eval_brings_the_configs_that_it_reads(tmp_path: Path, hub: Hub, split: str) -> None:
    put(hub, resolve("mini"), "org/mini")
    command = [sys.executable, "-m", "gsbench", "eval", "--model", "pointnet:smoke", "--data", "org/mini"]
    command += ["--modality", "points", "--split", split, "--out", str(tmp_path / "out")]
    for offline in "01":  # then from the copy
        environ = hub.env(tmp_path / "home", HF_HUB_OFFLINE=offline)
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        brought = {path.parent.name for path in (tmp_path / "home").rglob("*.parquet")}
        assert brought == {"points", "gaussians"}, "points, and the hashes of meshes"
