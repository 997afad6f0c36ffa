"""Measure images per second of one card: diffusers as documented, our engine alone, and the whole pipeline.

The models have the true shapes of SDXL or FLUX.1 [dev] and random weights (shapes.py), so nothing is downloaded.

    plain   (a) one pipeline, called once per prompt, in 16 bits, not compiled
    exact   (b) the engine, tier exact: the same card, shape and padded batch size give the same pixels
    fast    (b) the engine, tier fast
    line    (c) tier fast through PostgreSQL, Redis and storage: claimed, drawn, checked, developed, stored, in review

It also reports TFLOP/s, their share of 800 TFLOP/s (what an H100 sustains in bfloat16), peak memory, and the largest
difference between (a) and exact. Every part is a process of its own. Without a GPU the same runs on the CPU with small
shapes, which only shows that it works.

    make bench NAME=gpu                       SDXL, 30 steps with guidance, 1024 × 1024; ten minutes on one H100
    MODEL=flux make bench NAME=gpu            FLUX.1 [dev], 28 steps
    MODEL=sdxl-4 make bench NAME=gpu          SDXL in 4 steps without guidance, as few-step models are run

PARTS=plain,fast chooses; SIZE STEPS GUIDANCE BATCH IMAGES PLAIN_IMAGES JOBS COMPILE MODE FP8 DEVICE change the trial;
FOLDER=… keeps models and compiled kernels for the next run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PARTS = ("plain", "exact", "fast", "line")
DEFAULT_SETTINGS = {"sdxl": (30, 5.0, 4), "flux": (28, 3.5, 1), "sdxl-4": (4, 1.0, 8)}
"""Steps, guidance and batch size of each model."""


@dataclass(frozen=True)
class Trial:
    """The settings of a benchmark, from the environment. images: number of images of each engine part; jobs: number of
    jobs of the part `line`."""

    model: str
    device: str
    size: int
    steps: int
    guidance: float
    batch: int
    plain_images: int
    images: int
    jobs: int
    compile: str
    mode: str
    fp8: bool

    @property
    def family(self) -> str:
        return "flux" if self.model == "flux" else "sdxl"

    @property
    def is_small(self) -> bool:
        return self.device == "cpu"

    @property
    def dtype(self) -> str:
        return "float32" if self.is_small else "bfloat16"

    def config(self, folder: Path, tier: str) -> dict[str, Any]:
        """Return the config of the endpoint, as an operator would write it."""
        plain: dict[str, Any] = {
            "model": str(folder / "model"),
            "device": self.device,
            "dtype": self.dtype,
            "tier": tier,
            "shapes": [[self.size, self.size]],
            "warm_up": True,
            "batch_size": self.batch,
        }
        plain |= {"compile": self.compile} if self.compile else {}
        if tier == "fast":
            plain |= ({"compile_mode": self.mode} if self.mode else {}) | {"fp8": self.fp8}
        return plain


def trial() -> Trial:
    import torch

    def number(name: str, gpu: float, cpu: float) -> float:
        return float(os.environ.get(name) or (gpu if device != "cpu" else cpu))

    device = os.environ.get("DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    model = os.environ.get("MODEL", "sdxl")
    if model not in DEFAULT_SETTINGS:
        raise SystemExit(f"MODEL={model} is not known; take one of {', '.join(DEFAULT_SETTINGS)}.")
    steps, guidance, batch = DEFAULT_SETTINGS[model]
    few = 3 if model == "flux" else 1
    return Trial(
        model=model,
        device=device,
        size=int(number("SIZE", 1024, 128)),
        steps=int(number("STEPS", steps, min(steps, 6))),
        guidance=number("GUIDANCE", guidance, guidance),
        batch=int(number("BATCH", batch, batch)),
        plain_images=int(number("PLAIN_IMAGES", 4, 4)),
        images=int(number("IMAGES", 24 // few * (3 if model == "sdxl-4" else 1), 8)),
        jobs=int(number("JOBS", 64 // few * (3 if model == "sdxl-4" else 1), 16)),
        compile=os.environ.get("COMPILE", ""),
        mode=os.environ.get("MODE", ""),
        fp8=os.environ.get("FP8", "") == "1",
    )


def run_part(name: str, settings: Trial, folder: Path) -> dict[str, Any]:
    """Run one part in a process of its own, which leaves the card empty, and return the JSON of its last line."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.gpu_parts", name, json.dumps(asdict(settings)), str(folder)]
    answer = subprocess.run(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    print(f"  {name}: {time.perf_counter() - started:.0f} s, {json.dumps(figures)}", file=sys.stderr)
    return figures


def line(settings: Trial, folder: Path) -> dict[str, Any]:
    """Run the jobs through one worker of the gpu lane; times are read from the database rows."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db.models import Max, Min

    from core.models import Event
    from generation.models import Attempt, Job, JobSpec, Worker
    from review.models import ReviewTask
    from tests.support import queued_runs

    call_command("migrate", verbosity=0)
    config = {name: value for name, value in settings.config(folder, "fast").items() if name != "batch_size"}
    endpoint = queued_runs.create_endpoint(engine="diffusers", lane="gpu", batch_size=settings.batch, **config)
    campaign = queued_runs.create_campaign()
    campaign.output_specs.all().delete()  # masters and thumbnails only: renditions depend on what a campaign wants

    def order(jobs: int) -> Any:
        run = queued_runs.create_run(campaign, endpoint, jobs, size=settings.size, prompts=PROMPTS)
        for row in JobSpec.objects.filter(job__run=run):
            parameters = {"steps": settings.steps, "guidance": settings.guidance}
            JobSpec.objects.filter(pk=row.pk).update(spec={**row.spec, "parameters": parameters})
        return run

    def is_done(run: Any) -> bool:
        return not Job.objects.filter(run=run).exclude(status__in=("succeeded", "failed")).exists()

    warm = order(2 * settings.batch)
    started = time.perf_counter()
    worker = subprocess.Popen([sys.executable, "manage.py", "worker", "gpu"], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        _wait(lambda: is_done(warm), worker, 400)
        ready_seconds = time.perf_counter() - started
        run = order(settings.jobs)
        _wait(lambda: is_done(run), worker, 400)
        _wait(lambda: ReviewTask.objects.count() == settings.jobs + 2 * settings.batch, worker, 60)
        time.sleep(3)  # one more heartbeat, for the peak memory
    finally:
        worker.terminate()
        worker.wait()
    attempts = Attempt.objects.filter(job__run=run)
    assert attempts.filter(outcome="succeeded").count() == settings.jobs, "jobs failed"
    jobs = list(Job.objects.filter(run=run).values_list("pk", flat=True))
    first = attempts.aggregate(at=Min("started_at"))["at"]
    last = Event.objects.filter(type="generation.job.succeeded", object_id__in=jobs).aggregate(at=Max("at"))["at"]
    return {
        "images_per_second": settings.jobs / (last - first).total_seconds(),
        "ready_seconds": ready_seconds,
        "host_peak_gib": max(Worker.objects.values_list("peak_rss_bytes", flat=True)) / 1024**3,
    }


def _wait(is_done: Any, worker: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < until, "the line stands still"
        assert worker.poll() is None, "the worker died"
        time.sleep(0.2)


PROMPTS = [f"a {thing} on a table" for thing in ("mug", "lamp", "vase", "bowl", "chair", "book", "shoe", "watch")]


def report(settings: Trial, figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Print the figures as a table and return them as one flat object."""
    shapes = figures["shapes"]
    title = (
        f"{shapes['title']}, {settings.size} × {settings.size}, {settings.steps} steps, guidance {settings.guidance:g}"
    )
    print(f"{title}, batches of {settings.batch}, on {shapes['card']}")
    if settings.is_small:
        print(
            "No GPU: small shapes on the CPU in 32 bits. These figures show that it works; they say nothing of a GPU."
        )
    print(f"One image: {shapes['image_tflop']:.4g} TFLOP ({shapes['forward_tflop']:.4g} each forward pass)")
    flat: dict[str, Any] = {**asdict(settings), **shapes}
    for name in PARTS:
        if name not in figures:
            continue
        rate = figures[name]["images_per_second"]
        tflops = rate * shapes["image_tflop"]
        share = None if settings.is_small else tflops / shapes["sustained_tflops"]
        memory = figures[name].get("peak_gib", figures[name].get("host_peak_gib"))
        at_floor = "" if share is None else f"{share:8.1%} of the floor"
        print(f"  {name:6} {rate:8.3f} images/s {tflops:9.4g} TFLOP/s{at_floor}  {memory:6.1f} GiB peak")
        flat |= {f"{name}_{key}": value for key, value in figures[name].items()} | {f"{name}_tflops": tflops}
        flat[f"{name}_floor_share"] = share
    ratios = {
        "fast_over_plain": ("fast", "plain"),
        "exact_over_plain": ("exact", "plain"),
        "line_over_engine": ("line", "fast"),
    }
    for name, (part_name, base_name) in ratios.items():
        if part_name in figures and base_name in figures:
            flat[name] = figures[part_name]["images_per_second"] / figures[base_name]["images_per_second"]
            print(f"  {name.replace('_', ' ')}: {flat[name]:.3f}")
    if "exact" in figures:
        exact = figures["exact"]
        print(f"  exact: the same bits beside other images at another place: {exact['is_repeatable']}")
        if exact.get("most_off") is not None:
            print(f"  exact against plain: at most {exact['most_off']} of 255 off, {exact['mean_off']:.3f} on average")
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in flat.items()}


def main() -> None:
    names = [name for name in os.environ.get("PARTS", ",".join(PARTS)).split(",") if name]
    if unknown := set(names) - set(PARTS):
        raise SystemExit(f"PARTS names {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}.")
    with tempfile.TemporaryDirectory(prefix="bench") as temporary:
        folder = Path(os.environ.get("FOLDER") or temporary).resolve()
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        os.environ |= {
            "PROOFLINE_VAR": f"{temporary}/var",
            "PROOFLINE_PLUGINS": "tests.support.engines",
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PROOFLINE_PLAIN_STATIC": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "kernels"),
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        settings = trial()
        figures = {"shapes": run_part("shapes", settings, folder)}
        for name in names:
            if name != "line":
                figures[name] = run_part(name, settings, folder)
        if "line" in names:
            from config import embedded

            with embedded.services():
                figures["line"] = line(settings, folder)
        print(json.dumps(report(settings, figures)))


if __name__ == "__main__":
    main()
