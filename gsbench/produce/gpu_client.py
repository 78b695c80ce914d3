"""The fit as worker processes see it that have no GPU: the process that owns it does the work."""

import functools
import mmap
import os
import time
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Client, Connection
from typing import Any

import numpy as np

from gsbench.core.parsing import InputError
from gsbench.core.types import Cameras, Views
from gsbench.reconstruct import ClassicRecipe, FitRecipe, Fitted

_PATIENCE = 120.0
"""Seconds that a worker waits for the GPU process to come back after its end."""
_ATTEMPTS = 3
BUSY, WAITING = "busy", "waiting"
"""What the GPU process says while it works on an object, and while that waits; before it answers."""


class GpuLost(InputError):
    """The process that owns the GPU is gone and does not come back: nothing can be fitted any more."""


@dataclass(frozen=True, slots=True)
class Request:
    """One object to fit. Its images lie in the memory that worker and GPU process share: `views`, then `held_out`.

    Attributes:
        cameras: of the views.
        held_out_cameras: of the held-out views.
        seed: of the fit.
        alone: not to be fitted together with others, since the GPU process has ended while it worked on this one.
    """

    cameras: Cameras
    held_out_cameras: Cameras
    seed: int
    alone: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an object cannot be fitted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Room:
    """Announces `size` bytes of shared memory, whose descriptor follows."""

    size: int


@dataclass(frozen=True, slots=True)
class RemoteFit:
    """`gsbench.reconstruct.fit` by the GPU process that listens at `address`; can be pickled.

    Attributes:
        address: of a Unix socket.
        key: proves that a worker belongs to the build.
        recipe: the one that the GPU process follows.
    """

    address: str
    key: bytes
    recipe: FitRecipe | ClassicRecipe

    def __call__(self, views: Views, recipe: FitRecipe | ClassicRecipe, seed: int, held_out: Views) -> Fitted:
        """Waits for its turn, too.

        Raises:
            InputError: as `gsbench.reconstruct.fit`; a recipe that is not the GPU process's; or this object ended that
                process every time.
            GpuLost: the GPU process does not come back.
        """
        if recipe != self.recipe:
            raise InputError("recipe: the GPU process follows another one")
        ended = 0
        while ended < _ATTEMPTS:
            line = _line(self.address, self.key)
            answer: Any = WAITING
            try:
                line.share(views, held_out)
                line.connection.send(Request(views.cameras, held_out.cameras, seed, alone=ended > 0))
                while answer in (BUSY, WAITING):
                    answer = line.connection.recv()
            except (EOFError, OSError):
                _line.cache_clear()
                # Only an object that was being worked on may be to blame.
                ended += answer == BUSY
                continue
            if isinstance(answer, Refused):
                raise InputError(answer.reason)
            return answer
        raise InputError(f"the process that owns the GPU ended {ended} times while it worked on this object")


class _Line:
    """A worker's connection to the GPU process, and the memory that they share: made once, as page faults cost time.

    The memory has no name anywhere and is gone with its last user, however that ends.
    """

    def __init__(self, address: str, key: bytes) -> None:
        self.connection = _connect(address, key)
        self._memory: mmap.mmap | None = None

    def share(self, views: Views, held_out: Views) -> None:
        """Copies the images to where the GPU process sees them."""
        size = views.rgba.nbytes + held_out.rgba.nbytes
        if self._memory is None or len(self._memory) < size:
            descriptor = os.memfd_create("gsbench-views")
            try:
                os.ftruncate(descriptor, size)
                self._memory = mmap.mmap(descriptor, size)
                self.connection.send(Room(size))
                reduction.send_handle(self.connection, descriptor, os.getpid())
            finally:
                os.close(descriptor)
        pixels = np.frombuffer(self._memory, np.uint8)
        pixels[: views.rgba.nbytes] = views.rgba.reshape(-1)
        pixels[views.rgba.nbytes : size] = held_out.rgba.reshape(-1)


@functools.cache
def _line(address: str, key: bytes) -> _Line:
    return _Line(address, key)


def _connect(address: str, key: bytes) -> Connection:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return Client(address, "AF_UNIX", authkey=key)
        except (OSError, EOFError):  # it is not there yet, or has just gone
            if time.monotonic() > until:
                raise GpuLost(
                    f"the process that owns the GPU has ended and did not come back in {_PATIENCE:.0f} s"
                ) from None
            time.sleep(0.2)
