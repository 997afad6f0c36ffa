"""Test routing: local endpoints first, overflow when the wait exceeds the campaign's patience.

Jobs leave a dead endpoint, and no image is made twice.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from campaigns.models import Campaign
from core.choices import Lane
from core.errors import Invalid, NotAllowed, NotFound
from core.models import User
from generation.choices import AttemptOutcome, Breaker, HoldReason, JobState, MoveReason
from generation.models import AssetVersion, Endpoint, EndpointStatus, Job, JobMove, JobSpec, Run, Worker
from generation.selectors import budgets, endpoints
from generation.services.dispatch import routing
from generation.services.planning import fingerprints
from tests.generation.test_remote_lane import create_wire_endpoint, states, wait_until_all_ended, working
from tests.support import factories, processes, queued_runs
from tests.support.remote_engine import ImageService
from tests.support.remote_server import CUT_BEFORE, serving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_superuser("owner", password="x")


@pytest.fixture
def campaign(owner: User) -> Campaign:
    return queued_runs.create_campaign(owner=owner)


def record_live_worker(lane: str = Lane.CLOUD) -> None:
    """Record a live worker on the lane."""
    now = timezone.now()
    Worker.objects.create(name=f"worker of {lane}", lanes=[lane], host="here", pid=1, started_at=now, seen_at=now)


def create_endpoint(name: str, service: ImageService | None = None, **fields: Any) -> Endpoint:
    url = service.url if service else "http://127.0.0.1:9"
    endpoint = queued_runs.create_endpoint(engine="wire", lane=Lane.CLOUD, url=url)
    for key, value in {"name": name, "seconds_per_image": 1.0, "max_concurrent": 1, **fields}.items():
        setattr(endpoint, key, value)
    endpoint.save()
    return endpoint


def jobs_by_endpoint() -> dict[str, int]:
    return dict(Counter(Job.objects.values_list("endpoint__name", flat=True)))


def create_run(campaign: Campaign, first: Endpoint, jobs: int, *others: Endpoint) -> Run:
    run = queued_runs.create_run(campaign, first, jobs)
    run.alternates.set(others)
    return run


def test_what_would_be_done_in_time_stays_where_it_is(campaign: Campaign) -> None:
    record_live_worker()
    create_run(campaign, create_endpoint("local"), 5, create_endpoint("cloud", price_per_image="0.04"))
    assert routing.route_all() == 0
    assert jobs_by_endpoint() == {"local": 5}


def test_what_exceeds_the_patience_goes_to_the_cheapest_that_is_done_in_time(campaign: Campaign) -> None:
    record_live_worker()
    Campaign.objects.filter(pk=campaign.pk).update(patience_seconds=6)
    cheap, dear = create_endpoint("cheap", price_per_image="0.01"), create_endpoint("dear", price_per_image="0.09")
    run = create_run(campaign, create_endpoint("local"), 10, dear, cheap)
    assert routing.route_all() == 4
    assert jobs_by_endpoint() == {"local": 6, "cheap": 4}
    moves = JobMove.objects.all()
    assert {move.reason for move in moves} == {MoveReason.OVERFLOW}
    assert "more than the 6 s that the campaign allows" in moves[0].sentence
    assert JobSpec.objects.filter(job__in=[move.job_id for move in moves], quoted_cost="0.01").count() == 4
    assert budgets.status(run.campaign).reserved > 0


def test_without_the_money_for_it_nothing_overflows(campaign: Campaign) -> None:
    record_live_worker()
    Campaign.objects.filter(pk=campaign.pk).update(patience_seconds=6, budget="0.05")
    create_run(campaign, create_endpoint("local"), 10, create_endpoint("dear", price_per_image="0.09"))
    assert routing.route_all() == 0
    assert jobs_by_endpoint() == {"local": 10}
    assert not JobMove.objects.exists()


def test_endpoints_of_one_price_share_the_work_evenly(campaign: Campaign) -> None:
    record_live_worker()
    create_run(campaign, create_endpoint("one"), 40, create_endpoint("two"))
    assert routing.route_all() == 20
    assert routing.route_all() == 0
    assert jobs_by_endpoint() == {"one": 20, "two": 20}


def test_an_endpoint_is_read_before_rows_are_locked(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    record_live_worker()
    create_run(campaign, create_endpoint("one"), 40, create_endpoint("two"))
    in_transaction: list[bool] = []
    read = fingerprints.get_maker

    def record(endpoint: Endpoint, engine: Any) -> fingerprints.Maker:
        in_transaction.append(connection.in_atomic_block)
        return read(endpoint, engine)

    monkeypatch.setattr(fingerprints, "get_maker", record)
    assert routing.route_all() == 20
    assert in_transaction == [False]


def test_an_endpoint_whose_files_are_gone_gets_no_job_and_does_not_stop_the_routing(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_live_worker()
    create_run(campaign, create_endpoint("one"), 40, create_endpoint("two"))

    def refuse(endpoint: Endpoint, engine: Any) -> fingerprints.Maker:
        raise OSError("the disk is away")

    monkeypatch.setattr(fingerprints, "get_maker", refuse)
    assert routing.route_all() == 0
    assert jobs_by_endpoint() == {"one": 40}


def test_queued_jobs_leave_an_endpoint_that_rests_and_its_submitted_jobs_stay(campaign: Campaign) -> None:
    record_live_worker()
    local, other = create_endpoint("local"), create_endpoint("other", price_per_image="0.04")
    run = create_run(campaign, local, 5, other)
    held = run.jobs.first()
    Job.objects.filter(pk=held.pk).update(status=JobState.WAITING, remote_id="x", poll_at=timezone.now())
    EndpointStatus.objects.create(
        endpoint=local, breaker=Breaker.OPEN, failures=5, open_until=timezone.now() + timedelta(minutes=1)
    )
    assert routing.route_all() == 4
    assert jobs_by_endpoint() == {"local": 1, "other": 4}
    sentences = endpoints.explain_job(job_id=run.jobs.last().pk, user=campaign.owner)
    assert "local rests after 5 failures in a row; other works." in sentences[1]
    assert sentences[2].startswith("It waits for its turn: 4 jobs")


def test_what_does_not_fit_on_one_card_goes_to_another_and_the_rest_stays(campaign: Campaign) -> None:
    record_live_worker()
    first, second, third = create_endpoint("small"), create_endpoint("large"), create_endpoint("larger")
    create_run(campaign, first, 4, second, third)
    too_large = Job.objects.order_by("id")[1]
    Job.objects.filter(pk=too_large.pk).update(error_kind="memory", not_before=timezone.now() + timedelta(seconds=12))
    assert routing.route_all() == 1
    assert jobs_by_endpoint() == {"small": 3, "large": 1}
    too_large.refresh_from_db()
    assert (too_large.endpoint, too_large.not_before, too_large.error_kind) == (second, None, "")
    assert JobMove.objects.get().reason == MoveReason.MEMORY
    Job.objects.filter(pk=too_large.pk).update(error_kind="memory")
    assert routing.route_all() == 1  # not back to the endpoint where it did not fit
    too_large.refresh_from_db()
    assert too_large.endpoint == third


def test_a_lane_without_a_worker_is_down(campaign: Campaign) -> None:
    record_live_worker(Lane.CLOUD)
    create_run(campaign, queued_runs.create_endpoint(lane=Lane.GPU), 3, create_endpoint("cloud"))
    assert routing.route_all() == 3
    assert JobMove.objects.first().sentence.endswith("has no worker on its lane gpu; cloud works.")
    assert set(Job.objects.values_list("lane", flat=True)) == {Lane.CLOUD}


def test_what_is_held_because_an_account_is_empty_goes_where_there_is_money(campaign: Campaign) -> None:
    record_live_worker()
    run = create_run(campaign, create_endpoint("empty"), 3, create_endpoint("other"))
    Job.objects.filter(run=run).update(status=JobState.HELD, hold_reason=HoldReason.QUOTA)
    assert routing.route_all() == 3
    assert states() == {JobState.QUEUED: 3}
    assert jobs_by_endpoint() == {"other": 3}


def test_a_moved_job_is_frozen_again_for_its_new_engine(campaign: Campaign) -> None:
    record_live_worker(Lane.CLOUD)
    run = create_run(campaign, queued_runs.create_endpoint(lane=Lane.GPU), 1, create_endpoint("cloud"))
    frozen = JobSpec.objects.get(job__run=run)
    frozen.spec = {**frozen.spec, "parameters": {"steps": 20}, "negative": "hands"}
    frozen.save()
    before = frozen.fingerprint
    routing.route_all()
    frozen.refresh_from_db()
    assert frozen.spec["parameters"] == {}  # the other engine does not obey it
    assert frozen.spec["negative"] == ""
    assert frozen.spec["prompt"] == "image 0"
    assert frozen.fingerprint != before


def test_an_endpoint_that_cannot_make_the_images_is_no_alternate(campaign: Campaign) -> None:
    run = queued_runs.create_run(campaign, create_endpoint("local"), 1)
    packshot = queued_runs.create_endpoint(engine="packshot")
    with pytest.raises(Invalid) as refused:
        routing.set_alternates(run_id=run.pk, endpoints=[packshot], by=campaign.owner)
    assert "needs an image “cutout”" in refused.value.problems[0].message


def test_only_people_who_may_run_choose_where_jobs_may_go_and_only_to_own_endpoints(
    campaign: Campaign, other_brand: Any
) -> None:
    run, cloud = queued_runs.create_run(campaign, create_endpoint("local"), 1), create_endpoint("cloud")
    viewer = factories.UserFactory()
    factories.MembershipFactory(brand=campaign.brand, user=viewer, role="viewer")
    with pytest.raises(NotAllowed):
        routing.set_alternates(run_id=run.pk, endpoints=[cloud], by=viewer)
    Endpoint.objects.filter(pk=cloud.pk).update(brand=other_brand)
    cloud.refresh_from_db()
    with pytest.raises(NotFound):
        routing.set_alternates(run_id=run.pk, endpoints=[cloud], by=campaign.owner)


def test_the_api_says_where_and_why(campaign: Campaign, api_client: Callable[[User], Any]) -> None:
    run, cloud = queued_runs.create_run(campaign, create_endpoint("local"), 1), create_endpoint("cloud")
    client = api_client(campaign.owner)
    factories.MembershipFactory(brand=campaign.brand, user=campaign.owner, role="admin")
    answer = client.put(f"/api/v1/runs/{run.pk}/alternates/", {"alternates": [cloud.slug]}, format="json")
    assert answer.status_code == 200, answer.content
    assert answer.json()["alternates"] == [cloud.slug]
    sentences = client.get(f"/api/v1/jobs/{run.jobs.get().pk}/explain/").json()["sentences"]
    assert sentences[0] == "Planned for local. It may also go to cloud."


@contextlib.contextmanager
def three_services() -> Iterator[tuple[ImageService, ImageService, ImageService]]:
    first, second, cloud = ImageService(seconds=0.4), ImageService(seconds=0.4), ImageService(seconds=0.1)
    with serving(first), serving(second), serving(cloud):
        yield first, second, cloud


@pytest.mark.slow
def test_two_local_services_and_a_cloud_share_a_run_and_survive_the_death_of_one(
    campaign: Campaign, clean_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.services.dispatch.routing.WORTH_MOVING_SECONDS", 1.0)
    monkeypatch.setattr("generation.services.dispatch.outcomes.backoff_seconds", lambda tries: 0.1)
    record_live_worker()
    Campaign.objects.filter(pk=campaign.pk).update(patience_seconds=8)
    with three_services() as (first, second, third):
        fields = {"seconds_per_image": 0.5, "max_concurrent": 1}
        first_endpoint, second_endpoint = (
            create_endpoint("one", first, **fields),
            create_endpoint("two", second, **fields),
        )
        cloud_endpoint = create_endpoint(
            "cloud", third, price_per_image="0.01", max_concurrent=8, seconds_per_image=0.2
        )
        create_run(campaign, first_endpoint, 60, second_endpoint, cloud_endpoint)

        def routed() -> bool:
            routing.route_all()
            return not Job.objects.filter(status__in=("queued", "running", "waiting")).exists()

        routing.route_all()
        assert jobs_by_endpoint() == {"one": 30, "two": 30}  # local first: the cloud costs money
        routing.route_all()
        assert jobs_by_endpoint()["cloud"] > 0  # and the jobs whose wait exceeds the patience
        with working():
            processes.wait_until(lambda: len(first.paid) >= 2, seconds=60, what="the first has made some")
            dead = len(first.paid)
            first.fail_next("POST /submissions", *[CUT_BEFORE] * 10_000)
            processes.wait_until(routed, seconds=120, what=f"all are made: {jobs_by_endpoint()} {states()}")
            wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 60}
    assert len(first.paid) <= dead + 1
    assert JobMove.objects.filter(reason=MoveReason.DOWN, from_endpoint=first_endpoint).exists()
    paid = Counter(first.paid + second.paid + third.paid)
    assert set(paid.values()) == {1}
    assert AssetVersion.objects.count() == 60
    assert not Job.objects.filter(attempt_rows__outcome=AttemptOutcome.RUNNING).exists()


def test_a_service_of_its_own_is_used_without_being_asked_to_move(campaign: Campaign, clean_redis: Any) -> None:
    with serving(ImageService()) as service, working():
        queued_runs.create_run(campaign, create_wire_endpoint(service), 3)
        wait_until_all_ended()
    assert not JobMove.objects.exists()
