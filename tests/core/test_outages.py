"""Tests of long outages of a service: no unsent job fails, pages say why, and work goes on when the service is back."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpcore
import httpx
import pytest
from django.urls import reverse
from django.utils import timezone

from core.choices import Lane
from core.errors import NotAllowed
from core.fetching.exchange import describe_error
from core.models import Brand, User
from generation import causes
from generation.choices import Breaker, JobState, RunState, Stage
from generation.engines import service
from generation.engines.base import EngineError, ErrorKind
from generation.models import Attempt, Endpoint, EndpointStatus, Job, Worker
from generation.selectors import endpoints as endpoint_selectors
from generation.selectors import failures
from generation.services.dispatch import claims, outcomes, retries
from generation.services.planning import estimates
from generation.services.remote import pacing
from generation.workers.leases import Leases
from generation.workers.remote import RemoteLane
from tests.support import factories, processes, queued_runs
from tests.support.remote_engine import ImageService
from tests.support.remote_server import CUT_AFTER, Remote, Response, plain, serving


@contextlib.contextmanager
def working() -> Iterator[None]:
    leases = Leases("here", [Lane.CLOUD])
    lane = RemoteLane("here", leases)
    leases.start()
    lane.start()
    try:
        yield
    finally:
        lane.stop()
        leases.stop()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def count_jobs(status: str) -> int:
    return Job.objects.filter(status=status).count()


# -- the lane --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_an_outage_fails_no_job_and_work_goes_on_seconds_after_it(clean_redis: Any) -> None:
    port = closed_port()
    endpoint = queued_runs.create_endpoint(engine="wire", lane=Lane.CLOUD, url=f"http://127.0.0.1:{port}")
    run = queued_runs.create_run(queued_runs.create_campaign(), endpoint, 12)
    with working():
        processes.wait_until(
            lambda: EndpointStatus.objects.filter(endpoint=endpoint, breaker=Breaker.OPEN).exists(),
            seconds=60,
            what="the endpoint to rest",
        )
        # As after a long outage: the next submission is due in ten minutes, and each job has many failures.
        EndpointStatus.objects.update(trips=9, open_until=timezone.now() + timedelta(minutes=10))
        Worker.objects.update_or_create(name="here", defaults={"lanes": [Lane.CLOUD], **_alive()})
        assert count_jobs(JobState.FAILED) == 0
        assert "rests after" in endpoint_selectors.list_wait_reasons(run)[0]
        time.sleep(4)  # the outage has been noticed
        with serving(ImageService(), port):
            back_at = time.monotonic()
            processes.wait_until(lambda: count_jobs(JobState.SUCCEEDED) > 0, seconds=60, what="the first image")
            assert time.monotonic() - back_at < 30
            processes.wait_until(lambda: count_jobs(JobState.SUCCEEDED) == 12, seconds=60, what="all images")
    assert endpoint_selectors.list_wait_reasons(run) == []
    assert set(Attempt.objects.exclude(outcome="succeeded").values_list("error_kind", flat=True)) == {"transient"}


def _alive() -> dict[str, Any]:
    now = timezone.now()
    return {"host": "h", "pid": 1, "started_at": now, "seen_at": now}


@pytest.mark.parametrize("failures_before", [0, 4, 20, 100])
def test_a_try_that_was_never_sent_does_not_count(db: None, failures_before: int) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(lane=Lane.CLOUD), 1)
    Job.objects.update(tries=failures_before)
    for _ in range(6):
        claim = claims.claim(lane=Lane.CLOUD, worker="w", endpoint_id=Endpoint.objects.get().pk)
        error = EngineError(ErrorKind.TRANSIENT, "away", is_unsent=True)
        outcomes.fail(job=claim.jobs[0], token=claim.token, error=error, worker="w")
        job = Job.objects.get()
        assert (job.status, job.tries) == (JobState.QUEUED, failures_before)
        Job.objects.update(not_before=None)


@pytest.mark.parametrize("breaker", [Breaker.OPEN, Breaker.HALF_OPEN])
def test_no_try_counts_while_the_endpoint_fails_for_everybody(db: None, breaker: str) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(lane=Lane.CLOUD), 1)
    endpoint = Endpoint.objects.get()
    EndpointStatus.objects.create(endpoint=endpoint, breaker=breaker, failures=5)
    Job.objects.update(tries=outcomes.MAX_TRIES[ErrorKind.TRANSIENT])
    claim = claims.claim(lane=Lane.CLOUD, worker="w", endpoint_id=endpoint.pk)
    outcomes.fail(job=claim.jobs[0], token=claim.token, error=EngineError(ErrorKind.TRANSIENT, "503"), worker="w")
    assert Job.objects.get().status == JobState.QUEUED


def test_a_service_that_breaks_on_one_job_alone_fails_it_after_five_tries(db: None) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(lane=Lane.CLOUD), 1)
    for _ in range(outcomes.MAX_TRIES[ErrorKind.TRANSIENT]):
        claim = claims.claim(lane=Lane.CLOUD, worker="w", endpoint_id=Endpoint.objects.get().pk)
        outcomes.fail(job=claim.jobs[0], token=claim.token, error=EngineError(ErrorKind.TRANSIENT, "500"), worker="w")
        Job.objects.update(not_before=None)
    assert Job.objects.get().status == JobState.FAILED


def test_only_an_endpoint_that_rests_is_woken(db: None) -> None:
    endpoint = queued_runs.create_endpoint(lane=Lane.CLOUD)
    assert pacing.record_recovery(endpoint.pk) is False
    later = timezone.now() + timedelta(minutes=5)
    EndpointStatus.objects.create(endpoint=endpoint, breaker=Breaker.OPEN, failures=5, open_until=later)
    assert pacing.record_recovery(endpoint.pk) is True
    assert pacing.lock_load(endpoint.pk).submissions == 1


# -- pages -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def brand(db: None) -> Brand:
    return factories.BrandFactory()


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator")


@pytest.mark.parametrize(
    ("status", "changes", "words"),
    [
        ({"breaker": Breaker.OPEN, "failures": 7}, {}, "rests after 7 failures in a row"),
        ({"breaker": Breaker.HALF_OPEN, "failures": 7}, {}, "is only just tried again"),
        ({}, {"is_enabled": False}, "is switched off"),
        ({"resume_at": timedelta(minutes=2)}, {}, "asked to slow down until"),
        (None, {"lane": Lane.GPU}, "has no worker on its lane gpu"),
    ],
)
def test_the_runs_page_says_what_it_waits_for(
    brand: Brand, operator: User, client: Any, status: Any, changes: dict[str, Any], words: str
) -> None:
    endpoint = queued_runs.create_endpoint(lane=Lane.CLOUD)
    run = queued_runs.create_run(queued_runs.create_campaign(brand=brand), endpoint, 3)
    Worker.objects.create(name="w", lanes=[Lane.CLOUD], **_alive())
    Endpoint.objects.update(**changes)
    if status:
        now = timezone.now()
        resume_at = status.pop("resume_at", None)
        EndpointStatus.objects.create(
            endpoint=endpoint,
            open_until=now + timedelta(minutes=1) if status.get("breaker") == Breaker.OPEN else None,
            resume_at=now + resume_at if resume_at else None,
            **status,
        )
    client.force_login(operator)
    page = client.get(reverse("run", args=[brand.slug, run.pk])).content.decode()
    assert "3 images wait for" in page
    assert words in page


def test_a_run_whose_endpoint_works_waits_for_nothing(brand: Brand) -> None:
    run = queued_runs.create_run(
        queued_runs.create_campaign(brand=brand), queued_runs.create_endpoint(lane=Lane.CLOUD), 3
    )
    Worker.objects.create(name="w", lanes=[Lane.CLOUD], **_alive())
    assert endpoint_selectors.list_wait_reasons(run) == []


@pytest.mark.parametrize("others", [0, 1, 7, 40, 300])
def test_the_wait_counts_this_endpoints_queue_only(db: None, others: int) -> None:
    mine, other = queued_runs.create_endpoint(lane=Lane.CLOUD), queued_runs.create_endpoint(lane=Lane.CLOUD)
    queued_runs.create_run(queued_runs.create_campaign(), mine, 5)
    if others:
        queued_runs.create_run(queued_runs.create_campaign(), other, others)
    assert estimates.estimate_interval(mine, {}).ahead == 5


@pytest.mark.parametrize(
    ("resting", "chosen", "offered"),
    [
        ((), "", ["a", "b", "c"]),
        (("a",), "", ["b", "c"]),
        (("a", "b"), "", ["c"]),
        (("a",), "a", ["a", "b", "c"]),
        (("a", "b", "c"), "", ["a", "b", "c"]),
    ],
)
def test_resting_endpoints_are_not_offered(brand: Brand, resting: tuple[str, ...], chosen: str, offered: list) -> None:
    made = {name: factories.EndpointFactory(name=name, slug=f"x-{name}", brand=brand) for name in "abc"}
    for name in resting:
        EndpointStatus.objects.create(endpoint=made[name], breaker=Breaker.OPEN, failures=5)
    before = str(made[chosen].pk) if chosen else ""
    assert [endpoint.name for endpoint in endpoint_selectors.list_offered(brand, chosen=before)] == offered


# -- the endpoint's own faults ---------------------------------------------------------------------------------------


def failed_at(run: Any, messages: list[str], kind: str = ErrorKind.ENDPOINT) -> None:
    for job, message in zip(run.jobs.order_by("pk"), messages, strict=True):
        Job.objects.filter(pk=job.pk).update(status=JobState.FAILED, error_kind=kind, error=message)


def test_each_thing_that_an_endpoint_lacks_is_a_group_of_its_own(brand: Brand) -> None:
    messages = [
        "“Load Checkpoint” (node 4): gpu1:8188 has no ckpt_name called 'a.safetensors'.",
        "“Load Checkpoint” (node 4): gpu1:8188 has no ckpt_name called 'a.safetensors'.",
        "“Load Checkpoint” (node 4): gpu1:8188 has no ckpt_name called 'b.safetensors'.",
        "“KSampler” (node 3): gpu1:8188 has no sampler_name called 'dpm9'.",
        "gpu1:8188 has no node of the type Upscale4x, which “Upscale” (node 12) is: install its custom node there.",
    ]
    run = queued_runs.create_run(
        queued_runs.create_campaign(brand=brand), queued_runs.create_endpoint(lane=Lane.CLOUD), 5
    )
    failed_at(run, messages)
    groups = failures.groups(run)
    assert [(group.count, group.cause.code) for group in groups] == [(2, "endpoint")] + [(1, "endpoint")] * 3
    assert {group.remedy for group in groups} == {causes.Remedy.OPERATOR}


def test_what_an_endpoint_lacked_is_tried_again_with_one_button_after_mending(
    brand: Brand, operator: User, client: Any
) -> None:
    endpoint = queued_runs.create_endpoint(lane=Lane.CLOUD)
    first, second = (queued_runs.create_run(queued_runs.create_campaign(brand=brand), endpoint, 3) for _ in range(2))
    failed_at(first, ["It has no node X."] * 3)
    failed_at(second, ["It has no node X.", "It has no model Y.", "x"])
    Job.objects.filter(error="x").update(error_kind=ErrorKind.INPUT)
    client.force_login(operator)
    address = reverse("endpoint", args=[brand.slug, endpoint.slug])
    for run in (first, second):
        for job in run.jobs.all():
            record_attempt(job, endpoint)
    assert "It is mended: try 5 images again" in client.get(address).content.decode()
    run_page = client.get(reverse("run", args=[brand.slug, first.pk])).content.decode()
    assert "Tell the operator" in run_page
    assert "It is mended: try these 3 again" in run_page
    client.post(reverse("endpoint_act", args=[brand.slug, endpoint.slug, "retry"]))
    assert (count_jobs(JobState.QUEUED), count_jobs(JobState.FAILED)) == (5, 1)
    again = client.post(reverse("endpoint_act", args=[brand.slug, endpoint.slug, "retry"]))
    assert again.status_code == 409


def record_attempt(job: Job, endpoint: Endpoint) -> None:
    Attempt.objects.create(
        job=job,
        endpoint=endpoint,
        number=1,
        lease_token=uuid.uuid4(),
        worker="w",
        outcome="failed",
        error_kind=job.error_kind,
        message=job.error,
        started_at=timezone.now(),
        ended_at=timezone.now(),
    )


def test_another_brands_failures_are_not_tried_again(brand: Brand, other_brand: Brand, operator: User) -> None:
    endpoint = queued_runs.create_endpoint(lane=Lane.CLOUD)
    failed_at(
        queued_runs.create_run(queued_runs.create_campaign(brand=other_brand), endpoint, 1), ["It has no node X."]
    )
    with pytest.raises(Exception, match="No image failed because of"):
        retries.retry_endpoint(brand=brand, endpoint=endpoint, by=operator)
    assert count_jobs(JobState.FAILED) == 1


def test_who_may_run_sandboxes_only_retries_no_run_of_an_endpoint(brand: Brand, designer: User) -> None:
    endpoint = queued_runs.create_endpoint(lane=Lane.CLOUD)
    sandbox, full = (queued_runs.create_run(queued_runs.create_campaign(brand=brand), endpoint, 1) for _ in range(2))
    type(sandbox).objects.filter(pk=sandbox.pk).update(stage=Stage.SANDBOX)
    for run in (sandbox, full):
        failed_at(run, ["It has no node X."])
    with pytest.raises(NotAllowed):
        retries.retry_endpoint(brand=brand, endpoint=endpoint, by=designer)
    assert count_jobs(JobState.FAILED) == 2


def test_a_run_that_ended_continues_when_its_endpoint_was_repaired(brand: Brand, operator: User) -> None:
    endpoint = queued_runs.create_endpoint(lane=Lane.CLOUD)
    run = queued_runs.create_run(queued_runs.create_campaign(brand=brand), endpoint, 1)
    failed_at(run, ["It has no node X."])
    type(run).objects.update(state=RunState.FINISHED)
    assert retries.retry_endpoint(brand=brand, endpoint=endpoint, by=operator) == 1
    run.refresh_from_db()
    assert run.state == RunState.RUNNING


# -- words -----------------------------------------------------------------------------------------------------------


def with_cause(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), "the connection failed"),
        (
            with_cause(httpx.ConnectError("[Errno 111]"), ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
            "nothing answers at its port",
        ),
        (
            with_cause(httpx.ConnectError("x"), socket.gaierror(-2, "Name or service not known")),
            "its name is not known",
        ),
        (with_cause(httpx.ConnectError("x"), certificate_error(10)), "its certificate has expired"),
        (with_cause(httpx.ConnectError("x"), certificate_error(18)), "its certificate is signed by itself"),
        (with_cause(httpx.ConnectError("x"), certificate_error(62)), "its certificate is for another name"),
        (
            with_cause(httpcore.ConnectError("x"), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
            "no encrypted connection could be made",
        ),
        (httpx.ReadTimeout("timed out"), "it did not answer in time"),
        (
            with_cause(httpx.ReadError(""), ConnectionResetError(errno.ECONNRESET, "reset")),
            "it broke the connection off",
        ),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), "it broke the connection off"),
        (with_cause(httpx.ConnectError("x"), OSError(errno.EHOSTUNREACH, "No route to host")), "there is no way to it"),
        (httpx.ReadError("its answer is over 100 MB"), "its answer is over 100 MB"),
    ],
)
def test_the_reason_why_a_service_is_not_reached_names_no_error_numbers_and_libraries(
    error: BaseException, words: str
) -> None:
    sentence = describe_error(error)
    assert sentence.startswith(words)
    for raw in ("Errno", "SSL", "_ssl", "[", "httpcore"):
        assert raw not in sentence


class Page(Remote):
    """A handler that answers every request with a fixed response."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response

    def route(self, request: Any) -> str:
        return "GET /"

    def respond(self, request: Any) -> Response:
        return self.response


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html><head><title>502</title></head></html>", {"Content-Type": "text/html"}),
        (b"<!DOCTYPE html><p>Sorry</p>", {}),
        (b"  <?xml version='1.0'?><Error/>", {"Content-Type": "application/xml"}),
        (b"<h1>nginx</h1>", {"Content-Type": "text/html; charset=utf-8"}),
        (b"", {}),
    ],
)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_page_of_a_proxy_is_not_shown_as_the_services_words(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    with serving(Page(Response(status, body, headers))) as page:
        answer = service.Service(page.url).request("GET", "x")
        error = service.refusal(answer, "The service")
    assert "<" not in error.message
    assert str(status) in error.message
    assert error.log == body.decode()


def test_the_plain_message_of_a_service_is_passed_on() -> None:
    with serving(Page(plain({"detail": "model is loading"}, 503))) as page:
        error = service.refusal(service.Service(page.url).request("GET", "x"), "The service")
    assert "model is loading" in error.message


def test_a_port_where_nothing_listens_is_reported_and_nothing_was_sent() -> None:
    with pytest.raises(EngineError) as raised:
        service.Service(f"http://127.0.0.1:{closed_port()}").submit("POST", "submissions", json={})
    assert raised.value.is_unsent
    assert "nothing answers at its port" in raised.value.message
    assert "Errno" not in raised.value.message


def test_a_submission_that_was_cut_off_counts_as_sent() -> None:
    image_service = ImageService()
    image_service.fail_next("POST /submissions", CUT_AFTER)
    with serving(image_service), pytest.raises(EngineError) as raised:
        service.Service(image_service.url).submit(
            "POST", "submissions", json={"marker": "m", "job": 1, "prompt": "x", "seed": 1}
        )
    assert (raised.value.kind, raised.value.is_unsent) == (ErrorKind.UNCERTAIN, False)
