"""Loading from a Hub, by its real clients in processes of their own against `tests.hub_server`."""

import hashlib
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gsbench.store.folder import open_folder, read_table
from gsbench.store.load import PINNED
from gsbench.store.schema import CONFIGS
from tests.hub_server import READ_TOKEN, Fault, File, Hub, Repo

REPO = "org/tiny"


def put(hub: Hub, folder: Path, repo: str = REPO, tag: str | None = None) -> None:
    """A repository of a data folder, as an upload by LFS leaves it."""
    files = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest() if path.suffix == ".parquet" else None
            if sha256:
                hub.blobs[sha256] = data
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            files[path.relative_to(folder).as_posix()] = File(None if sha256 else data, len(data), oid, sha256)
    sha = hub.repos.setdefault(repo, Repo()).commit("main", files, "upload")
    hub.repos[repo].tags |= {tag: sha} if tag else {}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Callable[..., str]:
    """Runs code in a process that takes `hub` for the Hub; returns what it prints, an InputError as its message."""

    def run_code(code: str, token: str | None = None, **more: str) -> str:
        body = textwrap.indent(textwrap.dedent(code), "    ")
        script = (
            "import sys, warnings, gsbench\nfrom gsbench.core.parsing import InputError\n"
            f"warnings.showwarning = lambda m, *_: print('NOTE', m)\ntry:\n{body}\n"
            "except InputError as error:\n    print('InputError', error)\n"
        )
        environ = hub.env(tmp_path / "home", token, HF_HUB_DISABLE_PROGRESS_BARS="1", **more)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "hf_" not in done.stdout + done.stderr
        return done.stdout.strip()

    return run_code


def test_every_config_is_the_folder_s(hub: Hub, run: Callable[..., str], made: Path) -> None:
    put(hub, made, tag="0.1")
    said = run(f"""
        import hashlib, pickle
        for config in {list(CONFIGS)}:
            both = [gsbench.load_dataset(name, config) for name in ("{REPO}@0.1", "{made}")]
            assert both[0]["train"].features == both[1]["train"].features
            assert [rows.data.table for rows in both[0].values()] == [rows.data.table for rows in both[1].values()]
            print(config, {{split: len(rows) for split, rows in both[0].items()}})
    """)
    assert said.splitlines() == [
        f"{config} {{'train': {20 * each}, 'test': {6 * each}}}"
        for config, each in zip(CONFIGS, (1, 1, 3, 3), strict=True)
    ]
    assert hub.count("GET /cdn") == len(list(made.glob("*/*.parquet"))), "each shard is brought once"


def test_datasets_alone_reads_every_config(hub: Hub, run: Callable[..., str], made: Path) -> None:
    put(hub, made)
    said = run(f"""
        import datasets
        for config in {list(CONFIGS)}:
            rows = datasets.load_dataset("{REPO}", config, split="test")
            assert rows.features == gsbench.load_dataset("{made}", config, "test").features
            print(config, rows["object_id"][0])
    """)
    assert said.splitlines() == [f"{config} chair_0011" for config in CONFIGS]


@pytest.mark.slow
def test_streaming_brings_no_shard(hub: Hub, run: Callable[..., str], made: Path, tmp_path: Path) -> None:
    put(hub, made)
    said = run(f"""
        rows = gsbench.load_dataset("{REPO}", "gaussians", "train", streaming=True)
        stored = gsbench.load_dataset("{made}", "gaussians", "train")
        assert rows.features == stored.features
        assert [row["means"] for row in rows] == stored["means"][:]
        print(next(iter(rows.with_format("torch")))["means"].shape, {{row["duplicate_of"] for row in rows}})
        print(sorted(gsbench.load_dataset("{made}", "points", streaming=True)))
        gsbench.load_dataset("{REPO}", "points", "train[:3]", streaming=True)
    """)
    count = read_table(open_folder(made), "gaussians", "train")["num_gaussians"][0].as_py()
    assert said.splitlines()[:2] == [f"torch.Size([{count}, 3]) {{''}}", "['test', 'train']"]
    assert said.splitlines()[2] == "InputError split: 'train[:3]' with streaming (allowed: train, test)"
    assert not list((tmp_path / "home").rglob("*.parquet"))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_shard_that_is_another_is_refused_and_not_kept(
    hub: Hub, run: Callable[..., str], folder: Path, streaming: bool
) -> None:
    shard = folder / "points" / "test-00000-of-00001.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    put(hub, folder)
    code = f"print(len(list(gsbench.load_dataset('{REPO}', 'points', 'test', streaming={streaming}))))"
    said = run(code)
    assert "points/test-00000-of-00001.parquet" in said
    assert said.startswith("InputError")
    assert "shard is" in said
    shard.write_bytes(whole)
    put(hub, folder)
    assert run(code) == "6"


@pytest.mark.slow
def test_damage_on_the_way_is_mended_by_the_next_try(hub: Hub, run: Callable[..., str], made: Path) -> None:
    put(hub, made)
    (sha256,) = [file.sha256 for path, file in hub.repos[REPO].files().items() if path.startswith("points/test")]
    assert sha256
    whole = hub.blobs[sha256]
    hub.blobs[sha256] = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    code = f"print(len(gsbench.load_dataset('{REPO}', 'points', 'test')))"
    assert "the copy was removed: try again" in run(code)
    hub.blobs[sha256] = whole
    assert run(code) == "6"


@pytest.mark.slow
def test_the_fingerprint_is_held_against_the_pinned_one(hub: Hub, run: Callable[..., str], made: Path) -> None:
    put(hub, made)
    put(hub, made, "gsbench/modelnet10-gs", tag="v9")
    mine = open_folder(made).manifest.fingerprint()
    assert run(f"print(len(gsbench.load_dataset('{REPO}', 'points', 'test', fingerprint='{mine}')))") == "6"
    said = run(f"gsbench.load_dataset('{REPO}', 'points', 'test', fingerprint='{PINNED}')")
    assert f"its fingerprint is {mine[:12]} (must be {PINNED[:12]}: these are other data)" in said
    said = run("gsbench.load_dataset('modelnet10-gs', 'points')", GSBENCH_DATA="")
    assert said.startswith("InputError gsbench/modelnet10-gs: its fingerprint is")
    assert run("print(len(gsbench.load_dataset('modelnet10-gs@v9', 'points', 'test')))", GSBENCH_DATA="") == "6"


@pytest.mark.slow
def test_a_cached_copy_is_used_offline_and_says_so(hub: Hub, run: Callable[..., str], made: Path) -> None:
    put(hub, made)
    code = f"print(len(gsbench.load_dataset('{REPO}', 'points', 'test')))"
    assert run(code) == "6"
    assert run(code, HF_HUB_OFFLINE="1") == "6"
    note, answer = run(code, HF_ENDPOINT="http://127.0.0.1:9").splitlines()
    assert note.startswith(f"NOTE {REPO}: the copy from before is used, the Hugging Face Hub has not answered: it ")
    assert answer == "6"
    hub.faults.append(Fault("", 503))
    assert "503, the Hub has a fault of its own" in run(code)
    views = f"gsbench.load_dataset('{REPO}', 'views')"
    assert "HF_HUB_OFFLINE is set, and there is no copy of it here" in run(views, HF_HUB_OFFLINE="1")


GATED = {"X-Error-Code": "GatedRepo"}
FAULTS = {
    "gated": (Fault("resolve", 403, GATED), "it is gated (ask for access at http"),
    "no repository": (Fault("resolve", 404, {"X-Error-Code": "RepoNotFound"}), "there is no such data set, or it is p"),
    "private": (
        Fault("resolve", 401, {"X-Error-Code": "RepoNotFound"}),
        "there is no such data set, or it is private (log in",
    ),
    "no revision": (Fault("resolve", 404, {"X-Error-Code": "RevisionNotFound"}), "it has no revision 'v7'"),
    "no data set": (Fault("resolve", 404, {"X-Error-Code": "EntryNotFound"}), "it is no data set of gsbench"),
    "forbidden": (Fault("resolve", 403, {"X-Error-Message": "no hf_abcdefgh here"}), "403, your account may not do"),
    "too many": (Fault("resolve", 429, {"Retry-After": "300"}), "429, too many requests"),
    "too many, then": (Fault("cdn", 429, {"Retry-After": "300"}), "429, too many requests"),
    "broken": (Fault("resolve", 500), "500, the Hub has a fault of its own"),
    "away": (Fault("resolve", 503), "503, the Hub has a fault of its own"),
    "away, then": (Fault("cdn", 502), "502, the Hub has a fault of its own"),
    "hangs up": (Fault("resolve"), "it cannot be reached, are you offline?"),
    "silent": (Fault("resolve", None, stall=60), "it cannot be reached, are you offline?"),
    "silent, then": (Fault("cdn", None, stall=60), "it cannot be reached, are you offline?"),
    "bad token": (
        Fault("resolve", 401, {}, b'{"error": "Invalid credentials in Authorization header"}'),
        "401, the Hub",
    ),
    "half a shard": (Fault("cdn", None, cut=True), "it cannot be reached, are you offline?"),
    "no hub": (Fault("resolve", 200), "what answers is no Hugging Face Hub"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAULTS))
def test_each_fault_has_its_message_in_time(hub: Hub, run: Callable[..., str], made: Path, name: str) -> None:
    put(hub, made, tag="v7")
    fault, message = FAULTS[name]
    hub.faults.append(fault)
    start = time.monotonic()
    said = run(
        f"import gsbench.store.hub_errors as e; e.PATIENCE = 3.0; gsbench.load_dataset('{REPO}@v7', 'points')",
        token=READ_TOKEN,
    )
    assert said.startswith(
        f"InputError {REPO}: no such folder, and not to be had from the Hugging Face Hub at revision v7: {message}"
    ), said
    assert "\n" not in said
    assert time.monotonic() - start < 15


@pytest.mark.slow
def test_an_interrupted_download_goes_on(hub: Hub, run: Callable[..., str], made: Path) -> None:
    put(hub, made)
    hub.faults.append(Fault("cdn", None, cut=True, times=2))
    assert run(f"print(len(gsbench.load_dataset('{REPO}', 'points', 'test')))") == "6"
