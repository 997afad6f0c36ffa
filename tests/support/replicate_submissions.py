"""Submissions to the `replicate` engine for its tests: specs, inputs and results."""

from __future__ import annotations

import hashlib
import io
import time
import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from PIL import Image

from generation.engines.base import (
    EngineError,
    ImageRef,
    Pending,
    RemoteEngine,
    Result,
    Spec,
    Submitted,
    Task,
    build,
)
from generation.engines.replicate.engine import Replicate
from tests.support.engine_context import MemoryContext
from tests.support.engines import noise_pixels
from tests.support.replicate_server import TOKEN, VERSION
from tests.support.replicate_server import Replicate as Server

INPUTS = {
    "prompt": "prompt",
    "negative": "negative_prompt",
    "seed": {"input": "seed", "maximum": 2**32 - 1},
    "width": "width",
    "height": "height",
    "images": {"init": "image", "mask": "mask", "reference": {"input": "image_input", "is_list": True}},
    "parameters": {
        "guidance": {"input": "guidance_scale", "minimum": 0, "maximum": 10, "step": 0.5},
        "format": {"input": "output_format", "choices": ["png", "webp"]},
        "speed": {"input": "go_fast", "choices": {"fast": True, "exact": False}},
    },
    "fixed": {"num_outputs": 1},
}


def engine(server: Server, **config: Any) -> Replicate:
    target = {} if config.keys() & {"version", "model", "deployment"} else {"version": VERSION}
    settings = {"base_url": server.base_url, "inputs": INPUTS, **target, **config}
    made = build("replicate", settings, secret=config.pop("secret", TOKEN))
    assert isinstance(made, Replicate)
    return made


def spec(prompt: str = "a mug on oak", *, seed: int = 7, width: int = 64, height: int = 80, **others: Any) -> Spec:
    return Spec(prompt, width, height, seed, **others)


def png(seed: int, *, width: int = 48, height: int = 48, grain: float = 3.0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise_pixels(seed, width, height, grain=grain)).save(stream, "PNG")
    return stream.getvalue()


def images_and_context(**files: bytes) -> tuple[dict[str, ImageRef], MemoryContext]:
    refs = {role: ImageRef(hashlib.sha256(data).hexdigest(), role) for role, data in files.items()}
    return refs, MemoryContext(**files)


def submit(
    remote: RemoteEngine, requested: Spec, *, task_id: int = 1, context: MemoryContext | None = None
) -> Submitted:
    return remote.submit(Task(task_id, requested), str(uuid.uuid4()), context or MemoryContext())


def wait_for_result(remote: RemoteEngine, remote_id: str) -> Result:
    """Poll until the prediction is no longer pending; return the result."""
    until = time.monotonic() + 60
    while isinstance(standing := remote.poll([remote_id])[remote_id], Pending):
        assert time.monotonic() < until, "still pending"
        time.sleep(0.02)
    return standing


def submit_and_fetch(remote: RemoteEngine, requested: Spec, context: MemoryContext | None = None) -> Result:
    return remote.fetch(
        wait_for_result(remote, submit(remote, requested, context=context).remote_id), context or MemoryContext()
    )


def submit_refused(remote: RemoteEngine, requested: Spec | None = None) -> EngineError:
    with pytest.raises(EngineError) as caught:
        submit(remote, requested or spec())
    return caught.value


def find(remote: RemoteEngine, requested: Spec, marker: str = "", taken: Collection[str] = ()) -> str | None:
    return remote.find(Task(1, requested), marker or str(uuid.uuid4()), datetime.now(UTC) - timedelta(seconds=5), taken)
