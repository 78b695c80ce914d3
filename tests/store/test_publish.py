"""Publishing to a Hub, by its real clients in processes of their own against `tests.hub_server`."""

import dataclasses
import json
import re
import shutil
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
from tests.hub_server import TOKEN, Fault, Hub
from tests.store.test_hub import put


@pytest.fixture(scope="module")
def mini() -> Path:
    return resolve("mini")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as server:
        yield server


def environment(hub: Hub, home: Path, **changed: str) -> dict[str, str]:
    return hub.env(home, TOKEN, HF_HUB_DISABLE_PROGRESS_BARS="1", **changed)


def publish(hub: Hub, home: Path, folder: Path, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gsbench", "publish", str(folder), "--repo", "org/mini", *arguments]
    environ = environment(hub, home, **changed)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("xet", [False, True], ids=["lfs", "xet"])
def test_what_is_published_is_loaded_back_byte_for_byte(tmp_path, mini, xet):
    with Hub(tmp_path / "hub", xet) as hub:
        dry = publish(hub, tmp_path / "home", mini, "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert "nothing was written" in dry.stdout
        assert hub.repos == {}
        done = publish(hub, tmp_path / "home", mini)
        assert done.returncode == 0, done.stderr
        assert bool(hub.count("^PUT ")) != xet
        repo = hub.repos["org/mini"]
        assert repo.tags == {"1.0.0": repo.branches["main"]}
        files = repo.commits[repo.branches["main"]]
        assert "eval.yaml" not in files
        assert {"LICENSE", "README.md", "croissant.json", "manifest.json", "objects.png"} < set(files)
        code = """
import gsbench, datasets, shutil
from pathlib import Path
for config in ("gaussians", "points", "views", "reconstructions"):
    ours = gsbench.load_dataset("org/mini@1.0.0", config)
    theirs = datasets.load_dataset("org/mini", config)
    assert {k: len(v) for k, v in ours.items()} == {k: len(v) for k, v in theirs.items()}
    assert ours["test"].features == theirs["test"].features
    assert ours["test"][0].keys() == theirs["test"][0].keys()
from gsbench.store import hub
print(hub.download("org/mini", "1.0.0", None))
"""
        command = [sys.executable, "-c", code]
        said = subprocess.run(
            command, env=environment(hub, tmp_path / "home"), capture_output=True, text=True, check=True
        )
        snapshot = Path(said.stdout.splitlines()[-1])
        for name in open_folder(mini).manifest.shards:
            assert (snapshot / name).read_bytes() == (mini / name).read_bytes()
        before = len(hub.requests)
        again = publish(hub, tmp_path / "home", mini)
        assert "0 new" not in again.stdout
        assert re.search(r"^org/mini: 19 same", again.stdout, re.MULTILINE), again.stdout
        assert not [line for line in hub.requests[before:] if "/commit/" in line or line.startswith("PUT")]


@pytest.mark.slow
def test_a_killed_upload_goes_on(tmp_path, mini, hub):
    hub.faults.append(Fault("^PUT ", None, stall=3600, after=5))
    command = [sys.executable, "-m", "gsbench", "publish", str(mini), "--repo", "org/mini"]
    process = subprocess.Popen(command, env=environment(hub, tmp_path / "home"), stderr=subprocess.DEVNULL)
    while hub.count("^PUT ") < 6:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    repo = hub.repos["org/mini"]
    assert repo.tags == {}
    assert not any(name.endswith(".parquet") for name in repo.files())
    hub.faults.clear()
    before = len(hub.requests)
    done = publish(hub, tmp_path / "home", mini)
    assert done.returncode == 0, done.stderr
    sent = [line for line in hub.requests[before:] if line.startswith("PUT ")]
    assert len(sent) < 14, "what was stored is not sent again"
    assert repo.tags == {"1.0.0": repo.branches["main"]}


PUBLISHING = {
    "no leave": ([Fault("POST .*/commit/", 403)], r"403, your account may not do this.*no tag was set"),
    "no storage": ([Fault("^PUT ", 403)], "no tag was set, what is uploaded stays"),
    "too many": ([Fault("POST /api/repos/create", 429)], r"429, too many requests"),
    "failing": ([Fault("POST .*/commit/", 500)], r"500, the Hub has a fault"),
    "no tag": ([Fault("POST .*/tag/", 500)], r"500, the Hub has a fault.*no tag was set"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHING)
def test_what_goes_wrong_in_publishing_is_told_and_sets_no_tag(tmp_path, mini, hub, name):
    faults, message = PUBLISHING[name]
    hub.faults += faults
    done = publish(hub, tmp_path / "home", mini)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert all(not repo.tags for repo in hub.repos.values())


@pytest.mark.slow
def test_a_version_that_is_there_of_other_data_stays(tmp_path, mini, hub):
    put(hub, mini, "org/mini")
    repo = hub.repos["org/mini"]
    files = dict(repo.files())
    manifest = json.loads(files["manifest.json"].data or b"")
    manifest["shards"]["points/test-00000-of-00001.parquet"]["sha256"] = "ab" * 32
    data = json.dumps(manifest).encode()
    files["manifest.json"] = dataclasses.replace(files["manifest.json"], data=data, size=len(data))
    repo.tags["1.0.0"] = repo.commit("main", files, "other data")
    done = publish(hub, tmp_path / "home", mini)
    assert done.returncode == 2
    assert "has version 1.0.0 already, of other data" in done.stderr
    assert repo.messages == ["upload", "other data"]


@pytest.mark.slow
def test_what_is_no_longer_part_of_the_data_is_removed(tmp_path, mini, hub):
    put(hub, mini, "org/mini")
    repo = hub.repos["org/mini"]
    stale = repo.files()["points/test-00000-of-00001.parquet"]
    repo.commit("main", {**repo.files(), "points/test-00000-of-00009.parquet": stale}, "stale")
    done = publish(hub, tmp_path / "home", mini)
    assert done.returncode == 0, done.stderr
    assert "removed: points/test-00000-of-00009.parquet" in done.stdout
    assert "removed: eval.yaml" in done.stdout
    assert "points/test-00000-of-00009.parquet" not in repo.files()
    assert "changed: README.md" in done.stdout
    assert hub.count("^PUT ") <= 1, "but for the picture, nothing large was sent again"


@pytest.mark.slow
def test_nothing_is_sent_of_what_does_not_hold(tmp_path, mini, hub):
    folder = tmp_path / "broken"
    shutil.copytree(mini, folder)
    shard = folder / "points/test-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    done = publish(hub, tmp_path / "home", folder)
    assert done.returncode == 2
    assert "gsbench verify" in done.stderr
    assert publish(hub, tmp_path / "home", mini, HF_TOKEN="", HF_HUB_DISABLE_IMPLICIT_TOKEN="1").returncode == 2
    spoiled = publish(hub, tmp_path / "home", mini, HF_TOKEN=f"{TOKEN}\u00e9")
    assert "has characters that no token has" in spoiled.stderr
    assert not hub.requests


@pytest.mark.parametrize("name", ["mini", "a/b/c", "org/mi ni", "../x", "org/", "-a/b"])
def test_a_repository_has_an_organization_and_a_name(mini, name):
    with pytest.raises(InputError, match="must be ORG/NAME"):
        publish_folder(mini, name)


@pytest.mark.slow
def test_eval_brings_the_configs_that_it_reads(tmp_path, mini, hub):
    put(hub, mini, "org/mini")
    command = [sys.executable, "-m", "gsbench", "eval", "--model", "pointnet:smoke", "--data", "org/mini"]
    command += ["--modality", "points", "--out", str(tmp_path / "out")]
    for offline in "01":  # then from the copy
        environ = environment(hub, tmp_path / "home", HF_HUB_OFFLINE=offline)
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        brought = {path.parent.name for path in (tmp_path / "home").rglob("*.parquet")}
        assert brought == {"points", "gaussians"}, "points, and the hashes of meshes"
