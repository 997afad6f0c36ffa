"""The endpoints' pages: what each says, who may change it, and that no secret stands in any answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import django_rq
import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone
from rq import SimpleWorker

from campaigns import clock
from campaigns.models import Brand, Event, User
from generation.engines.base import Health
from generation.engines.replicate import Replicate
from generation.models import Attempt, Endpoint, EndpointStanding, LedgerEntry, Run, Worker
from generation.selectors import endpoint_cards, endpoint_days, endpoint_use
from generation.services import asking, endpoints, throttle
from generation.services.limits import FoundRate
from tests import factories

pytestmark = pytest.mark.django_db

SECRET = "r8_hush5f1c9a7be2"
MODEL = "black-forest-labs/flux-schnell"


@pytest.fixture
def operator(db: None) -> User:
    return factories.UserFactory(is_superuser=True)


@pytest.fixture
def worker(db: None) -> Worker:
    now = timezone.now()
    return Worker.objects.create(
        name="all", lanes=["cloud", "cpu", "gpu"], host="h", pid=1, started_at=now, seen_at=now
    )


@pytest.fixture
def theirs(brand: Brand, operator: User, worker: Worker) -> Endpoint:
    """The brand's own endpoint at a service, with a secret."""
    return endpoints.create(
        brand=brand, by=operator, slug="overflow", name="Overflow", engine="replicate", lane="cloud",
        config={"model": MODEL}, secret=SECRET, licence_note="Apache 2.0", prices={"image": "0.003"},
    )  # fmt: skip


@pytest.fixture
def run(brand: Brand, theirs: Endpoint) -> Run:
    return factories.RunFactory(campaign__brand=brand, endpoint=theirs, name="Spring")


def attempt(run: Run, outcome: str = "succeeded", *, hours_ago: float = 0.01, **fields: Any) -> Attempt:
    at = timezone.now() - timedelta(hours=hours_ago)
    job = factories.JobFactory(run=run, status="succeeded" if outcome == "succeeded" else "failed")
    kept: Attempt = Attempt.objects.create(
        job=job, number=1, lease_token="0" * 32, endpoint=run.endpoint, worker="w", outcome=outcome, started_at=at,
        ended_at=at, **fields,
    )  # fmt: skip
    return kept


def address(brand: Brand, page: str = "") -> str:
    return f"/brands/{brand.slug}/endpoints/{page}"


def settings_of(endpoint: Endpoint, **fields: str) -> dict[str, str]:
    """What the form of an endpoint posts when nothing but `fields` is changed."""
    return {
        "name": endpoint.name, "lane": "cloud", "setting_model": MODEL, "in_doubt": "hold",
        "batch_size": "1", "seconds_per_image": "10", "price_per_image": "0", "price_image": "0.003",
        "licence_note": "Apache 2.0", **fields,
    }  # fmt: skip


# -- what they say -----------------------------------------------------------------------------------------------------


def test_a_card_says_what_an_endpoint_is_made_of_and_what_it_may_be_given(
    brand: Brand, theirs: Endpoint, viewer: User, page_client: Callable[[User], Client]
) -> None:
    Endpoint.objects.filter(pk=theirs.pk).update(max_per_minute=600, caution="demo model")
    page = page_client(viewer).get(address(brand)).content.decode()
    for words in ("Overflow", "never asked", MODEL, "0 of 4 at once, limit found by itself", "600 a minute",
                  "Apache 2.0", "demo model", f"{brand.name}’s own"):  # fmt: skip
        assert words in page, words
    assert "New endpoint" not in page


def test_without_an_endpoint_the_page_says_what_one_is(
    brand: Brand, viewer: User, lead: User, page_client: Callable[[User], Client]
) -> None:
    assert "No endpoint yet" in page_client(viewer).get(address(brand)).content.decode()
    assert "Set the first one up" in page_client(lead).get(address(brand)).content.decode()
    assert "No endpoint is switched on" in page_client(viewer).get(address(brand, "now/")).content.decode()


def test_numbers_are_of_the_brand_and_of_today(brand: Brand, other_brand: Brand, theirs: Endpoint, run: Run) -> None:
    made = [attempt(run, details={"seconds": seconds}) for seconds in (2.0, 4.0)]
    attempt(run, "failed", error_kind="transient", message="gone")
    attempt(run, "failed", error_kind="moderation", message="no")
    attempt(run, "failed", error_kind="rate", message="slowly")
    attempt(run, "succeeded", details={"reused_master": "x"})
    attempt(run, "succeeded", hours_ago=30, details={"seconds": 99.0})
    foreign = factories.RunFactory(campaign__brand=other_brand, endpoint=theirs)
    attempt(foreign, "failed", error_kind="transient", message="theirs")
    now = timezone.now()
    for job, amount, at in (
        (made[0].job, "0.30", now),
        (made[1].job, "0.20", now - timedelta(days=40)),
        (attempt(foreign).job, "9.00", now),
    ):
        with clock.at(at):
            LedgerEntry.objects.create(
                campaign=job.campaign, run=job.run, job=job, kind="settle", amount=Decimal(amount)
            )
    factories.JobFactory(run=run, status="queued")
    factories.JobFactory(run=foreign, status="queued")
    factories.JobFactory(run=foreign, status="waiting")
    numbers = endpoint_cards.figures(brand, [theirs])[theirs.pk]
    assert (numbers.made, numbers.failed, numbers.seconds) == (2, 1, 3.0)
    assert numbers.sample == 3 and round(numbers.error_percent) == 33
    assert (numbers.slowed, numbers.refused) == (1, 1)
    assert numbers.money_month == numbers.money_today == Decimal("0.30")
    assert numbers.queued == 1, "what others queue is theirs"
    assert numbers.waiting == 1, "what is open at the service is everybody's"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"breaker": "open", "failures": 5, "open_until": 40}, "resting"),
        ({"breaker": "half_open", "failures": 5}, "being tried"),
        ({"resume_at": 20}, "slowed down"),
        ({"last_error_kind": "quota", "last_error_at": -1}, "account empty"),
        ({"last_error_kind": "quota", "last_error_at": -9, "last_success_at": -1}, "working"),
        ({"last_success_at": -1, "resume_at": -1}, "working"),
    ],
)
def test_health_is_what_stands_between_an_endpoint_and_its_next_order(
    fields: dict[str, Any], word: str, theirs: Endpoint, brand: Brand
) -> None:
    now = timezone.now()
    moments = {name: now + timedelta(seconds=value) if name.endswith(("_until", "_at")) else value
               for name, value in fields.items()}  # fmt: skip
    EndpointStanding.objects.create(endpoint=theirs, **moments)
    found = endpoint_cards.get(brand, factories.UserFactory(is_superuser=True), "overflow")
    (card,) = endpoint_cards.cards(brand, [found])
    assert card.health.word == word
    if word == "resting":
        assert "After 5 failures in a row" in card.health.sentence and "again in 40 s" in card.health.sentence


def test_an_endpoint_without_a_worker_says_so(brand: Brand, theirs: Endpoint) -> None:
    Worker.objects.update(lanes=["gpu"])
    (card,) = endpoint_cards.cards(brand, [theirs])
    assert card.health.word == "no worker" and "manage.py worker cloud" in card.health.sentence


def test_an_endpoint_that_only_fails_is_failing(brand: Brand, theirs: Endpoint, run: Run) -> None:
    for _ in range(3):
        attempt(run, "failed", error_kind="transient", message="gone")
    (card,) = endpoint_cards.cards(brand, [theirs])
    assert card.health.word == "failing" and card.health.is_in_trouble


def test_a_service_that_does_not_say_how_long_it_took_is_timed_from_order_to_end(
    brand: Brand, theirs: Endpoint, run: Run
) -> None:
    made = attempt(run, details={"seconds": 0.0})
    Attempt.objects.filter(pk=made.pk).update(started_at=made.ended_at - timedelta(seconds=7))
    assert endpoint_cards.figures(brand, [theirs])[theirs.pk].seconds == 7


def test_the_day_is_drawn_by_the_hour_and_errors_are_told_once_each(brand: Brand, theirs: Endpoint, run: Run) -> None:
    for hours_ago in (0, 0, 3):
        attempt(run, hours_ago=hours_ago)
    for number in (1, 2):
        attempt(run, "failed", error_kind="transient", message=f"job {number} broke off")
    attempt(run, "failed", error_kind="input", message="too wide", hours_ago=30)
    day = endpoint_days.day(brand, theirs)
    assert len(day.hours) == 24 and (day.made, day.failed, day.highest) == (3, 2, 4)
    assert (day.hours[-1].made, day.hours[-1].failed, day.hours[-4].made) == (2, 2, 1)
    last = day.hours[-1]
    assert (last.made_y, last.made_height, last.failed_y, last.failed_height) == (50, 50, 0, 50)
    (trouble,) = endpoint_days.troubles(brand, theirs)
    assert (trouble.count, trouble.cause.code, trouble.message) == (2, "transient", "job 2 broke off")


def test_the_page_of_an_endpoint_tells_reasons_in_words(
    brand: Brand, theirs: Endpoint, run: Run, viewer: User, page_client: Callable[[User], Client]
) -> None:
    attempt(run)
    attempt(run, "failed", error_kind="moderation", message="NSFW content detected")
    page = page_client(viewer).get(address(brand, "overflow/")).content.decode()
    assert "1 × not allowed" in page and "NSFW content detected" in page and f"/runs/{run.pk}/" in page
    assert '<rect x="462"' in page and "kept, not shown" in page
    assert 'name="setting_model"' not in page and "A lead of" in page


def test_a_shared_endpoints_other_brands_stay_unknown(
    brand: Brand, other_brand: Brand, viewer: User, page_client: Callable[[User], Client], worker: Worker
) -> None:
    shared = factories.EndpointFactory(slug="shared", lane="cpu", config={"root": "/srv/models"})
    foreign = factories.RunFactory(campaign__brand=other_brand, endpoint=shared, name="Their launch")
    attempt(foreign, "failed", error_kind="transient", message="their secret plan")
    page = page_client(viewer).get(address(brand, "shared/")).content.decode()
    assert "shared by all brands" in page
    for hidden in ("Their launch", "their secret plan", other_brand.name, "/srv/models"):
        assert hidden not in page


def test_an_endpoint_of_another_brand_is_not_there(
    brand: Brand,
    other_brand: Brand,
    theirs: Endpoint,
    person: Callable[..., User],
    page_client: Callable[[User], Client],
) -> None:
    client = page_client(person("lead", brand=other_brand))
    for page in ("overflow/", "overflow/answer/"):
        assert client.get(address(other_brand, page)).status_code == 404
    assert client.get(address(brand)).status_code == 404
    assert "Overflow" not in client.get(address(other_brand)).content.decode()
    assert client.post(address(other_brand, "overflow/secret/"), {"secret": "mine"}).status_code == 404


# -- use at this moment ------------------------------------------------------------------------------------------------


def test_use_now_counts_orders_of_this_second_and_minute(
    brand: Brand, theirs: Endpoint, run: Run, lead: User, clean_redis: Any
) -> None:
    for _ in range(2):
        assert throttle.wait(run.endpoint)
    for fields in (
        {"status": "waiting", "remote_id": "a"},
        {"status": "running"},
        {"status": "running", "remote_id": "b"},  # made, and on its way home
    ):
        lease = {"lease_token": "0" * 32} if fields["status"] == "running" else {}
        factories.JobFactory(run=run, **fields, **lease)
    (use,) = endpoint_use.now(brand, lead)
    told = {gauge.label: (gauge.used, gauge.limit) for gauge in use.gauges}
    assert told == {"this second": (2, None), "this minute": (2, None), "open now": (2, 4)}
    assert use.gauges[2].percent == 50 and use.gauges[2].note == "limit found by itself"


def test_money_stands_against_what_may_be_spent(brand: Brand, run: Run, lead: User) -> None:
    Brand.objects.filter(pk=brand.pk).update(monthly_budget=50)
    brand.refresh_from_db()
    type(run.campaign).objects.filter(pk=run.campaign_id).update(budget=10)
    for kind, amount in (("reserve", "6"), ("settle", "2"), ("release", "1")):
        LedgerEntry.objects.create(
            campaign=run.campaign, run=run, job=factories.JobFactory(run=run), kind=kind, amount=Decimal(amount)
        )
    month, campaign = endpoint_use.purses(brand, lead)
    assert (month.spent, month.reserved, month.left) == (Decimal(2), Decimal(3), Decimal(45))
    assert (campaign.spent, campaign.reserved, campaign.left) == (Decimal(2), Decimal(3), Decimal(5))
    assert (campaign.spent_percent, campaign.reserved_percent, campaign.is_nearly_gone) == (20, 30, False)
    type(run.campaign).objects.filter(pk=run.campaign_id).update(budget=6)
    assert endpoint_use.purses(brand, lead)[1].is_nearly_gone


def test_limits_that_were_found_are_shown_as_such(brand: Brand, theirs: Endpoint, lead: User, clean_redis: Any) -> None:
    found = FoundRate(4.5, timezone.now()).to_json()
    EndpointStanding.objects.create(endpoint=theirs, rates={"second": found}, window=6.4)
    (use,) = endpoint_use.now(brand, lead)
    assert [(gauge.limit, gauge.note) for gauge in use.gauges] == [
        (4.5, "limit found by itself"),
        (None, "no limit known"),
        (6, "limit found by itself"),
    ]
    (card,) = endpoint_cards.cards(brand, [Endpoint.objects.select_related("standing").get(pk=theirs.pk)])
    assert "4.5 a second, limit found by itself" in card.allowed


def test_a_lead_sets_what_the_brand_may_spend_in_a_month(
    brand: Brand, lead: User, viewer: User, page_client: Callable[[User], Client], clean_redis: Any
) -> None:
    assert page_client(viewer).post(address(brand, "now/budget/"), {"monthly_budget": "5"}).status_code == 403
    assert "Give" not in page_client(viewer).get(address(brand, "now/")).content.decode()
    client = page_client(lead)
    assert client.post(address(brand, "now/budget/"), {"monthly_budget": "-5"}).status_code == 422
    assert client.post(address(brand, "now/budget/"), {"monthly_budget": "120.50"}).status_code == 302
    brand.refresh_from_db()
    assert brand.monthly_budget == Decimal("120.50")
    assert "120.50" in client.get(address(brand, "now/")).content.decode()
    client.post(address(brand, "now/budget/"), {"monthly_budget": ""})
    brand.refresh_from_db()
    assert brand.monthly_budget is None
    assert [event.payload for event in Event.objects.filter(type="campaigns.brand.budget_set").order_by("id")] == [
        {"before": None, "after": "120.50"},
        {"before": "120.50", "after": None},
    ]


def test_the_page_of_use_asks_for_its_part_again(
    brand: Brand, theirs: Endpoint, viewer: User, page_client: Callable[[User], Client]
) -> None:
    client = page_client(viewer)
    whole = client.get(address(brand, "now/")).content.decode()
    assert 'hx-trigger="every 2s"' in whole and "<html" in whole and "this month" in whole
    part = client.get(address(brand, "now/"), headers={"HX-Request": "true"}).content.decode()
    assert part.startswith('<div id="use"') and "Overflow" in part and "<html" not in part


def test_what_our_own_workers_took_ahead_is_not_being_made_yet(brand: Brand, lead: User, worker: Worker) -> None:
    ours = factories.EndpointFactory(name="Ours", lane="gpu", batch_size=4)
    for number in range(6):
        job = factories.JobFactory(run__campaign__brand=brand, run__endpoint=ours)
        type(job).objects.filter(pk=job.pk).update(status="running", lease_token=f"{number:032}")
    (use,) = endpoint_use.now(brand, lead)
    assert (use.gauges[0].used, use.gauges[0].limit, use.gauges[0].note) == (4, 4, "and 2 next")


def test_use_now_costs_as_many_queries_for_ten_endpoints_as_for_one(
    brand: Brand, lead: User, worker: Worker, django_assert_max_num_queries: Any
) -> None:
    factories.EndpointFactory.create_batch(10, lane="cpu")
    with django_assert_max_num_queries(10):
        assert len(endpoint_use.now(brand, lead)) == 10
    with django_assert_max_num_queries(10):
        assert len(endpoint_cards.cards(brand, list(endpoint_cards.visible(brand, lead)))) == 10


# -- setting up and changing -------------------------------------------------------------------------------------------


def test_a_lead_sets_an_endpoint_up_and_changes_it(
    brand: Brand, lead: User, page_client: Callable[[User], Client]
) -> None:
    client = page_client(lead)
    given = {"slug": "flux", "name": "Flux", "engine": "replicate", "lane": "cloud", "setting_model": "a/b",
             "in_doubt": "hold", "batch_size": "1", "seconds_per_image": "4", "price_per_image": "0",
             "price_second": "0.000725", "secret": SECRET}  # fmt: skip
    answer = client.post(address(brand, "new/"), given)
    assert answer.status_code == 302, answer.content.decode()
    made = Endpoint.objects.get()
    assert (made.brand, made.secret, made.prices, made.max_per_minute) == (brand, SECRET, {"second": "0.000725"}, None)
    page = client.get(address(brand, "flux/")).content.decode()
    assert "is set up" in page and SECRET not in page and made.config == {"model": "a/b"}
    changed = {**given, "name": "Flux fast", "max_per_minute": "30", "price_second": "", "price_image": "0.01"}
    assert client.post(address(brand, "flux/"), changed).status_code == 302
    made.refresh_from_db()
    assert (made.name, made.max_per_minute, made.prices) == ("Flux fast", 30.0, {"image": "0.01"})
    assert (made.slug, made.engine, made.secret) == ("flux", "replicate", SECRET)


def test_what_is_refused_stands_beside_its_field_and_the_secret_is_not_repeated(
    brand: Brand, lead: User, theirs: Endpoint, page_client: Callable[[User], Client]
) -> None:
    client = page_client(lead)
    for fields, words in (
        ({"setting_inputs": "{"}, "This is no JSON"),
        ({"setting_inputs": f'{{"api_key": "{SECRET}2"}}'}, "belongs into the secret"),
        ({"setting_model": ""}, "does not take this"),
        ({"setting_max_side": "wide"}, "whole number from 16 to 16384"),
        ({"setting_cancel_after": "soon"}, "does not take this"),
        ({"max_concurrent": "0"}, "empty to find out"),
        ({"price_image": "-1"}, "lies between 0"),
    ):
        answer = client.post(address(brand, "overflow/"), settings_of(theirs, **fields))
        assert answer.status_code == 422 and words in answer.content.decode(), fields
    new = client.post(address(brand, "new/"), {"slug": "x", "secret": SECRET})
    assert new.status_code == 422 and SECRET not in new.content.decode()
    theirs.refresh_from_db()
    assert theirs.config == {"model": MODEL} and theirs.lane == "cloud"


def test_an_operator_moves_an_endpoint_together_with_its_secret(
    brand: Brand, operator: User, theirs: Endpoint, page_client: Callable[[User], Client]
) -> None:
    client = page_client(operator)
    moved = settings_of(theirs, setting_model="a/b", setting_base_url="https://models.example.com/v1")
    refused = client.post(address(brand, "overflow/"), moved)
    assert refused.status_code == 422 and "kept secret would be sent to" in refused.content.decode()
    assert client.post(address(brand, "overflow/"), moved | {"secret": "another"}).status_code == 302
    theirs.refresh_from_db()
    assert theirs.secret == "another" and theirs.config["base_url"] == "https://models.example.com/v1"


def test_a_secret_is_replaced_and_removed_and_never_shown(
    brand: Brand, lead: User, theirs: Endpoint, page_client: Callable[[User], Client]
) -> None:
    client = page_client(lead)
    assert "kept, not shown" in client.get(address(brand, "overflow/")).content.decode()
    assert client.post(address(brand, "overflow/secret/"), {"secret": f"{SECRET}2"}).status_code == 302
    theirs.refresh_from_db()
    assert theirs.secret == f"{SECRET}2"
    assert client.post(address(brand, "overflow/secret/"), {"secret": ""}).status_code == 422
    assert client.post(address(brand, "overflow/secret/"), {"remove": "1"}).status_code == 302
    theirs.refresh_from_db()
    assert theirs.secret == ""


def test_who_may_not_change_an_endpoint_is_refused_whatever_is_posted(
    brand: Brand, manager: User, theirs: Endpoint, page_client: Callable[[User], Client]
) -> None:
    client = page_client(manager)
    for page, given in (
        ("overflow/", settings_of(theirs, name="Mine")),
        ("overflow/secret/", {"secret": "mine"}),
        ("overflow/off/", {}),
        ("overflow/again/", {}),
        ("new/", {"slug": "x"}),
    ):
        assert client.post(address(brand, page), given).status_code == 403, page
    theirs.refresh_from_db()
    assert (theirs.name, theirs.secret, theirs.is_enabled) == ("Overflow", SECRET, True)


def test_an_endpoint_is_switched_off_and_tried_again_by_buttons(
    brand: Brand, lead: User, theirs: Endpoint, page_client: Callable[[User], Client]
) -> None:
    EndpointStanding.objects.create(
        endpoint=theirs, breaker="open", failures=5, open_until=timezone.now() + timedelta(1)
    )
    client = page_client(lead)
    assert "Try again now" in client.get(address(brand, "overflow/")).content.decode()
    answer = client.post(address(brand, "overflow/again/"))
    assert "next order now" in str([str(one) for one in get_messages(answer.wsgi_request)])
    assert EndpointStanding.objects.get().breaker == "half_open"
    client.post(address(brand, "overflow/off/"))
    assert "switched off" in client.get(address(brand)).content.decode()
    assert client.post(address(brand, "overflow/dance/")).status_code == 404


def test_the_secret_is_in_no_page_no_api_answer_no_event_and_no_log(
    brand: Brand, theirs: Endpoint, operator: User, lead: User, page_client: Callable[[User], Client],
    api_client: Callable[[User], Any], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sealed = Endpoint.objects.get(pk=theirs.pk).sealed_secret
    said = []
    for user in (operator, lead):
        client = page_client(user)
        for page in ("", "new/", "now/", "overflow/", "overflow/answer/"):
            said.append(client.get(address(brand, page)).content.decode())
        said.append(api_client(user).get("/api/v1/endpoints/").content.decode())
        said.append(client.post(address(brand, "overflow/secret/"), {"secret": SECRET}).content.decode())
        said.append(client.get(f"/brands/{brand.slug}/audit/").content.decode())
    said.append(page_client(operator).get(f"/admin/generation/endpoint/{theirs.pk}/change/").content.decode())
    said += [str(payload) for payload in Event.objects.values_list("payload", flat=True)]
    said += [caplog.text, *capsys.readouterr()]
    assert not any(SECRET in one or sealed in one for one in said)
    assert "overflow" in said[0]


def test_the_api_tells_limits_and_terms_but_neither_settings_nor_secret(
    theirs: Endpoint, viewer: User, api_client: Callable[[User], Any]
) -> None:
    Endpoint.objects.filter(pk=theirs.pk).update(max_per_minute=600, caution="demo model")
    (told,) = api_client(viewer).get("/api/v1/endpoints/").json()["results"]
    assert (told["max_per_minute"], told["max_concurrent"], told["caution"]) == (600, None, "demo model")
    assert not {"config", "secret", "sealed_secret", "prices"} & set(told)


# -- asking it ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_question_is_answered_by_a_worker_and_shown(
    brand: Brand, manager: User, worker: Worker, page_client: Callable[[User], Client], clean_redis: Any
) -> None:
    factories.EndpointFactory(slug="studio", engine="packshot", lane="cpu")
    client = page_client(manager)
    assert client.get(address(brand, "studio/answer/")).content.decode().count("note") == 0
    asked = client.post(address(brand, "studio/ask/"), headers={"HX-Request": "true"}).content.decode()
    assert "A worker asks it" in asked and 'hx-trigger="load delay:1s"' in asked
    queue = django_rq.get_queue("cpu")
    client.post(address(brand, "studio/ask/"))
    assert len(queue) == 1, "one question at a time"
    SimpleWorker([queue], connection=queue.connection, serializer=queue.serializer).work(burst=True)
    told = client.get(address(brand, "studio/answer/")).content.decode()
    assert "needs neither model nor network" in told and "hx-get" not in told


@pytest.mark.django_db(transaction=True)
def test_a_question_that_no_worker_takes_is_given_up(
    brand: Brand, manager: User, clean_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = factories.EndpointFactory(slug="studio", engine="packshot", lane="cpu")
    asking.ask(brand=brand, slug="studio", by=manager)
    assert asking.answer(endpoint).is_open
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0)
    told = asking.answer(endpoint)
    assert not told.is_open and not told.is_ok and "No worker of the lane cpu" in told.message


def test_what_an_endpoint_answers_never_repeats_its_secret(theirs: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def angry(self: Any) -> Any:
        raise ValueError(f"the token {SECRET} is not known")

    monkeypatch.setattr(Replicate, "health", angry)
    said = asking.look(theirs)
    assert said["is_ok"] is False and SECRET not in str(said)


def test_an_engine_that_does_not_answer_is_not_waited_for(theirs: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(Replicate, "health", lambda self: Health(let_go.wait(30), "too late"))
    said = asking.look(theirs)
    let_go.set()
    assert said["is_ok"] is False and "No answer within" in said["message"]
