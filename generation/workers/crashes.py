"""Turn an unexpected exception of a local engine into an EngineError with a cause and a sentence."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import Final

from django.db import Error as DatabaseError
from PIL import UnidentifiedImageError
from redis.exceptions import RedisError

from core.errors import StorageFailed
from generation.engines.base import Context, EngineError, ErrorKind, LocalEngine, Result, Task

OUT_OF_MEMORY: Final = frozenset({"MemoryError", "OutOfMemoryError", "_ArrayMemoryError"})
"""Names of classes: torch, which has one of them, is not imported here."""
DEVICE: Final = frozenset({"AcceleratorError"})
"""Names of the classes that torch raises when the card itself reports an error."""
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
    names = {kind.__name__ for kind in type(error).__mro__}
    own_words = " ".join(str(error).split())[:MAX_SHOWN_CHARACTERS] or type(error).__name__
    if names & OUT_OF_MEMORY:
        return EngineCrash(ErrorKind.MEMORY, "The memory did not suffice for this image.", log=log)
    if names & DEVICE:
        message = "The graphics card reported an error while this image was made."
        return EngineCrash(ErrorKind.TRANSIENT, message, log=log)
    is_outside = isinstance(error, OSError | RedisError | StorageFailed)
    if is_outside and not isinstance(error, UnidentifiedImageError):
        message = f"A file or a server could not be reached while this image was made: {own_words}."
        return EngineCrash(ErrorKind.TRANSIENT, message, log=log)
    message = (
        f"The engine stopped with an error while it made this image: “{own_words}”. Trying again will not help: change "
        f"the prompt or its settings, or show the attempt's log to the operator."
    )
    return EngineCrash(ErrorKind.INPUT, message, log=log)
