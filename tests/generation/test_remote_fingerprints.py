"""Test that images of remote services are stored under what really made them.

The services are ComfyUI and an OpenAI-like server on real sockets, and one that reports the version of its model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from core.choices import Lane
from generation.choices import HoldReason, JobState
from generation.engines.base import ENGINES, EnginePlugin, Result, build
from generation.engines.replicate.engine import HIDDEN_VERSION, Replicate
from generation.models import AssetVersion, Attempt, Endpoint, Finding, Job, JobSpec, LedgerEntry, Master, Run
from generation.services.dispatch import outcomes
from generation.services.endpoints import changes, health
from generation.services.planning import fingerprints
from generation.services.planning.fingerprints import Maker
from generation.workers import product
from generation.workers.leases import Leases
from generation.workers.remote import RemoteLane
from tests.support import comfy_workflows, factories, painted_engine, processes, queued_runs
from tests.support.comfy_server import ComfyServer
from tests.support.openai_server import KEY, OpenAIServer
from tests.support.painted_engine import change_config, plan_run, release_run
from tests.support.remote_engine import ImageService, WireEngine
from tests.support.remote_server import serving

pytestmark = pytest.mark.django_db(transaction=True)

GREY, RED = 0x808080, 0xFF0000


@contextlib.contextmanager
def run_worker() -> Iterator[RemoteLane]:
    leases = Leases("here", [Lane.CLOUD])
    lane = RemoteLane("here", leases)
    leases.start()
    lane.start()
    try:
        yield lane
    finally:
        lane.stop()
        leases.stop()


def work_until_idle() -> None:
    """Run the lane until no job is queued, running or waiting."""
    with run_worker():
        try:
            processes.wait_until(is_done, seconds=60, what="the jobs end")
        except AssertionError as error:
            raise AssertionError(f"{error}: {states()}") from None


def states() -> list[Any]:
    return list(Job.objects.values_list("endpoint__config__workflow_name", "status", "hold_reason", "error"))


def is_done() -> bool:
    outcomes.reap()
    return not Job.objects.filter(status__in=("queued", "running", "waiting")).exists()


def recorded_revisions(run: Run) -> set[str]:
    """Return the revisions that the attempts of a run recorded."""
    return set(Attempt.objects.filter(job__run=run, outcome="succeeded").values_list("details__revision", flat=True))


def colours(run: Run) -> set[tuple[int, ...]]:
    masters = [version.master for version in AssetVersion.objects.filter(job__run=run).select_related("master")]
    return {tuple(int(level) for level in product.read_pixels(master)[3, 3]) for master in masters}


def are_held() -> bool:
    return set(Job.objects.values_list("status", "hold_reason")) == {(JobState.HELD, HoldReason.CHANGED)}


# -- ComfyUI -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def comfy(clean_redis: Any) -> Iterator[ComfyServer]:
    with serving(ComfyServer(checkpoints=("sd15.safetensors", "other.safetensors"))) as server:
        yield server


def flat(colour: int, *, saves_at: str = "2", name: str = "") -> dict[str, Any]:
    """Return the settings of a workflow that makes an image of one colour."""
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": colour}},
        saves_at: {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["1", 0]}},
    }
    marks = {"width": ["1", "width"], "height": ["1", "height"]}
    return {"workflow": graph, "workflow_name": name or f"flat {colour:06x}", "inputs": marks}


def text_to_image(**sampler: Any) -> dict[str, Any]:
    return {"workflow": comfy_workflows.text_to_image(**sampler), "inputs": comfy_workflows.TEXT_MARKS}


def with_checkpoint(name: str) -> dict[str, Any]:
    settings = text_to_image()
    settings["workflow"]["4"]["inputs"]["ckpt_name"] = name
    return settings


def without_mark(name: str) -> dict[str, Any]:
    settings = text_to_image()
    return {**settings, "inputs": {mark: place for mark, place in settings["inputs"].items() if mark != name}}


def two_savers(saves_at: str) -> dict[str, Any]:
    """Return settings where node 9 saves the made image and node 21 a flat red; `saves_at` is the node that counts."""
    settings = text_to_image()
    settings["workflow"] |= {
        "20": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": RED}},
        "21": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["20", 0]}},
    }
    return {**settings, "output_node": saves_at}


def comfy_endpoint(server: ComfyServer, **config: Any) -> Endpoint:
    settings = {"servers": [server.url], "poll_seconds": 0.1, "settle_seconds": 0.5}
    return queued_runs.create_endpoint(engine="comfyui", lane=Lane.CLOUD, **settings, **config)


WORKFLOWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "flat grey, then flat red": (flat(GREY), flat(RED)),
    "flat grey, then flat red under the same name": (flat(GREY, name="flat"), flat(RED, name="flat")),
    "other steps": (text_to_image(), text_to_image(steps=4)),
    "another checkpoint": (text_to_image(), with_checkpoint("other.safetensors")),
    "one mark less": (text_to_image(), without_mark("negative")),
    "another node's image counts": (two_savers("9"), two_savers("21")),
    "seeds are folded": (text_to_image(), {**text_to_image(), "ranges": {"seed": {"type": "INT", "maximum": 9}}}),
}


def test_another_workflow_than_was_planned_gets_no_submission(comfy: ComfyServer):
    for first, second in WORKFLOWS.values():
        endpoint = comfy_endpoint(comfy, **first)
        run = plan_run(painted_engine.create_campaign(1), endpoint)
        change_config(endpoint, **second)
        release_run(run)
    work_until_idle()
    assert comfy.submissions == [] and Master.objects.count() == 0 and are_held()


def test_red_is_never_kept_or_reused_as_grey(comfy: ComfyServer):
    endpoint, campaign = comfy_endpoint(comfy, **flat(GREY)), painted_engine.create_campaign(1)
    run = plan_run(campaign, endpoint)
    change_config(endpoint, **flat(RED))
    release_run(run)
    work_until_idle()
    assert "flat 808080" in Job.objects.get().error and "flat ff0000" in Job.objects.get().error
    changes.replan_held_jobs(run_id=run.pk, by=run.requested_by)
    work_until_idle()
    assert colours(run) == {(255, 0, 0)}
    change_config(endpoint, **flat(GREY))
    grey_run = release_run(plan_run(campaign, Endpoint.objects.get(pk=endpoint.pk)))
    work_until_idle()
    assert colours(grey_run) == {(128, 128, 128)} and len(comfy.made) == 2
    assert recorded_revisions(run) != recorded_revisions(grey_run)


SUBMITTED = {
    "flat": (flat(GREY), flat(RED)),
    "another node saves": (flat(GREY), flat(RED, saves_at="7")),
    "other steps": (text_to_image(), text_to_image(steps=4)),
    "another checkpoint": (text_to_image(), with_checkpoint("other.safetensors")),
    "no seed": (text_to_image(), without_mark("seed")),
    "another saver counts": (two_savers("9"), two_savers("21")),
}


def test_what_was_submitted_before_the_change_is_kept_as_what_was_submitted(comfy: ComfyServer):
    comfy.is_paused = True
    runs: dict[str, tuple[Run, Maker]] = {}
    for name, (first, _) in SUBMITTED.items():
        endpoint = comfy_endpoint(comfy, **first)
        maker = fingerprints.get_maker(endpoint, build("comfyui", endpoint.config))
        runs[name] = (release_run(plan_run(painted_engine.create_campaign(1), endpoint)), maker)
    with run_worker():
        processes.wait_until(lambda: waiting() == len(runs), seconds=60, what="all are submitted")
    for name, (_, second) in SUBMITTED.items():
        change_config(runs[name][0].endpoint, **second)
    comfy.resume()
    work_until_idle()
    for name, (run, maker) in runs.items():
        version = AssetVersion.objects.get(job__run=run)
        spec, attempt = version.job.frozen, Attempt.objects.get(job__run=run)
        assert recorded_revisions(run) == {maker.revision} and Maker(**spec.maker) == maker, name
        assert version.master.fingerprint == spec.fingerprint, name
        assert attempt.details["seed"] == spec.spec["seed"], name
        assert "other.safetensors" not in str(attempt.details["models"]), name
        assert colours(run) != {(255, 0, 0)}, f"{name}: the image of the node that counted when it was submitted"
    later = [release_run(plan_run(run.campaign, Endpoint.objects.get(pk=run.endpoint_id))) for run, _ in runs.values()]
    work_until_idle()
    for run, (earlier, _) in zip(later, runs.values(), strict=True):
        assert recorded_revisions(run) and not recorded_revisions(run) & recorded_revisions(earlier)
    assert len(comfy.made) == Master.objects.count() == 2 * len(runs)


def waiting() -> int:
    return Job.objects.filter(status=JobState.WAITING).count()


def test_another_file_under_a_checkpoints_name_on_the_server_is_not_taken_for_the_one_that_was_planned(
    clean_redis: Any,
):
    with serving(ComfyServer(lists_models=True)) as server:
        endpoint, operator = comfy_endpoint(server, **text_to_image()), factories.UserFactory(is_superuser=True)
        health.run_workflow_check(endpoint=endpoint, by=operator)
        endpoint.refresh_from_db()
        assert list(endpoint.config["model_files"].values()) == [{"sd15.safetensors": "9 bytes, 1.5"}]
        run = plan_run(painted_engine.create_campaign(1), endpoint)
        server.sizes["sd15.safetensors"] = 10
        release_run(run)
        work_until_idle()
        assert server.submissions == [] and are_held() and Master.objects.count() == 0
        assert "another file under the name sd15.safetensors" in Job.objects.get().error
        assert Attempt.objects.get().submitted_at is None, "nothing was submitted"
        health.run_workflow_check(endpoint=endpoint, by=operator)
        changes.replan_held_jobs(run_id=run.pk, by=run.requested_by)
        work_until_idle()
        assert len(server.made) == 1 and recorded_revisions(run) == {JobSpec.objects.get().maker["revision"]}
        server.lists_models = False
        assert plan_run(run.campaign, Endpoint.objects.get(pk=endpoint.pk)), "planning asks no server"


def test_what_a_server_lost_after_the_change_is_not_made_by_another_workflow(comfy: ComfyServer):
    endpoint = comfy_endpoint(comfy, **flat(GREY))
    comfy.is_paused = True
    release_run(plan_run(painted_engine.create_campaign(1), endpoint))
    with run_worker():
        processes.wait_until(waiting, seconds=60, what="it is submitted")
    change_config(endpoint, **flat(RED))
    comfy.restart()
    comfy.resume()
    Job.objects.update(not_before=None)
    with run_worker():
        processes.wait_until(lambda: bool(Job.objects.update(not_before=None)) and are_held(), seconds=60, what="held")
    assert Master.objects.count() == 0 and len(comfy.made) == 0


# -- OpenAI's images API -----------------------------------------------------------------------------------------------


@pytest.fixture
def openai(clean_redis: Any) -> Iterator[OpenAIServer]:
    with serving(OpenAIServer(is_compatible=True)) as server:
        yield server


SETTINGS: list[dict[str, Any]] = [
    {"model": "another-image"},
    {"output_format": "webp"},
    {"keep_outside": False},
    {"profile": {"base": "compatible", "sizes": ["512x512"]}},
    {"profile": {"base": "compatible", "seed": "seed"}},
    {"tier": "draft"},
]


def test_another_model_or_setting_than_was_planned_gets_no_submission(openai: OpenAIServer):
    planned: list[Run] = []
    for changed in SETTINGS:
        settings = {"base_url": f"{openai.url}/v1", "model": "qwen-image", "profile": "compatible"}
        endpoint = queued_runs.create_endpoint(engine="openai", lane=Lane.CLOUD, **settings)
        endpoint.secret = KEY
        endpoint.save()
        planned.append(plan_run(painted_engine.create_campaign(1), endpoint))
        change_config(endpoint, **changed)
        release_run(planned[-1])
    work_until_idle()
    assert are_held(), states()
    assert openai.made == [] and Master.objects.count() == 0
    for run in planned:
        changes.replan_held_jobs(run_id=run.pk, by=run.requested_by)
    work_until_idle()
    assert len(openai.made) == len(planned)
    for run in planned:
        now = Endpoint.objects.get(pk=run.endpoint_id)
        maker = fingerprints.get_maker(now, build("openai", now.config))
        details = Attempt.objects.get(job__run=run, outcome="succeeded").details
        assert Maker(**JobSpec.objects.get(job__run=run).maker) == maker, now.config
        assert (details["model"], details["revision"]) == (maker.model, maker.revision), now.config


# -- a service that reports its model version --------------------------------------------------------------------------


class Versioned(WireEngine):
    """An engine whose config["version"] is the requested version; "" leaves it to the service, which reports it."""

    name = "versioned"
    takes: ClassVar[str] = ""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.version = str(config.get("version", ""))
        self.settings = f"+{config['look']}" if config.get("look") else ""

    def model_identity(self) -> tuple[str, str]:
        return ("studio/mugs", self.version + self.settings)

    def _result(self, **fields: Any) -> Result:
        made = super()._result(**fields)
        return Result(0, made.pixels, "studio/mugs", self.takes + self.settings, cost=self.cost, outputs=made.outputs)


ENGINES.register("versioned", EnginePlugin("versioned", Versioned))


@pytest.fixture
def versioned(clean_redis: Any) -> Iterator[Callable[..., Endpoint]]:
    with serving(ImageService(seconds=0)) as service:
        yield lambda **config: queued_runs.create_endpoint(
            engine="versioned", lane=Lane.CLOUD, url=service.url, cost=0.25, **config
        )
    Versioned.takes = ""


@pytest.mark.parametrize("at_once", [False, True])
def test_an_open_version_is_kept_under_the_one_that_the_service_took(at_once: bool, versioned: Callable[..., Endpoint]):
    endpoint, campaign = versioned(at_once=at_once, look="warm"), painted_engine.create_campaign(2)
    Versioned.takes = "v1"
    first = release_run(plan_run(campaign, endpoint))
    planned = set(JobSpec.objects.values_list("fingerprint", flat=True))
    work_until_idle()
    Versioned.takes = "v2"
    second = release_run(plan_run(campaign, endpoint))
    work_until_idle()
    assert (recorded_revisions(first), recorded_revisions(second)) == ({"v1+warm"}, {"v2+warm"})
    assert Master.objects.count() == 4 and not planned & set(Master.objects.values_list("fingerprint", flat=True))
    for spec in JobSpec.objects.select_related("job__version__master"):
        assert spec.fingerprint == spec.job.version.master.fingerprint
        assert spec.maker["revision"] in spec.job.attempt_rows.get().details["revision"]
    assert not Finding.objects.filter(check_name="made_by_another").exists()
    assert LedgerEntry.objects.filter(kind="settle", amount="0.25").count() == 4


def test_a_pinned_version_that_the_service_did_not_use_is_shown_to_reviewers(versioned: Callable[..., Endpoint]):
    Versioned.takes = "v2"
    run = release_run(plan_run(painted_engine.create_campaign(1), versioned(version="v1")))
    planned = JobSpec.objects.get().fingerprint
    work_until_idle()
    (finding,) = Finding.objects.filter(check_name="made_by_another")
    assert "revision v1" in finding.message and "revision v2" in finding.message
    assert Master.objects.get().fingerprint != planned and recorded_revisions(run) == {"v2"}


def test_a_pinned_version_that_the_service_took_is_reused(versioned: Callable[..., Endpoint]):
    Versioned.takes = "v1"
    endpoint, campaign = versioned(version="v1"), painted_engine.create_campaign(2)
    for _ in range(2):
        run = release_run(plan_run(campaign, endpoint))
        work_until_idle()
    assert Master.objects.count() == 2 and recorded_revisions(run) == {"v1"}
    assert Attempt.objects.filter(job__run=run, details__has_key="reused_master").count() == 2


@pytest.mark.parametrize(
    ("config", "named", "revision"),
    [
        ({"version": "studio/mugs:" + "a" * 64}, ("studio/mugs", "a" * 64), "a" * 64),
        ({"version": "a" * 16}, ("studio/mugs", "a" * 64), "a" * 16),
        ({"version": "a" * 64}, ("studio/mugs", "b" * 64), "b" * 64),
        ({"model": "studio/mugs"}, ("studio/mugs", HIDDEN_VERSION), ""),
        ({"model": "studio/mugs"}, ("studio/mugs", "c" * 64), "c" * 64),
        ({"deployment": "studio/house"}, ("studio/mugs", "d" * 64), "d" * 64),
        ({"deployment": "studio/house"}, ("", ""), ""),
    ],
)
def test_of_replicate_the_version_that_the_service_names_counts_where_the_endpoint_names_none_or_another(
    config: dict[str, Any], named: tuple[str, str], revision: str
):
    for inputs in ({}, {"inputs": {"prompt": "text"}}):
        engine = Replicate({**config, **inputs})
        submitted = Maker("replicate", *engine.model_identity())
        prediction = {
            "status": "succeeded",
            "output": "https://a.example/1.png",
            "model": named[0],
            "version": named[1],
        }
        result = engine._state_of(prediction)
        assert isinstance(result, Result) and result.model == named[0]
        made = fingerprints.maker_of_result(submitted, submitted, result.model, result.revision)
        assert (made.model, made.revision) == (submitted.model, revision + engine.inputs.revision_suffix())


# -- settings that decide pixels ---------------------------------------------------------------------------------------

VERSION = "studio/mugs:" + "a" * 64


@pytest.mark.parametrize(
    ("engine", "config", "changed"),
    [
        ("replicate", {"version": VERSION}, {"inputs": {"prompt": "text", "seed": "seed"}}),
        ("replicate", {"version": VERSION, "inputs": {"prompt": "prompt", "fixed": {"steps": 4}}},
         {"inputs": {"prompt": "prompt", "fixed": {"steps": 8}}}),
        ("replicate", {"version": VERSION}, {"size_multiple": 64}),
        ("replicate", {"model": "studio/mugs"}, {"inputs": {"prompt": "prompt"}}),
        ("replicate", {"cog": True, "base_url": "http://a:1"}, {"inputs": {"prompt": "text", "fixed": {"look": 1}}}),
        ("replicate", {"cog": True, "base_url": "http://a:1", "version": "1"}, {"version": "2"}),
        ("openai", {"model": "m", "profile": "compatible"}, {"profile": {"base": "compatible", "max_images": 1}}),
        ("openai", {"model": "m", "profile": "compatible"}, {"profile": {"base": "compatible", "multiple": 64}}),
        ("packshot", {}, {"colours": {"clay": "#123456"}}),
        ("comfyui", {"servers": ["http://a:1"], **flat(GREY)}, {**flat(GREY), "inputs": {"width": ["1", "width"]}}),
    ],
)  # fmt: skip
def test_settings_that_decide_pixels_are_part_of_what_makes_an_image(
    engine: str, config: dict[str, Any], changed: dict[str, Any]
):
    before = build(engine, config).model_identity()
    assert build(engine, {**config, **changed}).model_identity() != before == build(engine, config).model_identity()


@pytest.mark.parametrize(
    ("engine", "config", "changed"),
    [
        ("replicate", {"version": VERSION}, {"webhook_url": "https://here.example/hook", "poll_seconds": 9}),
        ("openai", {"model": "m"}, {"timeout_seconds": 5, "organisation": "o"}),
        ("comfyui", {"servers": ["http://a:1"], **text_to_image()}, {"servers": ["http://a:1", "http://b:1"]}),
        ("comfyui", {"servers": ["http://a:1"], **text_to_image()},
         {"ranges": {"seed": {"type": "INT", "minimum": 0, "maximum": 2**64 - 1}}}),
    ],
)  # fmt: skip
def test_settings_that_decide_no_pixels_leave_what_is_planned_as_it_is(
    engine: str, config: dict[str, Any], changed: dict[str, Any]
):
    assert build(engine, {**config, **changed}).model_identity() == build(engine, config).model_identity()
