"""The process that owns the GPU: it fits whatever workers have sent by the time it is free, all at once.

Batches so grow as long as the GPU is the slower side, and no worker waits for a batch to fill up where it is not. While
one batch is fitted, the objects of the next are brought to the device on other streams.
"""

import collections
import contextlib
import logging
import mmap
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError, reduction
from multiprocessing.connection import Connection, Listener
from typing import Any

import numpy as np
import torch

from gsbench.core.parsing import InputError
from gsbench.core.types import Views
from gsbench.produce.gpu_client import BUSY, WAITING, Refused, Request, Room
from gsbench.produce.local import end_with_parent
from gsbench.reconstruct import ClassicRecipe, FitRecipe, Fitted, fit
from gsbench.reconstruct.cuda.batch import MOST_OBJECTS, fit_batch, free_bytes, objects_at_once
from gsbench.reconstruct.cuda.optimise import Rasterise
from gsbench.reconstruct.cuda.prepared import Prepared, prepare

_LOGGER = logging.getLogger(__name__)
_PREPARING = 2
"""Objects that are brought to the device at a time."""
_TOO_LARGE = Refused("the GPU's memory does not hold this object, even alone")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a GPU process follows.

    Attributes:
        recipe: of every fit.
        at_once: objects in a batch at most; None is as many as the device's memory holds beside those of the next.
        device: a torch device.
        rasterise: draws on it; of a module, since the process imports it.
    """

    recipe: FitRecipe | ClassicRecipe
    at_once: int | None
    device: str
    rasterise: Rasterise


@dataclass(frozen=True, slots=True)
class _Item:
    """An object on the device that waits for its fit."""

    prepared: Prepared
    alone: bool
    connection: Connection
    answer: Future[Fitted | Refused] = field(default_factory=Future)


class Service:
    """Takes requests from any number of workers, a thread each, and fits their objects in batches."""

    def __init__(self, setup: Setup, address: str, key: bytes) -> None:
        self._setup, self._device = setup, torch.device(setup.device)
        self._listener = Listener(address, "AF_UNIX", backlog=256, authkey=key)
        on_cuda = self._device.type == "cuda"
        self._changed, self._alone = threading.Condition(), threading.Lock()
        # Whoever has one may bring an object to the device, while others use the device or wait for the host.
        self._streams: queue.SimpleQueue[torch.cuda.Stream | None] = queue.SimpleQueue()
        for _ in range(_PREPARING):
            self._streams.put(torch.cuda.Stream() if on_cuda else None)
        self._waiting: collections.deque[_Item] = collections.deque()
        self._held = self._incoming = 0  # objects on the device, and those of them that are still on their way
        self._at_once = 0  # not known before the first object
        self._shapes: tuple[tuple[int, ...], ...] = ()

    def run(self) -> None:
        """Serves until the process ends; raises what leaves it useless, such as an error of CUDA."""
        threading.Thread(target=self._accept, daemon=True).start()
        while True:
            # Nothing here keeps a batch alive beyond its fit: its memory is another's by then.
            finished = self._fit(self._next_batch())
            with self._changed:
                self._held -= finished
                self._changed.notify_all()

    def _next_batch(self) -> list[_Item]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            items = [self._waiting.popleft()]
            while self._waiting and len(items) < self._at_once and not (items[0].alone or self._waiting[0].alone):
                items.append(self._waiting.popleft())
        return items

    def _fit(self, items: Sequence[_Item]) -> int:
        """Answers for each item; returns their number."""
        recipe, rasterise = self._setup.recipe, self._setup.rasterise
        assert isinstance(recipe, FitRecipe)
        for item in items:
            _say(item.connection, BUSY)
        answers: Sequence[Fitted | Refused] = ()
        with contextlib.suppress(torch.OutOfMemoryError):
            answers = fit_batch([item.prepared for item in items], recipe, rasterise)
        if not answers and len(items) > 1:  # one of them is too large even alone
            return sum(self._fit([item]) for item in items)
        for item, answer in zip(items, answers or [_TOO_LARGE], strict=True):
            item.answer.set_result(answer)
        return len(items)

    def _accept(self) -> None:
        while True:
            # A worker that ended while it connected, or a stranger.
            with contextlib.suppress(OSError, EOFError, AuthenticationError):
                threading.Thread(target=self._serve, args=(self._listener.accept(),), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        """One worker's requests, one after another, until it ends."""
        memory: Any = None
        try:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    message = connection.recv()
                    if isinstance(message, Room):
                        memory = _attach(reduction.recv_handle(connection), message.size)
                    else:
                        connection.send(self._answer(message, memory, connection))
        except BaseException as error:
            end(error)

    def _answer(self, request: Request, memory: mmap.mmap, connection: Connection) -> Fitted | Refused:
        views, held_out = _views_in(memory, request)
        stream = self._streams.get()
        try:
            if isinstance(self._setup.recipe, ClassicRecipe):
                with self._alone:
                    _say(connection, BUSY)
                    return fit(views, self._setup.recipe, request.seed, held_out, self._setup.device)
            self._make_room(views, held_out)
            _say(connection, BUSY)
            prepared = self._prepare(views, held_out, request.seed, stream)
        except InputError as error:
            return Refused(str(error))
        except torch.OutOfMemoryError:
            return _TOO_LARGE
        finally:
            self._streams.put(stream)
        if prepared is None:
            return _TOO_LARGE
        _say(connection, WAITING)
        item = _Item(prepared, request.alone, connection)
        with self._changed:
            self._waiting.append(item)
            self._changed.notify_all()
        answer = item.answer
        del item, prepared  # the device's memory is held by the batch alone
        return answer.result()

    def _make_room(self, views: Views, held_out: Views) -> None:
        """Waits until the device may take one object more: as many as in two batches, one of them in work."""
        shapes = (views.rgba.shape, held_out.rgba.shape)
        with self._changed:
            if not self._at_once:
                self._shapes = shapes
                self._at_once = self._setup.at_once or self._guess(views, held_out)
            if shapes != self._shapes:
                raise InputError(f"views: {shapes[0]} and {shapes[1]}, all objects before had {self._shapes}")
            self._changed.wait_for(lambda: self._held < 2 * self._at_once)
            self._held += 1
            self._incoming += 1

    def _guess(self, views: Views, held_out: Views) -> int:
        if self._device.type != "cuda":
            return MOST_OBJECTS
        assert isinstance(self._setup.recipe, FitRecipe)
        return objects_at_once(views, held_out, self._setup.recipe, free_bytes() // 2)

    def _prepare(self, views: Views, held_out: Views, seed: int, stream: torch.cuda.Stream | None) -> Prepared | None:
        """Brings an object to the device, if need be once all others have left it; None if even that was no use."""
        prepared = None
        try:
            with contextlib.suppress(torch.OutOfMemoryError):
                prepared = self._prepare_now(views, held_out, seed, stream)
            if prepared is None:
                _LOGGER.warning("the GPU's memory is full, waiting for the objects on it")
                with self._alone, contextlib.suppress(torch.OutOfMemoryError):
                    with self._changed:
                        self._changed.wait_for(lambda: self._held == self._incoming)
                    prepared = self._prepare_now(views, held_out, seed, stream)
        finally:
            with self._changed:
                self._incoming -= 1
                self._held -= prepared is None
                self._changed.notify_all()
        return prepared

    def _prepare_now(self, views: Views, held_out: Views, seed: int, stream: torch.cuda.Stream | None) -> Prepared:
        assert isinstance(self._setup.recipe, FitRecipe)
        if stream is None:
            return prepare(views, held_out, self._setup.recipe, seed, self._device)
        with torch.cuda.stream(stream):
            try:
                return prepare(views, held_out, self._setup.recipe, seed, self._device)
            finally:
                # The stream of the fits does not wait for this one. The other way about there is no need: a fit has
                # brought its results to the host before its objects' memory is given to others.
                stream.synchronize()


def serve(setup: Setup, address: str, key: bytes, ready: Connection) -> None:
    """The life of a GPU process; says None when it is ready, else why it cannot be."""
    logging.basicConfig(format="gsbench: NOTE: %(message)s")
    os.dup2(2, 1)  # gsplat tells on stdout that it compiles
    end_with_parent()
    try:
        _draw_once(setup)
        service = Service(setup, address, key)
    except Exception as error:
        ready.send(" ".join(f"{type(error).__name__}: {error}".split())[:500])
        return
    with contextlib.suppress(OSError):  # nobody waits for one that takes the place of another
        ready.send(None)
    try:
        service.run()
    except BaseException as error:
        end(error)


def end(error: BaseException) -> None:
    """Ends the process at once: those who wait for an answer notice, and the process is replaced."""
    _LOGGER.error("the process that owns the GPU ends: %s", " ".join(f"{type(error).__name__}: {error}".split()))
    os._exit(1)


def _draw_once(setup: Setup) -> None:
    """One Gaussian in one small image: gsplat compiles at its first use, and says only then that it cannot."""
    device = torch.device(setup.device)
    if device.type == "cuda":
        # What torch would choose as well, but not without a warning.
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "{}.{}".format(*torch.cuda.get_device_capability()))
    shapes = ((3,), (4,), (3,), (), (1, 3))
    fields = [torch.ones(1, 1, *shape, device=device) for shape in shapes]
    viewmat, K = torch.eye(4, device=device)[None, None], torch.eye(3, device=device)[None, None]
    setup.rasterise(*fields, viewmat, K, 16, 16, torch.ones(3, device=device), False, 0)


def _say(connection: Connection, message: str) -> None:
    with contextlib.suppress(OSError):  # the worker has ended; another will ask for its object again
        connection.send(message)


def _attach(descriptor: int, size: int) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _views_in(memory: mmap.mmap, request: Request) -> tuple[Views, Views]:
    pixels, views, start = np.frombuffer(memory, np.uint8), [], 0
    for cameras in (request.cameras, request.held_out_cameras):
        shape = (len(cameras), cameras.height, cameras.width, 4)
        stop = start + int(np.prod(shape))
        views.append(Views(pixels[start:stop].reshape(shape), cameras))
        start = stop
    return views[0], views[1]
