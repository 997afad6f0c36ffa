"""The engines of a worker, kept from batch to batch and warmed up, what it provides to them, and what their unexpected
exceptions mean."""

from __future__ import annotations

import ctypes
import os
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Final, cast

import cv2
import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from PIL import UnidentifiedImageError
from redis.exceptions import RedisError

from campaigns.photos import colour_profiles
from core import encryption, stored_files
from core.choices import Lane
from core.errors import NotFound, StorageFailed
from generation.engines import base as engines
from generation.engines.base import Context, EngineError, ErrorKind, LocalEngine, Result, Task
from generation.models import Endpoint
from generation.workers.leases import Leases

log = structlog.get_logger(__name__)

INPUT_CACHE_BYTES = 128 * 1024 * 1024
MAX_SHOWN_CHARACTERS: Final = 200


class InputCache:
    """Recently read input images by key, bounded in bytes, because the candidates of one product share its cut-out.

    Engines and services ignore colour profiles, so an image with a profile is converted to sRGB.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def read(self, key: str) -> bytes:
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = colour_profiles.file_in_srgb(stored_files.read(key))
        with self._guard:
            if key not in self._kept:
                self._kept[key] = data
                self._bytes += len(data)
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return data


class WorkContext:
    """The engines.base.Context of this process."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._cache = InputCache(INPUT_CACHE_BYTES)

    def load(self, ref: engines.ImageRef) -> bytes:
        """Return a stored file. Raises EngineError: INPUT if it is missing, TRANSIENT if it cannot be read now."""
        try:
            return self._cache.read(ref.key)
        except NotFound as error:
            raise EngineError(ErrorKind.INPUT, error.message) from error
        except OSError as error:
            raise EngineError(ErrorKind.TRANSIENT, f"A stored file could not be read: {error.strerror}.") from error

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None:
        self._leases.note_progress(task_ids, step, steps)

    def cancelled(self) -> frozenset[int]:
        return self._leases.revoked()


class Engines:
    """One engine per endpoint, built again when the endpoint's settings have changed. Used by many threads."""

    def __init__(self) -> None:
        self._built: dict[int, tuple[Any, engines.Engine]] = {}
        self._idle_at: dict[int, float] = {}
        self._guard = threading.Lock()

    def get(self, endpoint: Endpoint) -> engines.Engine:
        """Return the endpoint's engine with its secret. Raises EngineError of kind ENDPOINT if it cannot be built."""
        current = (endpoint.engine, endpoint.config, endpoint.sealed_secret, endpoint.batch_size)
        with self._guard:
            cached = self._built.get(endpoint.pk)
            if cached is None or cached[0] != current:
                built = _build(endpoint)
                if cached is not None:
                    _unload(cached[1])
                cached = self._built[endpoint.pk] = (current, built)
            if minutes := endpoint.config.get("idle_unload_minutes"):
                self._idle_at[endpoint.pk] = time.monotonic() + 60 * float(minutes)
            return cached[1]

    def remote(self, endpoint: Endpoint) -> engines.RemoteEngine:
        """Return the endpoint's engine like `get`. Raises EngineError of kind INPUT if it does not call a service."""
        engine = self.get(endpoint)
        if not engine.capabilities().is_remote:
            message = f"Endpoint {endpoint.slug} cannot be used: {endpoint.engine} works here, on the lane gpu or cpu."
            raise EngineError(ErrorKind.INPUT, message)
        return cast(engines.RemoteEngine, engine)

    def warm_up(self, lanes: Iterable[str]) -> None:
        """Warm up the lanes' endpoints with the setting "warm_up". A failure is logged; their jobs will report it."""
        for endpoint in Endpoint.objects.filter(lane__in=lanes, is_enabled=True, config__warm_up=True):
            started = time.monotonic()
            try:
                engine = self.get(endpoint)
                if warm_up := getattr(engine, "warm_up", None):
                    warm_up()
                    log.info("endpoint.warm", endpoint=endpoint.slug, seconds=round(time.monotonic() - started, 1))
            except EngineError as error:
                log.warning("endpoint.cold", endpoint=endpoint.slug, error=error.message)
            except Exception:
                log.exception("endpoint.cold", endpoint=endpoint.slug)

    def unload_idle(self) -> None:
        """Unload models that were not used within their endpoint's "idle_unload_minutes". For the thread that makes
        images, between two batches."""
        with self._guard:
            now = time.monotonic()
            for key in [key for key, idle_at in self._idle_at.items() if idle_at <= now]:
                del self._idle_at[key]
                _unload(self._built[key][1])


def _unload(engine: engines.Engine) -> None:
    if isinstance(engine, engines.Unloadable):
        engine.unload()
        log.info("model.unloaded", engine=engine.name)


def _build(endpoint: Endpoint) -> engines.Engine:
    try:
        config = endpoint.config
        if endpoint.lane != Lane.CLOUD:  # an engine on this machine fills up its batches to the endpoint's size
            config = {**config, "batch_size": endpoint.batch_size}
        return engines.build(endpoint.engine, config, endpoint.secret)
    except (ValueError, TypeError, KeyError, ImportError, OSError, encryption.Unreadable) as error:
        raise EngineError(ErrorKind.ENDPOINT, f"Endpoint {endpoint.slug} cannot be used: {error}") from error


def set_torch_environment() -> None:
    """Set up torch before it is imported; variables that are already in the environment are not changed.

    Compiled kernels are stored below var/. cuBLAS gets its own memory for each stream, because otherwise two streams
    may change its results.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(settings.VAR / "kernels"))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def use_one_malloc_arena() -> None:
    """Make all threads of this process share the memory that they free, as far as the C library is glibc.

    By default each thread keeps its own, and an image is passed from thread to thread: 5 % more CPU time and 5 MB more.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(-8, 1)  # M_ARENA_MAX


def use_one_opencv_thread() -> None:
    """Let OpenCV work on the thread that calls it: images are developed on several threads already.

    Its own threads wait for each other by yielding, which took 2 ms of processor time per image.
    """
    cv2.setNumThreads(1)


class EngineCrash(EngineError):
    """An unexpected exception of an engine; its traceback is in `log`."""


def generate_results(engine: LocalEngine, batch: Sequence[Task], context: Context) -> Iterator[Result]:
    """Yield the engine's results of the batch. Raises EngineError, or DatabaseError from the context."""
    try:
        yield from engine.generate(batch, context)
    except (EngineError, DatabaseError):
        raise
    except Exception as error:
        raise to_engine_crash(error) from error


def to_engine_crash(error: Exception) -> EngineCrash:
    """Return the exception as an EngineError: TRANSIENT only if a retry can help."""
    log = "".join(traceback.format_exception(error))
    kind = engines.memory_or_device_error(error)
    own_words = " ".join(str(error).split())[:MAX_SHOWN_CHARACTERS] or type(error).__name__
    if kind == ErrorKind.MEMORY:
        return EngineCrash(kind, "The memory did not suffice for this image.", log=log)
    if kind is not None:
        return EngineCrash(kind, "The graphics card reported an error while this image was made.", log=log)
    is_outside = isinstance(error, OSError | RedisError | StorageFailed)
    if is_outside and not isinstance(error, UnidentifiedImageError):
        message = f"A file or a server could not be reached while this image was made: {own_words}."
        return EngineCrash(ErrorKind.TRANSIENT, message, log=log)
    message = (
        f"The engine stopped with an error while it made this image: “{own_words}”. Trying again will not help: change "
        f"the prompt or its settings, or show the attempt's log to the operator."
    )
    return EngineCrash(ErrorKind.INPUT, message, log=log)


@contextmanager
def task_errors_logged(failure: str) -> Iterator[None]:
    """Run work on a thread of a pool: check its database connection before, and log what it raises."""
    try:
        close_old_connections()
        yield
    except Exception:
        log.exception(failure)
        connection.close()


def close_connections(pool: ThreadPoolExecutor, threads: int) -> None:
    """Have every thread of the pool close its own database connection, which no other thread can close."""
    if not threads:
        return
    together = threading.Barrier(threads)

    def close() -> None:
        connection.close()
        together.wait()

    wait([pool.submit(close) for _ in range(threads)])
