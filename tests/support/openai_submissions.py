"""Submissions to the `openai` engine for its tests: requests and their results."""

from __future__ import annotations

import io
import uuid
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generation.engines.base import EngineError, ImageRef, Result, Spec, Task, build
from generation.engines.openai.engine import OpenAIImages
from tests.support.engine_context import MemoryContext
from tests.support.openai_server import KEY, OpenAIServer


def engine(server: OpenAIServer, **config: Any) -> OpenAIImages:
    made = build("openai", {"base_url": f"{server.url}/v1", "model": "gpt-image-2-2026-04-21", **config}, secret=KEY)
    assert isinstance(made, OpenAIImages)
    return made


def spec(prompt: str = "a mug on oak", width: int = 1024, height: int = 1024, **others: Any) -> Spec:
    roles = others.pop("roles", ())
    return Spec(prompt, width, height, 7, images={role: ImageRef(role, role) for role in roles}, **others)


def submit(engine: OpenAIImages, requested: Spec | None = None, **files: bytes) -> Result:
    submitted = engine.submit(Task(11, requested or spec()), str(uuid.uuid4()), MemoryContext(**files))
    assert submitted.result is not None and 0 < len(submitted.remote_id) <= 200
    return submitted.result


def submit_refused(engine: OpenAIImages, requested: Spec | None = None, **files: bytes) -> EngineError:
    with pytest.raises(EngineError) as caught:
        submit(engine, requested, **files)
    assert KEY not in caught.value.message + caught.value.log
    return caught.value


def colour(data: bytes) -> tuple[int, ...]:
    return tuple(int(level) for level in np.asarray(Image.open(io.BytesIO(data)))[5, 5])


def png(size: tuple[int, int], fill: tuple[int, ...], *, mode: str = "RGB", form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, fill if len(fill) > 1 else fill[0]).save(stream, form)
    return stream.getvalue()
