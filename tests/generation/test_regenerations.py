"""Test the policy "regenerate": failed images are retried with new seeds, within limits, paid and audited."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from core.models import Brand, Event, User
from generation.checks.base import CheckResult
from generation.models import Asset, AssetVersion, Job, JobSpec, LedgerEntry, Run
from generation.services import runs
from generation.services.dispatch import claims, outcomes
from generation.services.dispatch.outcomes import StoredResult
from generation.services.images import regenerations
from generation.services.images.assets import StoredMaster
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from review.models import ReviewTask
from review.services import decisions
from tests.support import engines, factories
from tests.support.images_in_review import decision_arguments
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db

assert engines.ReadyEngine.name == "ready"  # importing it registers the engine
POLICY = {"on_fail": "regenerate", "max_regenerations": 2}


@pytest.fixture
def release_run(brand: Brand, manager: User) -> Callable[..., Run]:
    """Return a function that releases a run of one image at 1.50, under a given policy and budget."""

    def make(
        policy: dict[str, Any] = POLICY, *, budget: Decimal | None = None, engine: str = "ready", **changes: Any
    ) -> Run:
        mug = factories.SubjectFactory(brand=brand)
        campaign = factories.CampaignFactory(brand=brand, subjects=[mug], budget=budget)
        factories.OutputSpecFactory(campaign=campaign, width=600, height=600)
        version = factories.PromptVersionFactory(
            template__brand=brand, text="{name}", axes={}, parameters={}, needs={}, policy=policy, created_by=manager,
            candidates=changes.get("candidates", 1),
        )  # fmt: skip
        endpoint = factories.EndpointFactory(engine=engine, price_per_image=Decimal("1.50"))
        run = plans.plan(
            PlanArguments(
                campaign=campaign,
                prompt_version=version,
                endpoint=endpoint,
                by=manager,
                stage=changes.get("stage", "pilot"),
            )
        )
        return runs.release(run_id=run.pk, by=manager)

    return make


def make_image(outcome: str = "fail") -> Job:
    """Claim the next job and deliver an image with this check result, as a worker does; on-commit hooks run."""
    claim = claims.claim(lane="gpu", worker="w", limit=1)
    [claimed] = claim.jobs
    name = f"image {claimed.id}"
    stored = StoredMaster(
        sha256=factories.digest(name), storage_key=f"sha256/{name}.webp", image_format="webp", width=64, height=64,
        has_alpha=False, bytes=9, thumbnails={}, hashes={"pdq": "", "pdq_quality": 0, "colours": bytes(48)},
    )  # fmt: skip
    made = StoredResult(master=stored, check_results=(CheckResult("sharpness", outcome, "It is blurred."),))
    assert outcomes.finish(job=claimed, token=claim.token, made=made, worker="w")
    return Job.objects.get(pk=claimed.id)


@pytest.fixture
def follow(django_capture_on_commit_callbacks: Any) -> Callable[..., Job]:
    def call(outcome: str = "fail") -> Job:
        with django_capture_on_commit_callbacks(execute=True):
            return make_image(outcome)

    return call


def asset() -> Asset:
    return Asset.objects.get()


def test_a_failed_image_is_made_again_with_another_seed(release_run: Any, follow: Any) -> None:
    release_run()
    follow()
    first, second = JobSpec.objects.order_by("candidate")
    assert asset().state == "making"
    assert (second.candidate, second.job.status, second.round) == (2, "queued", 1)
    assert second.spec["seed"] != first.spec["seed"]
    assert second.spec["prompt"] == first.spec["prompt"]
    assert second.fingerprint != first.fingerprint
    follow("pass")
    made = asset()
    assert made.state == "in_review"
    assert made.current_version is not None
    assert made.current_version.candidate == 2
    assert ReviewTask.objects.count() == 1
    assert AssetVersion.objects.count() == 2, "the failed one stays beside it"


def test_an_image_is_made_again_by_an_engine_with_a_long_batch_key(
    release_run: Any, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key "openai gpt-image-1 high 1024x1536" has 33 characters, one more than its column."""
    monkeypatch.setattr(engines.ReadyEngine, "batch_key", lambda self, spec: "openai gpt-image-1 high 1024x1536")
    release_run()
    follow()
    first, second = Job.objects.order_by("pk")
    assert first.batch_key == second.batch_key


def test_an_image_is_retried_as_often_as_the_policy_allows_and_then_reviewed(release_run: Any, follow: Any) -> None:
    release_run()
    for _ in range(3):
        assert asset().state == "making"
        follow()
    assert asset().state == "in_review"
    assert JobSpec.objects.count() == 3
    assert not Job.objects.filter(status="queued").exists()
    assert len(set(JobSpec.objects.values_list("spec__seed", flat=True))) == 3


def test_every_try_is_paid_for_and_in_the_trail(release_run: Any, follow: Any) -> None:
    run = release_run()
    for outcome in ("fail", "fail", "pass"):
        follow(outcome)
    runs.finish_if_done(run.pk)
    entries = LedgerEntry.objects.filter(run=run)
    assert [entry.amount for entry in entries.filter(kind="settle")] == [Decimal("1.50")] * 3
    reserved = sum(entry.amount for entry in entries.filter(kind="reserve"))
    released = sum(entry.amount for entry in entries.filter(kind="release"))
    assert reserved - released == Decimal("4.50")
    added = Event.objects.filter(type="generation.round.candidate_added").order_by("id")
    assert [event.payload["left"] for event in added] == [1, 0]


@pytest.mark.parametrize("policy", [{}, {"on_fail": "flag"}, {"on_fail": "regenerate", "max_regenerations": 0}])
def test_without_the_policy_people_look_at_once(policy: dict[str, Any], release_run: Any, follow: Any) -> None:
    release_run(policy)
    follow()
    assert asset().state == "in_review"
    assert Job.objects.count() == 1


def test_a_flag_is_no_failure(release_run: Any, follow: Any) -> None:
    release_run()
    follow("flag")
    assert asset().state == "in_review"


def test_without_money_people_look_at_what_there_is(release_run: Any, follow: Any) -> None:
    run = release_run(budget=Decimal("2.00"))
    follow()
    assert asset().state == "in_review"
    assert Job.objects.count() == 1
    assert sum(entry.amount for entry in LedgerEntry.objects.filter(run=run, kind="reserve")) == Decimal("1.50")


def test_a_paused_run_waits_with_the_further_try_too(release_run: Any, manager: User, follow: Any) -> None:
    run = release_run()
    claim = claims.claim(lane="gpu", worker="w")
    runs.pause(run_id=run.pk, by=manager)
    Job.objects.filter(pk=claim.jobs[0].id).update(status="succeeded", lease_token=None)
    frozen = JobSpec.objects.get()
    AssetVersion.objects.create(
        asset=asset(), round=1, candidate=1, job=frozen.job, worst_outcome="fail",
        master=factories.MasterFactory(brand=run.campaign.brand),
    )  # fmt: skip
    assert regenerations.regenerate(asset().pk)
    assert Job.objects.order_by("pk").last().status == "held"  # type: ignore[union-attr]
    runs.resume(run_id=run.pk, by=manager)
    assert Job.objects.order_by("pk").last().status == "queued"  # type: ignore[union-attr]


def test_a_cancelled_run_tries_nothing_further(release_run: Any, manager: User, follow: Any) -> None:
    run = release_run()
    make_image()  # the process died before it went on
    runs.cancel(run_id=run.pk, by=manager)
    assert not regenerations.regenerate(asset().pk)
    assert asset().state == "in_review"
    assert Job.objects.count() == 1


def test_retries_of_a_killed_process_continue(release_run: Any) -> None:
    run = release_run()
    make_image()
    runs.finish_if_done(run.pk)
    assert asset().state == "making"
    assert regenerations.regenerate_interrupted() == 1
    run.refresh_from_db()
    assert run.state == "running", "a run that had finished too early works again"
    assert Job.objects.filter(status="queued").count() == 1
    assert regenerations.regenerate_interrupted() == 0


def test_an_engine_that_ignores_seeds_is_not_retried(release_run: Any, follow: Any, monkeypatch: Any) -> None:
    release_run()
    deaf = engines.ReadyEngine({}).capabilities()
    monkeypatch.setattr(engines.ReadyEngine, "capabilities", lambda self: type(deaf)(False, frozenset({"prompt"}), ()))
    follow()
    assert asset().state == "in_review"
    assert Job.objects.count() == 1


def test_seeds_of_further_tries_can_be_made_again() -> None:
    assert regenerations.seed_after(7, 2) == regenerations.seed_after(7, 2)
    assert len({regenerations.seed_after(7, candidate) for candidate in range(2, 30)}) == 28


@pytest.mark.django_db(transaction=True)
def test_of_two_that_go_on_at_once_one_adds_a_candidate(release_run: Any) -> None:
    release_run()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(regenerations, "regenerate", lambda asset_id: False)
        make_image()
    added = race_without_errors(*[partial(regenerations.regenerate, Asset.objects.get().pk)] * 3)
    assert sorted(added) == [False, False, True]
    assert JobSpec.objects.count() == 2


# -- the policy "reject" ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "candidates", "outcomes", "state"),
    [
        ({"on_fail": "reject"}, 1, ["fail"], "rejected"),
        ({"on_fail": "reject"}, 3, ["fail", "fail", "fail"], "rejected"),
        ({"on_fail": "reject"}, 2, ["fail", "pass"], "in_review"),
        ({"on_fail": "reject"}, 1, ["flag"], "in_review"),
        ({"on_fail": "reject"}, 1, ["pass"], "in_review"),
        ({"on_fail": "flag"}, 1, ["fail"], "in_review"),
        ({}, 1, ["fail"], "in_review"),
    ],
)
def test_an_image_whose_candidates_all_failed_is_rejected_where_its_prompt_says_so(
    release_run: Any, follow: Any, policy: dict[str, Any], candidates: int, outcomes: list[str], state: str
) -> None:
    release_run(policy, candidates=candidates)
    for outcome in outcomes:
        follow(outcome)
    assert asset().state == state
    assert ReviewTask.objects.filter(state="open").count() == (state == "in_review")
    rejections = Event.objects.filter(type="generation.asset.rejected_by_checks", object_id=asset().pk)
    assert [(event.payload["reason"], event.actor_label != "") for event in rejections] == (
        [("It is blurred.", True)] if state == "rejected" else []
    )


def test_a_lead_takes_a_rejection_by_the_checks_back(release_run: Any, follow: Any, lead: User) -> None:
    release_run({"on_fail": "reject"})
    follow()
    task = decisions.reopen(asset_id=asset().pk, by=lead, note="The blur is wanted.")
    assert (asset().state, task.state) == ("in_review", "open")
    decisions.approve(by=lead, **decision_arguments(task))
    assert asset().state == "approved"


def test_a_try_out_is_shown_although_it_failed(release_run: Any, follow: Any) -> None:
    release_run({"on_fail": "reject"}, stage="sandbox")
    follow()
    assert asset().state == "in_review"
    assert not Event.objects.filter(type="generation.asset.rejected_by_checks").exists()
