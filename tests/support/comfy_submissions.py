"""Helpers that submit images to the comfyui engine, wait for them and fetch them."""

from __future__ import annotations

import itertools
import socket
import time
import uuid
from typing import Any

import numpy as np
import pytest

from generation.engines.base import EngineError, ImageRef, Result, Spec, Submitted, Task
from generation.engines.comfyui.engine import ComfyUI
from tests.support import comfy_workflows as workflows
from tests.support.comfy_nodes import png
from tests.support.engine_context import MemoryContext

SPEC = Spec("a sage mug on oak", 64, 48, 7, negative="blurred", parameters={"steps": 3})
_ids = itertools.count(100)


def task(spec: Spec = SPEC) -> Task:
    return Task(next(_ids), spec)


def new_marker() -> str:
    return str(uuid.uuid4())


def submit(engine: ComfyUI, remote_task: Task | None = None, context: MemoryContext | None = None) -> Submitted:
    return engine.submit(remote_task or task(), new_marker(), context or MemoryContext())


def wait_for_result(engine: ComfyUI, remote_id: str, seconds: float = 60) -> Result:
    """Poll until the service has finished it; return the result."""
    until = time.monotonic() + seconds
    while True:
        state = engine.poll([remote_id]).get(remote_id)
        if isinstance(state, Result):
            return state
        assert time.monotonic() < until, f"{remote_id} did not end: {state}"
        time.sleep(0.02)


def submit_and_fetch(engine: ComfyUI, remote_task: Task | None = None, context: MemoryContext | None = None) -> Result:
    """Submit a task, wait for it and fetch its result."""
    context = context or MemoryContext()
    result = wait_for_result(engine, submit(engine, remote_task, context).remote_id)
    if result.error is not None:
        raise result.error
    return engine.fetch(result, context)


def submit_and_fail(
    engine: ComfyUI, remote_task: Task | None = None, context: MemoryContext | None = None
) -> EngineError:
    with pytest.raises(EngineError) as caught:
        submit_and_fetch(engine, remote_task, context)
    return caught.value


def closed_port() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


def photo(value: int, size: int = 40) -> bytes:
    return png(np.full((size, size, 3), value, np.uint8))


def image_to_image_config(*servers: Any, **more: Any) -> dict[str, Any]:
    return workflows.config(*servers, workflow=workflows.image_to_image(), inputs=workflows.IMAGE_MARKS, **more)


def image_spec(sha256: str = "a" * 64, key: str = "mug", **parameters: Any) -> Spec:
    return Spec("a mug", 64, 64, 3, parameters=parameters, images={"init": ImageRef(sha256, key)})
