"""Test jobs of an `openai` endpoint in a real worker process against a local server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.choices import Lane
from generation.choices import AttemptOutcome, HoldReason, JobState, LedgerKind, WhenUncertain
from generation.models import AssetVersion, Attempt, Endpoint, EndpointStatus, Finding, Job, LedgerEntry
from generation.selectors import endpoints
from generation.services.remote import submissions
from tests.support import factories, processes, queued_runs
from tests.support.openai_server import GENERATIONS, KEY, OpenAIServer
from tests.support.remote_server import CUT_AFTER, Fault, Response, Window, serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.HELD)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serving(OpenAIServer(is_compatible=True)) as service:
        yield service


def endpoint(server: OpenAIServer, *, model: str = "qwen-image", **columns: Any) -> Endpoint:
    made = queued_runs.create_endpoint(engine="openai", lane=Lane.CLOUD, base_url=f"{server.url}/v1", model=model)
    for name, value in columns.items():
        setattr(made, name, value)
    made.secret = KEY
    made.save()
    return made


def work_until_ended(seconds: float = 60) -> None:
    with processes.running("worker", "cloud"):
        processes.wait_until(
            lambda: not Job.objects.exclude(status__in=ENDED).exists(), seconds=seconds, what="every job ends"
        )


def settled_cost() -> Decimal:
    return sum(LedgerEntry.objects.filter(kind=LedgerKind.SETTLE).values_list("amount", flat=True), Decimal(0))


def test_images_are_stored_and_cost_what_was_counted(clean_redis: Any) -> None:
    with serving(OpenAIServer()) as server:
        prices = {"million_text_input_tokens": 5, "million_output_tokens": 30}
        made = endpoint(server, model="gpt-image-2-2026-04-21", prices=prices)
        queued_runs.create_run(queued_runs.create_campaign(), made, 3)
        work_until_ended()
        assert [request.size for request in server.made] == [(816, 816)] * 3
    assert AssetVersion.objects.count() == 3
    attempts = list(Attempt.objects.all())
    assert all(attempt.outcome == AttemptOutcome.SUCCEEDED and attempt.submitted_at for attempt in attempts)
    details = attempts[0].details
    assert details["usage"]["output_tokens"] == round(1056 * 816 * 816 / 1024**2)
    assert details["asked_size"] == [816, 816] and details["wanted_size"] == [64, 64]
    assert {str(attempt.marker) for attempt in attempts} == {request.client_request_id for request in server.made}
    cost = (Decimal(details["usage"]["output_tokens"]) * 30 + 2 * 5) / 1_000_000
    assert settled_cost() == 3 * cost
    assert not Finding.objects.filter(check_name="dimensions", outcome="fail").exists()


def test_refusals_go_to_people_and_an_answer_that_was_lost_is_uncertain_and_in_the_ledger(clean_redis: Any) -> None:
    with serving(OpenAIServer(key=KEY)) as server:
        made = endpoint(server, model="gpt-image-2-2026-04-21", price_per_image="0.07", max_concurrent=1)
        server.fail_next(GENERATIONS, CUT_AFTER)
        queued_runs.create_run(queued_runs.create_campaign(), made, 3, prompts=["a mug", "a forbidden mug", "a bowl"])
        work_until_ended()
        assert server.counts[GENERATIONS] == 3
    ended = {job.frozen.spec["prompt"]: job for job in Job.objects.select_related("frozen")}
    assert ended["a forbidden mug"].error_kind == "moderation"
    assert "safety system" in ended["a forbidden mug"].error
    assert ended["a mug"].hold_reason == HoldReason.UNCERTAIN
    assert ended["a bowl"].status == JobState.SUCCEEDED
    assert LedgerEntry.objects.filter(kind=LedgerKind.UNCERTAIN, job=ended["a mug"]).count() == 1


def test_an_empty_account_holds_what_waits_for_it(clean_redis: Any) -> None:
    with serving(OpenAIServer(credit=2)) as server:
        made = endpoint(server, model="gpt-image-2-2026-04-21", max_concurrent=1)
        queued_runs.create_run(queued_runs.create_campaign(), made, 5)
        work_until_ended()
        assert server.counts[GENERATIONS] == 3
    assert Job.objects.filter(status=JobState.SUCCEEDED).count() == 2
    assert Job.objects.filter(status=JobState.HELD, hold_reason=HoldReason.QUOTA).count() == 3


def test_known_limits_are_kept_without_a_refusal(clean_redis: Any) -> None:
    limits = (Window(5, 0.9),)  # the last tenth of a second allows for delays on a busy machine
    with serving(OpenAIServer(is_compatible=True, limits=limits, most_at_once=3)) as server:
        queued_runs.create_run(queued_runs.create_campaign(), endpoint(server, max_per_second=5, max_concurrent=3), 25)
        work_until_ended()
        assert server.counts[GENERATIONS] == 25
        assert not server.refused
    assert AssetVersion.objects.count() == 25


def test_by_policy_an_uncertain_submission_is_sent_again_and_stays_in_the_ledger(
    server: OpenAIServer, clean_redis: Any
) -> None:
    def resubmit_until_made() -> bool:
        submissions.resubmit_uncertain()
        return Job.objects.get().status == JobState.SUCCEEDED

    server.fail_next(GENERATIONS, CUT_AFTER, Fault(response=Response(502, b"bad gateway")))
    queued_runs.create_run(queued_runs.create_campaign(), endpoint(server, when_uncertain=WhenUncertain.RESUBMIT), 1)
    with processes.running("worker", "cloud"):
        processes.wait_until(resubmit_until_made, seconds=60, what="the submission is sent until it is answered")
    assert server.counts[GENERATIONS] == 3
    assert LedgerEntry.objects.filter(kind=LedgerKind.UNCERTAIN).count() == 2


def test_an_image_that_cannot_be_stored_is_uncertain_and_not_submitted_again(
    server: OpenAIServer, clean_redis: Any, tmp_path: Path
) -> None:
    no_folder = tmp_path / "full"
    no_folder.write_text("a file where a folder should be")
    queued_runs.create_run(queued_runs.create_campaign(), endpoint(server), 1)
    with processes.running("worker", "cloud", PROOFLINE_FILES=str(no_folder), PROOFLINE_STORAGE_SECONDS="0"):
        processes.wait_until(
            lambda: Job.objects.get().status == JobState.HELD, seconds=60, what="the job is held uncertain"
        )
    assert "made and could not be kept" in Job.objects.get().error
    assert server.counts[GENERATIONS] == 1
    assert LedgerEntry.objects.filter(kind=LedgerKind.UNCERTAIN).count() == 1


def test_images_on_a_host_that_is_not_allowed_wait_and_are_stored_when_the_operator_allows_it(
    server: OpenAIServer, clean_redis: Any
) -> None:
    operator = factories.UserFactory(is_superuser=True)
    with serving(OpenAIServer()) as store:
        host = store.url.removeprefix("http://")
        server.answers, server.public_url, store.files = "url", store.url, server.files
        made = endpoint(server, price_per_image="0.07")
        queued_runs.create_run(queued_runs.create_campaign(), made, 2)
        with processes.running("worker", "cloud"):
            waiting = Job.objects.filter(status=JobState.WAITING, error_kind="endpoint")
            processes.wait_until(lambda: waiting.count() == 2, seconds=60, what="both images wait where they lie")
            error = Job.objects.all()[0].error
            explained = endpoints.explain_job(job_id=Job.objects.all()[0].pk, user=operator)[-1]
            processes.wait_until(
                lambda: EndpointStatus.objects.filter(last_error_kind="endpoint").exists(),
                seconds=60,
                what="the endpoint's page says why",
            )
            time.sleep(12)  # they are tried again, and nothing is submitted again
            made.config = {**made.config, "output_hosts": [host]}
            made.save(update_fields=["config"])
            processes.wait_until(
                lambda: Job.objects.filter(status=JobState.SUCCEEDED).count() == 2,
                seconds=60,
                what="both images are fetched",
            )
        assert explained == f"It is made and could not be fetched yet: {error}"
        assert f"The image lies at {host}" in error and "output_hosts" in error
        assert server.counts[GENERATIONS] == len(server.made) == 2
    assert AssetVersion.objects.count() == 2 and settled_cost() == Decimal("0.14")
    assert not Job.objects.exclude(error="").exists()
