"""What a killed process leaves is removed once nobody can be writing it any more."""

import os
import time
from pathlib import Path

from gsbench.core.files import ABANDONED_SECONDS, TEMPORARY_PREFIX, remove_leftovers, temporary_folder, write_atomic


def test_old_files_and_folders_of_killed_processes_go(tmp_path: Path) -> None:
    old, new = temporary_folder(tmp_path), temporary_folder(tmp_path)
    (old / "model.safetensors").write_bytes(b"half")
    file, other = tmp_path / f"{TEMPORARY_PREFIX}{'0' * 16}.json", tmp_path / ".unfinished-business"
    for path in (file, other):
        path.write_text("half")
    past = time.time() - ABANDONED_SECONDS - 60
    for path in (old, file, other):
        os.utime(path, (past, past))
    remove_leftovers.cache_clear()
    write_atomic(tmp_path / "whole.json", b"{}")
    assert sorted(tmp_path.iterdir()) == sorted([new, other, tmp_path / "whole.json"]), "what has no name of ours stays"
