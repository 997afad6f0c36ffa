"""Warm-up before the first batch: compiled kernels are kept from one start to the next, and the models of endpoints
with the setting "warm_up" are loaded and warmed up."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import structlog
from django.conf import settings

from generation.engines.base import EngineError
from generation.models import Endpoint
from generation.workers.context import Engines

log = structlog.get_logger(__name__)


@runtime_checkable
class WarmableEngine(Protocol):
    def warm_up(self) -> None: ...


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


def warm_up(engines: Engines, lanes: Iterable[str]) -> None:
    """Warm up the endpoints of these lanes with the setting "warm_up". A failure is logged; the jobs of the endpoint
    will report the reason."""
    for endpoint in Endpoint.objects.filter(lane__in=lanes, is_enabled=True, config__warm_up=True):
        started = time.monotonic()
        try:
            engine = engines.get(endpoint)
            if isinstance(engine, WarmableEngine):
                engine.warm_up()
                log.info("endpoint.warm", endpoint=endpoint.slug, seconds=round(time.monotonic() - started, 1))
        except EngineError as error:
            log.warning("endpoint.cold", endpoint=endpoint.slug, error=error.message)
        except Exception:
            log.exception("endpoint.cold", endpoint=endpoint.slug)
