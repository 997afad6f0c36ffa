"""Test webhooks of Replicate: a signed message makes the waiting job due, and nothing else it says has an effect."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from core import signing
from core.choices import Lane
from generation.choices import JobState
from generation.engines.base import Task, build
from generation.models import Attempt, Endpoint, Job
from generation.services.dispatch import claims
from generation.services.remote import submissions
from tests.support import processes, queued_runs
from tests.support.engine_context import MemoryContext
from tests.support.receiver import new_secret
from tests.support.remote_server import serving
from tests.support.replicate_server import SIGNING_SECRET, TOKEN, VERSION, Replicate
from tests.support.replicate_submissions import spec

pytestmark = pytest.mark.django_db(transaction=True)

LATER = timedelta(hours=1)


@dataclass
class Waiting:
    """A job that waits for a prediction, and the address of its webhook."""

    job: Job
    marker: uuid.UUID

    @property
    def address(self) -> str:
        return f"/hooks/replicate/{self.job.endpoint.slug}/{self.marker}"

    def is_due(self) -> bool:
        self.job.refresh_from_db()
        return bool(self.job.poll_at and self.job.poll_at <= timezone.now())


def endpoint(**config: Any) -> Endpoint:
    made = queued_runs.create_endpoint(engine="replicate", lane=Lane.CLOUD, version=VERSION, **config)
    made.secret = f"{TOKEN} {SIGNING_SECRET}"
    made.save()
    return made


def waiting(at: Endpoint, *, remote_id: str = "") -> Waiting:
    """Return a job that was claimed and submitted by the services that workers use; it is due in an hour."""
    queued_runs.create_run(queued_runs.create_campaign(), at, 1)
    claim = claims.claim(lane=Lane.CLOUD, worker="w", limit=1, endpoint_id=at.pk)
    (job,) = claim.jobs
    marker = submissions.record_intent(job_id=job.id, token=claim.token)
    assert marker is not None
    assert submissions.record_submission(
        job_id=job.id, token=claim.token, remote_id=remote_id or f"p-{job.id}", poll_seconds=LATER.total_seconds()
    )
    return Waiting(Job.objects.get(pk=job.id), marker)


def send(
    address: str,
    *,
    secret: str = SIGNING_SECRET,
    aged_seconds: int = 0,
    body: bytes = b'{"status":"succeeded"}',
    **changed: str,
) -> int:
    """Send one message and return the status of the answer. changed: headers, e.g. `webhook_id="x"`."""
    timestamp = int(time.time()) - aged_seconds
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.sign(secret, "msg_1", timestamp, body),
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    answer = Client(enforce_csrf_checks=True).post(address, body, content_type="application/json", headers=headers)
    return int(answer.status_code)


@pytest.fixture
def waiting_job(clean_redis: Any) -> Waiting:
    return waiting(endpoint())


def test_a_signed_message_makes_the_job_due_and_wakes_the_lane(waiting_job: Waiting, clean_redis: Any) -> None:
    assert not waiting_job.is_due()
    assert send(waiting_job.address) == 204
    assert waiting_job.is_due()
    assert clean_redis.get("proofline:wake-up:cloud")


def test_a_webhook_changes_only_the_time_of_the_next_poll(waiting_job: Waiting) -> None:
    before = Job.objects.values().get(pk=waiting_job.job.pk)
    attempts = list(Attempt.objects.values())
    forged = {"id": "another", "status": "failed", "error": "give up", "output": ["https://evil.example/a.png"]}
    assert send(waiting_job.address, body=json.dumps(forged).encode()) == 204
    after = Job.objects.values().get(pk=waiting_job.job.pk)
    assert {name for name in after if after[name] != before[name]} == {"poll_at"}
    assert list(Attempt.objects.values()) == attempts


@pytest.mark.parametrize(
    "options",
    [
        {"secret": new_secret()},
        {"webhook_signature": ""},
        {"webhook_signature": "v1,AAAA v1a,ÿÿÿ"},
        {"webhook_id": "msg_2"},
        {"webhook_timestamp": "yesterday"},
        {"webhook_timestamp": "9" * 5000},
        {"aged_seconds": 400},
        {"aged_seconds": -400},
    ],
    ids=["wrong key", "none", "odd", "other id", "no time", "endless time", "too old", "too new"],
)
def test_a_message_that_is_not_signed_for_us_does_nothing(waiting_job: Waiting, options: dict[str, Any]) -> None:
    assert send(waiting_job.address, **options) == 401
    assert not waiting_job.is_due()


def test_a_changed_body_is_not_what_was_signed(waiting_job: Waiting) -> None:
    now = int(time.time())
    signature = signing.sign(SIGNING_SECRET, "msg_1", now, b"{}")
    assert send(waiting_job.address, webhook_signature=signature, body=b'{"a": 1}') == 401
    assert not waiting_job.is_due()


def test_one_good_signature_among_several_is_enough(waiting_job: Waiting) -> None:
    body, now = b"{}", int(time.time())
    both = [signing.sign(secret, "msg_1", now, body) for secret in (new_secret(), SIGNING_SECRET)]
    assert send(waiting_job.address, body=body, webhook_timestamp=str(now), webhook_signature=" ".join(both)) == 204


def test_an_endpoint_without_a_signing_secret_ignores_webhooks(waiting_job: Waiting) -> None:
    for secret in (TOKEN, "", f"{TOKEN} whsec_%%%"):
        waiting_job.job.endpoint.secret = secret
        waiting_job.job.endpoint.save()
        assert send(waiting_job.address) == 401
    assert not waiting_job.is_due()


def test_an_endpoint_that_is_unknown_looks_like_a_wrong_signature(waiting_job: Waiting) -> None:
    assert send(f"/hooks/replicate/nowhere/{waiting_job.marker}") == 401


def test_an_unknown_marker_and_a_message_for_another_endpoints_job_change_nothing(waiting_job: Waiting) -> None:
    other = endpoint()
    assert send(f"/hooks/replicate/{waiting_job.job.endpoint.slug}/{uuid.uuid4()}") == 204
    assert send(f"/hooks/replicate/{other.slug}/{waiting_job.marker}") == 204
    assert not waiting_job.is_due()


def test_a_message_that_comes_twice_or_after_the_end_changes_nothing(waiting_job: Waiting) -> None:
    assert [send(waiting_job.address), send(waiting_job.address)] == [204, 204]
    assert waiting_job.is_due()
    Job.objects.filter(pk=waiting_job.job.pk).update(status=JobState.SUCCEEDED, poll_at=None)
    assert send(waiting_job.address) == 204
    waiting_job.job.refresh_from_db()
    assert (waiting_job.job.status, waiting_job.job.poll_at) == (JobState.SUCCEEDED, None)


def test_a_message_about_an_earlier_attempt_does_not_touch_the_present_one(waiting_job: Waiting) -> None:
    Job.objects.filter(pk=waiting_job.job.pk).update(attempts=2)
    assert send(waiting_job.address) == 204
    assert not waiting_job.is_due()


def test_a_submission_that_is_still_looked_for_keeps_its_time(waiting_job: Waiting) -> None:
    Job.objects.filter(pk=waiting_job.job.pk).update(remote_id="")
    assert send(waiting_job.address) == 204
    assert not waiting_job.is_due()


def test_only_a_post_of_bounded_size_is_read(waiting_job: Waiting) -> None:
    assert Client().get(waiting_job.address).status_code == 405
    assert send(waiting_job.address, body=b" " * (4 * 1024 * 1024 + 1)) == 413
    assert not waiting_job.is_due()


@pytest.mark.parametrize("is_reordered", [False, True])
def test_messages_that_come_repeatedly_and_out_of_order_make_exactly_their_job_due(
    live_server: Any, clean_redis: Any, is_reordered: bool
) -> None:
    with serving(Replicate()) as server:
        server.copies, server.is_reordered = 3, is_reordered
        server.reroute = lambda address: address.replace("https://context.example", live_server.url)
        at = endpoint(base_url=server.base_url)
        waits = [waiting(at), waiting(at)]
        hook = f"https://context.example/hooks/replicate/{at.slug}"
        engine = build("replicate", {**at.config, "webhook_url": hook}, at.secret)
        engine.submit(Task(waits[0].job.pk, spec()), str(waits[0].marker), MemoryContext())  # type: ignore[attr-defined]
        expected = 6 if is_reordered else 3
        processes.wait_until(lambda: len(server.answers) == expected, seconds=60, what="the webhooks arrive")
        assert set(server.answers) == {204}
        assert [wait.is_due() for wait in waits] == [True, False]


def test_a_service_with_another_key_is_turned_away(live_server: Any, waiting_job: Waiting) -> None:
    with serving(Replicate()) as server:
        server.signing_secret = new_secret()
        assert server.send_webhook(f"{live_server.url}{waiting_job.address}", {"status": "succeeded"}) == 401
        server.signing_secret = SIGNING_SECRET
        assert (
            server.send_webhook(
                f"{live_server.url}{waiting_job.address}", {"status": "succeeded"}, submitted_at=time.time() - 600
            )
            == 401
        )
        assert not waiting_job.is_due()
        assert server.send_webhook(f"{live_server.url}{waiting_job.address}", {"status": "succeeded"}) == 204
    assert waiting_job.is_due()
