"""Test unexpected exceptions of a local engine: a plain message, and a retry only where it can help."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import UnidentifiedImageError
from redis.exceptions import ConnectionError as RedisAway

from core.choices import Lane
from core.errors import StorageFailed
from generation.choices import JobState
from generation.engines import base
from generation.engines.base import EngineError, ErrorKind
from generation.models import Attempt, Job
from generation.workers.context import to_engine_crash
from generation.workers.lane import LaneWorker
from tests.support import queued_runs
from tests.support.tiny_models import RecordingContext, task


class OutOfMemoryError(RuntimeError):
    """Named like torch's own exception."""


class AcceleratorError(RuntimeError):
    """Named like the exception with which torch passes on an error of the card."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("cannot decode this input"), ErrorKind.INPUT),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (77x768 and 1024x320)"), ErrorKind.INPUT),
        (TypeError("unsupported operand"), ErrorKind.INPUT),
        (KeyError("sample"), ErrorKind.INPUT),
        (AttributeError("'NoneType' object has no attribute 'shape'"), ErrorKind.INPUT),
        (ZeroDivisionError(), ErrorKind.INPUT),
        (UnidentifiedImageError("cannot identify image file"), ErrorKind.INPUT),
        (MemoryError(), ErrorKind.MEMORY),
        (OutOfMemoryError("CUDA out of memory"), ErrorKind.MEMORY),
        (AcceleratorError("CUDA error: an illegal memory access"), ErrorKind.TRANSIENT),
        (OSError("Input/output error"), ErrorKind.TRANSIENT),
        (RedisAway("Connection refused"), ErrorKind.TRANSIENT),
        (StorageFailed("The bucket is away."), ErrorKind.TRANSIENT),
    ],
)
def test_only_errors_that_can_pass_are_transient(error: Exception, kind: ErrorKind) -> None:
    try:
        raise error
    except Exception as caught:
        explained = to_engine_crash(caught)
    assert explained.kind == kind
    assert type(error).__name__ in explained.log and "Traceback" in explained.log
    assert "Traceback" not in explained.message and explained.message[0].isupper()


@pytest.fixture
def worker(clean_redis: Any) -> Iterator[LaneWorker]:
    running = LaneWorker("crashing", [Lane.CPU])
    running.start()
    yield running
    running.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("jobs", "place"), [(1, 0), (2, 0), (2, 1), (4, 0), (4, 3)])
def test_a_value_error_in_the_engine_fails_its_job_at_once_with_words_and_a_log(
    worker: LaneWorker, jobs: int, place: int
) -> None:
    endpoint = queued_runs.create_endpoint(batch_size=4, fails={f"image {place}": "crash"})
    run = queued_runs.create_run(
        queued_runs.create_campaign(), endpoint, jobs, prompts=[f"image {number}" for number in range(jobs)]
    )
    worker.drain(Lane.CPU)
    assert Job.objects.filter(run=run, status=JobState.SUCCEEDED).count() == jobs - 1
    bad = Job.objects.exclude(status=JobState.SUCCEEDED).get(run=run)
    assert (bad.status, bad.error_kind, bad.attempts) == (JobState.FAILED, ErrorKind.INPUT, 1)
    assert bad.error.startswith("The engine stopped with an error while it made this image: “cannot decode this input”")
    assert "ValueError" in Attempt.objects.get(job=bad).details["log"]


def without_tensors(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value[:1].clone() for name, value in load_file(file).items()}, file)


def unknown_setting(model: Path) -> None:
    (model / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel", "block_out_channels": "wide"}')


def odd_attention(model: Path) -> None:
    (model / "text_encoder" / "config.json").write_text('{"model_type": "clip_text_model", "hidden_size": "wide"}')


def unknown_component(model: Path) -> None:
    index = model / "model_index.json"
    index.write_text(index.read_text().replace('"UNet2DConditionModel"', '"UNet9DModel"'))


@pytest.mark.parametrize(
    ("damage", "config"),
    [
        (without_tensors, {}),
        (unknown_setting, {}),
        (odd_attention, {}),
        (unknown_component, {}),
        (None, {"device": "warp:3"}),
    ],
)
def test_a_model_that_the_libraries_cannot_load_is_the_endpoints_fault(
    damage: Callable[[Path], None] | None, config: dict[str, Any], tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    model = Path(shutil.copytree(tiny_model("sd"), tmp_path / "model"))
    if damage is not None:
        damage(model)
    engine = base.build("diffusers", {"model": str(model), "device": "cpu", **config})
    with pytest.raises(EngineError, match="model could not be loaded") as refusal:
        list(engine.generate([task(0)], RecordingContext()))
    assert refusal.value.kind == ErrorKind.ENDPOINT and "Traceback" in refusal.value.log


def test_a_setting_that_cannot_be_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bfloat16, float16, float32"):
        base.build("diffusers", {"model": str(tmp_path), "device": "cpu", "dtype": "float17"})
