"""Test a loaded diffusers engine whose files change: it draws with the new files and reports their revision."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.choices import Lane
from generation.choices import HoldReason, JobState
from generation.engines import base
from generation.engines.base import EngineError, ErrorKind
from generation.engines.diffusers.engine import Diffusers
from generation.models import Attempt, Job, JobSpec, Master
from generation.services.endpoints import changes
from generation.workers import product
from generation.workers.lane import LaneWorker
from tests.support import original_names, painted_engine, queued_runs, tiny_models
from tests.support.tiny_models import RecordingContext, pixels, task

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

UNET = Path("unet/diffusion_pytorch_model.safetensors")


@pytest.fixture
def folder(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model folder for this test alone."""
    return Path(shutil.copytree(tiny_model("small"), tmp_path / "model"))


def build_engine(path: Path, **config: Any) -> Diffusers:
    made = base.build("diffusers", {"model": str(path), "device": "cpu", **config})
    assert isinstance(made, Diffusers)
    return made


def trained(file: Path, factor: float = 1.5) -> bytes:
    """Return the file's weights changed as by training, with as many bytes as before."""
    from safetensors.torch import load, save

    data = file.read_bytes()
    return bytes(save({name: tensor * factor for name, tensor in load(data).items()}, {"format": "pt"}))


def rewrite_weights(folder: Path) -> None:
    data = trained(folder / UNET)
    (folder / UNET).write_bytes(data)


def put_in_its_place(folder: Path) -> None:
    new = folder.parent / "new.safetensors"
    new.write_bytes(trained(folder / UNET))
    new.replace(folder / UNET)


def with_its_old_date(folder: Path) -> None:
    state = (folder / UNET).stat()
    put_in_its_place(folder)
    os.utime(folder / UNET, ns=(state.st_atime_ns, state.st_mtime_ns))


def written_in_part(folder: Path) -> None:
    """Overwrite the file in place, as `dd` and some downloads do: the same inode, the same length."""
    data = trained(folder / UNET)
    with (folder / UNET).open("r+b") as file:
        file.write(data)


def another_scheduler(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_end": 0.05}))


def another_text_encoder(folder: Path) -> None:
    file = folder / "text_encoder" / "model.safetensors"
    file.write_bytes(trained(file, 3.0))


WRITES = [
    rewrite_weights,
    put_in_its_place,
    with_its_old_date,
    written_in_part,
    another_scheduler,
    another_text_encoder,
]
every_write = pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)


@every_write
def test_a_loaded_engine_draws_with_the_current_files_and_names_them(write: Callable[[Path], None], folder: Path):
    warm = build_engine(folder)
    before, identity = pixels(warm, [task(1)])[1], warm.model_identity()
    write(folder)
    assert warm.model_identity() != identity, "it says so before it draws"
    (result,) = [pending.wait_for_pixels() for pending in warm.generate([task(1)], RecordingContext())]
    fresh = build_engine(folder)
    assert np.array_equal(result.pixels, pixels(fresh, [task(1)])[1])
    assert not np.array_equal(result.pixels, before)
    assert (result.model, result.revision) == fresh.model_identity() != identity


def test_restored_weights_are_used_again(folder: Path):
    warm, kept = build_engine(folder), (folder / UNET).read_bytes()
    before, identity = pixels(warm, [task(1)])[1], warm.model_identity()
    rewrite_weights(folder)
    pixels(warm, [task(1)])
    (folder / UNET).write_bytes(kept)
    assert np.array_equal(pixels(warm, [task(1)])[1], before) and warm.model_identity() == identity


def test_texts_are_encoded_again_by_a_model_that_was_unloaded_when_its_files_were_written(folder: Path):
    warm = build_engine(folder)
    pixels(warm, [task(1)])
    warm.unload()
    another_text_encoder(folder)
    assert np.array_equal(pixels(warm, [task(1)])[1], pixels(build_engine(folder), [task(1)])[1])


def test_files_that_only_people_read_load_nothing_again(folder: Path):
    warm = build_engine(folder)
    pixels(warm, [task(1)])
    loaded, identity = warm._loaded, warm.model_identity()
    (folder / "README.md").write_text("A card.")
    pixels(warm, [task(1)])
    assert warm._loaded is loaded and warm.model_identity() == identity


def test_an_image_whose_weights_change_during_drawing_is_not_stored(folder: Path):
    class Writing(RecordingContext):
        def progress(self, task_ids: Any, step: int, steps: int) -> None:
            if step == 1:
                rewrite_weights(folder)

    warm = build_engine(folder)
    pixels(warm, [task(1)])
    with pytest.raises(EngineError, match="was changed on disk") as caught:
        list(warm.generate([task(1)], Writing()))
    assert caught.value.kind is ErrorKind.TRANSIENT


def test_a_lora_under_the_same_name_is_loaded_again(folder: Path, tmp_path: Path):
    file = tiny_models.lora(folder, tmp_path / "look.safetensors", 1)
    warm = build_engine(folder, loras={"look": {"path": str(file), "weight": 1.0}})
    before, identity = pixels(warm, [task(1)])[1], warm.model_identity()
    file.write_bytes(tiny_models.lora(folder, tmp_path / "new.safetensors", 2).read_bytes())
    after = pixels(warm, [task(1)])[1]
    assert warm.model_identity() != identity and not np.array_equal(before, after)
    fresh = build_engine(folder, loras={"look": {"path": str(file), "weight": 1.0}})
    assert np.array_equal(after, pixels(fresh, [task(1)])[1])


@pytest.fixture
def single_file(tiny_model: Callable[[str], Path], tmp_path: Path) -> tuple[Path, Path]:
    """Return (one file with all weights, the folder of its configurations)."""
    from safetensors.torch import save_file

    source = tiny_model("sd")
    file = tmp_path / "tiny.safetensors"
    save_file(original_names.original_tensors(build_engine(source, dtype="float32")._load().text), file)
    return file, Path(shutil.copytree(source, tmp_path / "configurations"))


def test_another_folder_of_configurations_is_another_model(single_file: tuple[Path, Path]):
    file, folder = single_file
    warm = build_engine(file, model_config=str(folder))
    before, identity = pixels(warm, [task(1)])[1], warm.model_identity()
    another_scheduler(folder)
    after = pixels(warm, [task(1)])[1]
    assert warm.model_identity() != identity and not np.array_equal(before, after)
    assert np.array_equal(after, pixels(build_engine(file, model_config=str(folder)), [task(1)])[1])


@pytest.mark.parametrize(
    "changed", [{"dtype": "float16"}, {"dtype": "bfloat16"}, {"safety_checker": True}, {"fp8": True, "tier": "fast"}]
)
def test_settings_that_decide_pixels_are_part_of_the_revision(changed: dict[str, Any], folder: Path):
    assert build_engine(folder).model_identity()[1] != build_engine(folder, **changed).model_identity()[1]


@pytest.mark.parametrize("changed", [{"threads": 2}, {"batch_size": 2}, {"warm_up": True}, {"max_side": 512}])
def test_settings_that_decide_none_leave_the_revision_as_it_was(changed: dict[str, Any], folder: Path):
    assert build_engine(folder).model_identity() == build_engine(folder, **changed).model_identity()


# -- in a worker -------------------------------------------------------------------------------------------------------


@pytest.fixture
def worker(clean_redis: Any) -> Iterator[LaneWorker]:
    running = LaneWorker("warm", [Lane.GPU])
    running.start()
    yield running
    running.stop()


def work(worker: LaneWorker) -> None:
    while Job.objects.filter(status=JobState.QUEUED, not_before=None).exists():
        worker.drain(Lane.GPU)


@pytest.mark.django_db(transaction=True)
def test_a_worker_with_a_loaded_model_stores_no_image_of_overwritten_weights_under_the_plan(
    folder: Path, worker: LaneWorker
):
    endpoint = queued_runs.create_endpoint(engine="diffusers", lane=Lane.GPU, model=str(folder), device="cpu")
    painted_engine.release_run(painted_engine.plan_run(painted_engine.create_campaign(1), endpoint))
    work(worker)
    for made, write in enumerate(WRITES, start=1):
        run = painted_engine.plan_run(painted_engine.create_campaign(1), endpoint)
        write(folder)
        painted_engine.release_run(run)
        work(worker)
        assert Master.objects.count() == made, write
        assert Job.objects.get(run=run).hold_reason == HoldReason.CHANGED, write
        changes.replan_held_jobs(run_id=run.pk, by=run.requested_by)
        work(worker)
        fresh, spec = build_engine(folder), JobSpec.objects.get(job__run=run)
        attempt = Attempt.objects.get(job__run=run, outcome="succeeded")
        assert spec.maker["revision"] == attempt.details["revision"] == fresh.model_identity()[1], write
        (drawn,) = [
            pending.wait_for_pixels()
            for pending in fresh.generate([base.Task(1, base.Spec.from_json(spec.spec))], RecordingContext())
        ]
        assert np.array_equal(product.read_pixels(spec.job.version.master), drawn.pixels), write
