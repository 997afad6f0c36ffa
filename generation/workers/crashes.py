"""Turn an unexpected exception of a local engine into an EngineError with a cause and a sentence."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import Final

from django.db import Error as DatabaseError
from PIL import UnidentifiedImageError
from redis.exceptions import RedisError

from core.errors import StorageFailed
from generation.engines.base import Context, EngineError, ErrorKind, LocalEngine, Result, Task, memory_or_device_error

MAX_SHOWN_CHARACTERS: Final = 200


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
    kind = memory_or_device_error(error)
    own_words = " ".join(str(error).split())[:MAX_SHOWN_CHARACTERS] or type(error).__name__
    if kind == ErrorKind.MEMORY:
        return EngineCrash(kind, "The memory did not suffice for this image.", log=log)
    if kind is not None:
        message = "The graphics card reported an error while this image was made."
        return EngineCrash(kind, message, log=log)
    is_outside = isinstance(error, OSError | RedisError | StorageFailed)
    if is_outside and not isinstance(error, UnidentifiedImageError):
        message = f"A file or a server could not be reached while this image was made: {own_words}."
        return EngineCrash(ErrorKind.TRANSIENT, message, log=log)
    message = (
        f"The engine stopped with an error while it made this image: “{own_words}”. Trying again will not help: change "
        f"the prompt or its settings, or show the attempt's log to the operator."
    )
    return EngineCrash(ErrorKind.INPUT, message, log=log)
