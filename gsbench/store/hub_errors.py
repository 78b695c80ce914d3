"""What went wrong between here and the Hugging Face Hub, in words, and waiting for it no longer than is of use."""

import errno
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from gsbench.core.parsing import InputError

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds of silence, neither an answer nor a byte, after which the Hub counts as out of reach."""

_POLL_SECONDS = 0.25
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.ENOENT)
_TOKEN = re.compile(r"(Bearer\s+)?hf_[A-Za-z0-9_-]{4,}|Bearer\s+[^\s'\"]+")
_HTTP_LOGGER = "huggingface_hub.utils._http"


class Silence(Exception):
    """The Hub did not answer in time; the message has what its client last said of its attempts."""


def redact(text: str) -> str:
    """The text in one line without any access token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if secret := os.environ.get(name, "").strip():
            text = text.replace(secret, "[token]")
    return " ".join(_TOKEN.sub("[token]", text).split())


class _Attempts(logging.Handler):
    """Keeps the last warning of the Hub's client: while it tries again by itself, that is the only trace of why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "thrown while requesting" in message:
            self.last = message


def patiently(work: Callable[[], T], progress: Callable[[], object] = lambda: None, seconds: float = 0.0) -> T:
    """What `work` returns or raises, or Silence where it takes too long.

    The work runs in a thread, since looking up an address, or a client that tries again and again, outlasts any timeout
    of a request. A thread that was given up is a daemon and ends with the process.

    Args:
        work: asks something of the Hub.
        progress: called several times a second; the time starts anew whenever it returns something else.
        seconds: how long to wait; 0 is `PATIENCE`.

    Raises:
        Silence: nothing was heard for that long.
    """
    outcome: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(([work()], None))
        except BaseException as error:
            outcome.put(([], error))

    attempts, seconds = _Attempts(), seconds or PATIENCE
    logger = logging.getLogger(_HTTP_LOGGER)
    logger.addHandler(attempts)
    try:
        threading.Thread(target=run, daemon=True).start()
        result, error = _wait(outcome, progress, seconds, attempts)
    finally:
        logger.removeHandler(attempts)
    if error is not None:
        raise error
    return result[0]


def _wait(
    outcome: "queue.SimpleQueue[tuple[list[T], BaseException | None]]",
    progress: Callable[[], object],
    seconds: float,
    attempts: _Attempts,
) -> tuple[list[T], BaseException | None]:
    seen, heard = progress(), time.monotonic()
    while True:
        try:
            return outcome.get(timeout=min(_POLL_SECONDS, seconds))
        except queue.Empty:
            if (now := progress()) != seen:
                seen, heard = now, time.monotonic()
            if time.monotonic() - heard >= seconds:
                raise Silence(
                    f"no answer within {seconds:g} s" + (f": {attempts.last}" * bool(attempts.last))
                ) from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def unwritable(error: BaseException | None) -> InputError | None:
    """What to say of an error, or one that it comes from, that says that Hugging Face's cache cannot be written."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _UNWRITABLE and (each.filename or each.errno != errno.ENOENT):
            home = os.environ.get("HF_HOME")
            where = each.filename or home or "~/.cache/huggingface"
            return InputError(
                f"{where}: the cache of Hugging Face cannot be written ({each.strerror}); HF_HOME is "
                f"{home or 'not set'} (must be a folder that can be written, with room)"
            )
    return None


def is_outage(error: BaseException) -> bool:
    """Whether the Hub could not answer, rather than answered that there is none such or that it is not allowed."""
    from huggingface_hub import errors

    refused = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError)
    if any(isinstance(each, refused) for each in _chain(error)):
        return False
    status = _status(error)
    return status is None or status == 429 or status >= 500


def _status(error: BaseException) -> int | None:
    for each in _chain(error):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        if isinstance(each, Silence) and (found := re.search(r"HTTP Error (\d{3})", str(each))):
            return int(found[1])
    return None


def explain(error: BaseException, repo: str, revision: str | None = None) -> str:
    """Why the Hub did not do what was asked: one line that says what to do, without any token.

    Args:
        error: whatever the Hub's client raised; its errors share no base class.
        repo: ORG/NAME.
        revision: that was asked for, or None.
    """
    from huggingface_hub import constants, errors

    def is_a(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in _chain(error))

    page, status = f"{constants.ENDPOINT}/datasets/{repo}", _status(error)
    if is_a(errors.GatedRepoError):
        return f"it is gated (ask for access at {page}, then log in: hf auth login)"
    if is_a(errors.RevisionNotFoundError):
        return f"it has no revision {redact(str(revision or 'main'))!r} (its revisions: {page}/refs)"
    if is_a(errors.RepositoryNotFoundError):
        return "there is no such data set, or it is private (log in: hf auth login)"
    if is_a(errors.RemoteEntryNotFoundError):
        return f"it is no data set of gsbench, or lacks a file ({_server_said(error)})"
    if is_a(errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and there is no copy of it here (unset HF_HUB_OFFLINE)"
    if status is not None:
        return _explain_status(status, error)
    return _explain_failure(error)


def _explain_status(status: int, error: BaseException) -> str:
    said = _server_said(error)
    if status == 401:
        return f"401, the Hub does not accept your token ({said}; log in: hf auth login, or unset HF_TOKEN)"
    if status == 403:
        return f"403, your account may not do this ({said}; it needs a token with the right to, see hf auth login)"
    if status == 429:
        return f"429, too many requests ({said}; wait, or log in for a higher limit: hf auth login)"
    if status >= 500:
        return f"{status}, the Hub has a fault of its own ({said}; try again later, see status.huggingface.co)"
    return f"{status} ({said})"


def _explain_failure(error: BaseException) -> str:
    from huggingface_hub import errors

    said = _server_said(error)
    for each in _chain(error):
        if isinstance(each, errors.FileMetadataError):
            return f"what answers is no Hugging Face Hub ({said}; check HF_ENDPOINT and proxies)"
        network = type(each).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")
        if isinstance(each, Silence | ConnectionError | TimeoutError) or network:
            return f"it cannot be reached, are you offline? ({redact(f'{type(each).__name__}: {each}'):.200})"
    return said


def _server_said(error: BaseException) -> str:
    for each in _chain(error):
        if said := getattr(each, "server_message", None):
            return redact(str(said))[:200]
    said = redact(re.sub(r"For more information check: \S+", "", str(error))) or type(error).__name__
    return said if len(said) <= 200 else f"{said[:200]}..."
