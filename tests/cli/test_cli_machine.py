"""The command on any machine: its output, its exit status and its one line whatever stands at the other end."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest

from gsbench.cli import main
from gsbench.cli.messages import interruptible, prepare_streams
from gsbench.core.parsing import InputError
from tests.tiny_training import make_folder

RECIPE = """
name = "mine"
title = "Mine"
model = "model:Net"
paper = "-"

[train]
epochs = 1
batch_size = 4
lr = 0.1
"""
MODEL = """
import torch


class Net(torch.nn.Module):
    inputs = ("gaussians",)

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.layer = torch.nn.Linear(3, num_classes)

    def embed(self, batch):
        return batch.points[:, :, :3].std(dim=1)

    def logits(self, batch):
        return self.layer(self.embed(batch))

    def loss(self, batch, label_smoothing):
        return torch.nn.functional.cross_entropy(self.logits(batch), batch.labels)
"""


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    def run_command(*argv: object) -> Done:
        capsys.readouterr()
        return Done(main([str(word) for word in argv]), *capsys.readouterr())

    return run_command


@pytest.fixture
def models_raises(monkeypatch):
    """Makes `gsbench models` raise this."""
    return lambda error: monkeypatch.setattr("gsbench.core.baseline.shipped_recipes", Mock(side_effect=error))


@pytest.fixture
def recipe(tmp_path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path / "recipe.toml"


@pytest.mark.parametrize(
    "error", [RuntimeError("broken\nin two"), ValueError("shapes differ"), KeyError("a"), RecursionError("too deep")]
)
def test_a_fault_of_gsbench_is_told_from_bad_input(run, models_raises, error):
    models_raises(error)
    text = " ".join(str(error).split())
    line = (
        f"gsbench: internal error: {type(error).__name__}: {text} (this is a fault of gsbench, not of your input; run "
        "again with --debug for the traceback)\n"
    )
    assert run("models") == Done(70, "", line)
    for argv in (("models", "--debug"), ("--debug", "models")):
        done = run(*argv)
        assert (done.status, done.out) == (70, "")
        assert done.err.startswith("Traceback (most recent call last):\n")
        assert done.err.endswith(line)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("x: is wrong"), "x: is wrong"),
        (MemoryError(), "too little memory"),
        (MemoryError("Unable to allocate 7 GiB"), "too little memory: Unable to allocate 7 GiB"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you"),
            "too little memory: DefaultCPUAllocator: can't",
        ),
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b: Permission denied"),
        (InputError("x\x1b[2J\u202eabc\udcff"), r"x\x1b[2J\u202eabc\udcff"),
    ],
)
def test_what_a_user_can_mend_is_one_line(run, models_raises, error, line):
    models_raises(error)
    done = run("models")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"gsbench: error: {line}")
    assert "Traceback" in run("models", "--debug").err


def test_a_fault_in_the_code_of_a_recipe_is_its_own(run, recipe, tmp_path):
    """Also where gsbench does not expect to run it, as here, where the optimizer asks for what it trains."""
    source = MODEL + "\n    def parameters(self, recurse=True):\n        raise LookupError('none today')\n"
    (tmp_path / "model.py").write_text(source)
    data = make_folder(tmp_path / "tiny", ("gaussians",))
    done = run("eval", "--model", recipe, "--data", data, "--out", tmp_path / "results")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    place = rf"model\.py:{source.count(chr(10))}: LookupError: none today"
    assert re.match(rf"gsbench: error: .*/{place} \(run again with --debug", done.err), done.err


def test_every_command_has_debug_and_help_tells_the_exit_statuses(run):
    text = run("--help").out
    assert "70 a fault of gsbench" in " ".join(text.split())
    commands = re.findall(r"^    (\w+) ", text, re.MULTILINE)
    assert {"eval", "convert", "doctor"} <= set(commands)
    for command in commands:
        assert "--debug" in run(command, "--help").out, command


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", rb"86.2 +- 0.5 - 30 deg e ? \xff >= AB"),
        ("latin-1", b"86.2 \xb1 0.5 - 30\xb0 \xe9 ? \\xff >= AB"),
        ("utf-8", "86.2 ± 0.5 – 30° é 漢 ".encode() + rb"\xff" + " ≥ ＡB".encode()),  # noqa: RUF001
    ],
)
def test_output_survives_a_terminal_that_knows_few_characters(monkeypatch, encoding, expected):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding, "strict"))
    prepare_streams()
    for stream in (sys.stdout, sys.stderr):
        stream.write("86.2 ± 0.5 – 30° é 漢 \udcff ≥ ＡB")  # noqa: RUF001
        stream.flush()
        assert stream.buffer.getvalue() == expected


@pytest.mark.slow
def test_eval_on_an_ascii_terminal(recipe, tmp_path):
    data = make_folder(tmp_path / "tiny", ("gaussians",))
    done = subprocess.run(
        [sys.executable, "-m", "gsbench", "eval", "--model", recipe, "--data", data, "--seeds", "0,1", "--out", "out"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "TERM": "dumb", "COLUMNS": "1"},
        cwd=tmp_path,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.search(rb"\| [\d.]+ \+- [\d.]+ ", done.stdout)
    assert len(list((tmp_path / "out").rglob("*.json"))) == 2


FULL = "gsbench: error: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("command", "status", "err"),
    [
        ("models >&-", 0, ""),
        ("models >/dev/null 2>&-", 0, ""),
        ("models <&- >&- 2>&-", 0, ""),
        ("modls 2>&-", 2, ""),
        ("modls 2>/dev/full", 2, ""),
        ("models >/dev/full", 2, FULL),
        ("--help >/dev/full", 2, FULL),
        ("models 2>&1 | true; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_streams_that_are_closed_or_full(command, status, err):
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m gsbench {command}'], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout) == (status, err, "")


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path):
    code = (
        "import json, os; from gsbench.cli.messages import prepare_streams; prepare_streams(); file = open('x', 'w');"
        "print('lost'); os.write(1, b'lost'); file.write(json.dumps([file.fileno(), os.get_inheritable(1)]))"
    )
    subprocess.run(["bash", "-c", f'"{sys.executable}" -c "{code}" <&- >&- 2>&-'], cwd=tmp_path, check=True)
    number, inheritable = json.loads((tmp_path / "x").read_text())
    assert number > 2
    assert inheritable


@pytest.fixture
def ctrl_c():
    """Presses Ctrl-C, in a process that heeds it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    signal.signal(signal.SIGINT, before)


def swallow(ctrl_c) -> None:
    """What a compiled module makes of a Ctrl-C as it is imported."""
    with contextlib.suppress(KeyboardInterrupt):
        ctrl_c()


def test_ctrl_c_that_a_library_swallows_comes_again(ctrl_c):
    def work() -> None:
        swallow(ctrl_c)
        time.sleep(30)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interruptible():
        work()
    assert time.monotonic() - start < 10


def test_ctrl_c_that_is_swallowed_at_the_end_interrupts(ctrl_c):
    with pytest.raises(KeyboardInterrupt), interruptible():
        swallow(ctrl_c)


def test_ctrl_c_that_a_library_makes_another_error_of(ctrl_c, run, monkeypatch):
    def models() -> None:
        swallow(ctrl_c)
        raise AttributeError("partially initialized")

    monkeypatch.setattr("gsbench.core.baseline.shipped_recipes", models)
    assert run("models") == Done(130, "", "gsbench: error: interrupted\n")


def test_what_cleans_up_after_ctrl_c_is_not_interrupted_again(ctrl_c):
    cleaned = []

    def numbers():
        try:
            yield 1
        finally:
            time.sleep(0.5)
            cleaned.append("generator")

    def work() -> None:
        try:
            for _ in numbers():
                ctrl_c()
        finally:
            time.sleep(0.5)
            cleaned.append("finally")

    with pytest.raises(KeyboardInterrupt), interruptible():
        work()
    assert sorted(cleaned) == ["finally", "generator"]


def test_ctrl_c_stays_ignored_where_it_is(ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible():
        ctrl_c()
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.15 * step for step in range(2, 20)])
def test_ctrl_c_at_any_time_ends_convert(tmp_path, delay):
    command = [sys.executable, "-m", "gsbench", "convert", "mini:chair_0025", str(tmp_path / "out.spz")]

    def heed() -> None:  # a shell's background jobs do not
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed) as process:
        time.sleep(delay)
        if process.poll() is not None:
            pytest.skip(f"done within {delay:g} s here")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    # Python ends by the signal itself where the interrupt went through an `exec`; a shell tells both as 130.
    assert process.returncode in (130, -signal.SIGINT), err
    # At the very end all has been said already.
    said = [line for line in err.splitlines() if not line.startswith(b"gsbench: NOTE: ")]
    assert said in ([b"gsbench: error: interrupted"], []), err
    assert not list(tmp_path.glob(".*"))
