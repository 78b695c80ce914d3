"""A request to put entries on somebody's board: a pull request on the Hub, or a branch of a git repository."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gsbench.core.parsing import InputError
from gsbench.store.hub_errors import explain, redact

_SECONDS = 60.0


def open_on_hub(files: Mapping[str, bytes], repo: str, title: str) -> str:
    """Opens a pull request that adds files to a data set's repository on the Hub; returns its address.

    Args:
        files: path in the repository -> contents.
        repo: ORG/NAME.
        title: of the request.

    Raises:
        InputError: no token, or what the Hub refuses.
    """
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise InputError("no token for the Hugging Face Hub: log in with `hf auth login`, or set HF_TOKEN")
    operations = [huggingface_hub.CommitOperationAdd(path, data) for path, data in sorted(files.items())]
    try:
        made = huggingface_hub.HfApi().create_commit(
            repo, operations, commit_message=title, repo_type="dataset", create_pr=True
        )
    except Exception as error:  # its errors share no base, and what is told of them must hold no token
        raise InputError(redact(f"--pr {repo}: {explain(error, repo)}")) from None
    return str(made.pr_url)


def check_git(board: Path, branch: str) -> None:
    """Raises an InputError where a board is in no git repository, or that has the branch already."""
    if not board.is_dir():
        raise InputError(f"{board}: no such folder (must be a board in a git repository)")
    _git(board, "rev-parse", "--show-toplevel")
    if _git(board, "branch", "--list", branch):
        raise InputError(f"--pr: the branch {branch} is there already (remove it, or choose another --name)")


def write_branch(board: Path, paths: Sequence[Path], branch: str, title: str) -> list[str]:
    """Commits new entries, and nothing else, on a branch of their own; returns the commands that are left to run.

    Raises:
        InputError: what git refuses.
    """
    names = [str(path.resolve()) for path in paths]
    _git(board, "switch", "--quiet", "--create", branch)
    _git(board, "add", "--", *names)
    _git(board, "commit", "--quiet", "--message", title, "--", *names)
    return [f"git push --set-upstream origin {branch}", "gh pr create --fill  # or open it on the page that git prints"]


def _git(board: Path, *arguments: str) -> str:
    command = ["git", "-C", str(board), *arguments]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except FileNotFoundError:
        raise InputError("--pr: git is not installed") from None
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or str(error)
        raise InputError(f"{board}: git {arguments[0]} fails ({' '.join(str(said).split())[:200]})") from None
    return done.stdout.strip()
