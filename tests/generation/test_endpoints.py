"""Test how people edit endpoints: permitted values, permissions, and that a secret stays secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from core.errors import Conflict, Invalid, NotAllowed, NotFound
from core.models import Brand, Event, User
from generation.models import Endpoint, EndpointStatus, Job
from generation.services.endpoints import editing
from tests.support import factories

pytestmark = pytest.mark.django_db

SECRET = "r8_hush5f1c9a7be2"
REPLICATE = {"model": "black-forest-labs/flux-schnell"}


@pytest.fixture
def operator(db: None) -> User:
    return factories.UserFactory(is_superuser=True)


@pytest.fixture
def brand_endpoint(brand: Brand, operator: User) -> Endpoint:
    """The brand's own endpoint at a service, with a secret."""
    return editing.create(
        brand=brand, by=operator, slug="overflow", name="Overflow", engine="replicate", lane="cloud",
        config={**REPLICATE, "base_url": "https://models.example.com/v1"}, secret=SECRET,
    )  # fmt: skip


def creation_errors(**fields: Any) -> dict[str, str]:
    """Return field -> error message of an endpoint that an operator tries to create with these fields."""
    by = factories.UserFactory(is_superuser=True)
    given = {"slug": "one", "name": "One", "engine": "packshot", "lane": "cpu", **fields}
    with pytest.raises(Invalid) as refusal:
        editing.create(brand=None, by=by, **given)
    assert not Endpoint.objects.exists()
    return {problem.pointer: problem.message for problem in refusal.value.problems}


# -- permitted values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"engine": "crayons"}, "engine", "known are"),
        ({"engine": "diffusers", "lane": "gpu"}, "config/model", 'needs "model"'),
        ({"engine": "replicate", "lane": "cloud"}, "config", "does not take this"),
        ({"lane": "cloud"}, "lane", "gpu or cpu"),
        ({"engine": "replicate", "lane": "gpu", "config": REPLICATE}, "lane", "its lane is cloud"),
        ({"name": " "}, "name", "at most 120"),
        ({"slug": "a b"}, "slug", "letters, digits"),
        ({"slug": "now"}, "slug", "address of a page"),
        ({"max_concurrent": 0}, "max_concurrent", "1 to 10,000"),
        ({"max_per_second": -1.0}, "max_per_second", "empty to find out"),
        ({"max_per_minute": float("inf")}, "max_per_minute", "empty to find out"),
        ({"batch_size": 0}, "batch_size", "images per batch"),
        ({"seconds_per_image": 0.0}, "seconds_per_image", "seconds for one image"),
        ({"price_per_image": -1}, "price_per_image", "0 or more"),
        ({"prices": {"hour": 3}}, "prices", "Nothing is charged by 'hour'"),
        ({"disclaimer": "x" * 41}, "disclaimer", "at most 40"),
        ({"when_uncertain": "guess"}, "when_uncertain", "waits for a person"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused_with_its_field_and_a_sentence(
    fields: dict[str, Any], pointer: str, words: str
) -> None:
    messages = creation_errors(**fields)
    assert list(messages) == [pointer] and words in messages[pointer]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"api_key": SECRET}, "api_key"),
        ({"headers": {"Authorization": f"Bearer {SECRET}"}}, "headers/Authorization"),
        ({"nested": [{"auth_token": SECRET}]}, "nested/auth_token"),
        ({"workflow": {"4": {"inputs": {"api_key": SECRET}}}}, "workflow/4/inputs/api_key"),
        ({"base_url": f"https://me:{SECRET}@models.example.com"}, "base_url"),
    ],
)
def test_a_secret_is_not_taken_among_the_settings_that_people_can_read(config: dict[str, Any], place: str) -> None:
    messages = creation_errors(config=config)
    assert list(messages) == [f"config/{place}"] and SECRET not in str(messages)


def test_words_that_only_look_like_secrets_are_settings(operator: User) -> None:
    inputs = {"prompt": "prompt", "fixed": {"max_tokens": "77", "token_normalization": "none"}}
    config = {**REPLICATE, "inputs": inputs}
    made = editing.create(brand=None, by=operator, slug="a", name="A", engine="replicate", lane="cloud", config=config)
    assert made.config == config


def test_a_short_name_is_given_once(operator: User, brand_endpoint: Endpoint) -> None:
    with pytest.raises(Conflict, match="take another short name"):
        editing.create(brand=None, by=operator, slug=brand_endpoint.slug, name="B", engine="packshot", lane="cpu")


# -- permissions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "designer", "campaign_manager", "reviewer", "integrator"])
def test_only_leads_and_admins_change_a_brands_own_endpoint(
    role: str, brand_endpoint: Endpoint, person: Callable[..., User]
) -> None:
    for change in (
        lambda by: editing.update(endpoint_id=brand_endpoint.pk, by=by, name="Mine"),
        lambda by: editing.set_secret(endpoint_id=brand_endpoint.pk, by=by, secret="x"),
        lambda by: editing.set_enabled(endpoint_id=brand_endpoint.pk, by=by, is_enabled=False),
        lambda by: editing.try_again(endpoint_id=brand_endpoint.pk, by=by),
    ):
        with pytest.raises(NotAllowed):
            change(person(role))
    assert editing.update(endpoint_id=brand_endpoint.pk, by=person("lead"), name="Theirs").name == "Theirs"
    assert editing.update(endpoint_id=brand_endpoint.pk, by=person("admin"), name="Ours").name == "Ours"


def test_a_shared_endpoint_is_the_operators_to_change(lead: User, operator: User) -> None:
    shared = factories.EndpointFactory(lane="cpu")
    with pytest.raises(NotAllowed, match="operators"):
        editing.update(endpoint_id=shared.pk, by=lead, name="Mine")
    assert editing.update(endpoint_id=shared.pk, by=operator, name="Everybody’s").name == "Everybody’s"


def test_another_brands_endpoint_is_not_there(
    brand_endpoint: Endpoint, other_brand: Brand, person: Callable[..., User]
) -> None:
    with pytest.raises(NotFound):
        editing.update(endpoint_id=brand_endpoint.pk, by=person("lead", brand=other_brand), name="Mine")


def test_addresses_folders_and_local_models_are_the_operators(
    brand: Brand, lead: User, brand_endpoint: Endpoint
) -> None:
    made = editing.create(
        brand=brand, by=lead, slug="ours", name="Ours", engine="replicate", lane="cloud", config=REPLICATE
    )
    for config in (
        {**REPLICATE, "base_url": "http://169.254.169.254"},
        {**REPLICATE, "ca": "etc/ssl/key.pem"},
        {**REPLICATE, "webhook_url": "https://elsewhere.example.com/hook"},
    ):
        with pytest.raises(Invalid) as refusal:
            editing.update(endpoint_id=made.pk, by=lead, config=config)
        assert "operator" in refusal.value.problems[0].message
    with pytest.raises(Invalid) as refusal:
        editing.create(
            brand=brand, by=lead, slug="m", name="M", engine="diffusers", lane="gpu", config={"model": "models/sdxl"}
        )
    assert "set up by the operator" in refusal.value.problems[0].message
    kept = editing.update(
        endpoint_id=brand_endpoint.pk, by=lead, config={**brand_endpoint.config, "cancel_after": "10m"}
    )
    assert kept.config["base_url"] == "https://models.example.com/v1", "what the operator wrote stays as it is"


# -- the secret --------------------------------------------------------------------------------------------------------


def test_a_secret_is_stored_encrypted_and_is_in_no_event(brand_endpoint: Endpoint, lead: User) -> None:
    brand_endpoint.refresh_from_db()
    assert brand_endpoint.secret == SECRET
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(e)::text FROM generation_endpoint e")
        assert SECRET not in cursor.fetchone()[0]
    editing.set_secret(endpoint_id=brand_endpoint.pk, by=lead, secret=f" {SECRET}2 ")
    editing.set_secret(endpoint_id=brand_endpoint.pk, by=lead, secret="")
    brand_endpoint.refresh_from_db()
    assert brand_endpoint.secret == "" and brand_endpoint.sealed_secret == ""
    payloads = list(
        Event.objects.filter(type="generation.endpoint.saved").order_by("id").values_list("payload", flat=True)
    )
    assert [payload["secret"] for payload in payloads] == ["set", "replaced", "removed"]
    assert SECRET not in json.dumps(payloads)


@pytest.mark.parametrize(
    "host", ["minio:9000", "10.0.0.5", "10.0.0.5:9000", "localhost", "[fd00::5]:9000", "cdn.example:81"]
)
def test_hosts_in_a_private_network_are_the_operators_to_allow(
    lead: User, operator: User, brand_endpoint: Endpoint, host: str
) -> None:
    public, private = ({**brand_endpoint.config, "output_hosts": [name]} for name in ("cdn.example", host))
    assert editing.update(endpoint_id=brand_endpoint.pk, by=lead, config=public).config == public
    with pytest.raises(Invalid) as refusal:
        editing.update(endpoint_id=brand_endpoint.pk, by=lead, config=private)
    assert "output_hosts" in refusal.value.problems[0].message and "operator" in refusal.value.problems[0].message
    assert editing.update(endpoint_id=brand_endpoint.pk, by=operator, config=private).config == private


def test_a_kept_secret_is_not_sent_to_another_address(brand_endpoint: Endpoint, operator: User) -> None:
    moved = {**brand_endpoint.config, "base_url": "https://elsewhere.example.com/v1"}
    with pytest.raises(Invalid) as refusal:
        editing.update(endpoint_id=brand_endpoint.pk, by=operator, config=moved)
    assert refusal.value.problems[0].pointer == "secret" and "elsewhere" in refusal.value.problems[0].message
    editing.set_secret(endpoint_id=brand_endpoint.pk, by=operator, secret="other", config=moved)
    brand_endpoint.refresh_from_db()
    assert brand_endpoint.config == moved and brand_endpoint.secret == "other"


@pytest.mark.parametrize("secret", ["two\nlines", "x" * 10_001])
def test_an_invalid_key_is_not_stored(secret: str, brand_endpoint: Endpoint, lead: User) -> None:
    with pytest.raises(Invalid) as refusal:
        editing.set_secret(endpoint_id=brand_endpoint.pk, by=lead, secret=secret)
    assert secret[:20] not in str(refusal.value.problems)


# -- the trail ---------------------------------------------------------------------------------------------------------


def test_the_trail_has_the_old_and_new_values_of_a_change(brand_endpoint: Endpoint, lead: User) -> None:
    before = Event.objects.count()
    editing.update(
        endpoint_id=brand_endpoint.pk,
        by=lead,
        max_per_minute=30.0,
        config={**brand_endpoint.config, "cancel_after": "5m"},
    )
    editing.update(endpoint_id=brand_endpoint.pk, by=lead, max_per_minute=30.0)
    assert Event.objects.count() == before + 1, "what changes nothing is no event"
    event = Event.objects.latest("id")
    assert event.actor == lead
    assert event.payload["changes"] == {"max_per_minute": [None, 30.0], "config.cancel_after": [None, "5m"]}


def test_a_shared_endpoints_change_is_in_every_brands_trail_without_its_settings(
    brand: Brand, other_brand: Brand, operator: User
) -> None:
    config = {**REPLICATE, "base_url": "http://gpu-a.internal"}
    made = editing.create(brand=None, by=operator, slug="s", name="S", engine="replicate", lane="cloud", config=config)
    moved = {**config, "base_url": "http://gpu-b.internal"}
    editing.update(endpoint_id=made.pk, by=operator, config=moved, price_per_image=Decimal("0.02"))
    events = Event.objects.filter(object_type="endpoint").order_by("-id")[:2]
    assert {event.brand_id for event in events} == {brand.pk, other_brand.pk}
    assert events[0].payload["changes"]["price_per_image"] == ["0.000000", "0.020000"]
    assert events[0].payload["changes"]["config.base_url"] == ["…", "…"]
    assert "internal" not in json.dumps([event.payload for event in events])


def test_switching_off_is_reported_once(brand_endpoint: Endpoint, lead: User) -> None:
    before = Event.objects.count()
    editing.set_enabled(endpoint_id=brand_endpoint.pk, by=lead, is_enabled=False)
    editing.set_enabled(endpoint_id=brand_endpoint.pk, by=lead, is_enabled=False)
    brand_endpoint.refresh_from_db()
    assert not brand_endpoint.is_enabled and Event.objects.count() == before + 1


# -- after trouble -----------------------------------------------------------------------------------------------------


def test_a_resting_endpoint_that_is_tried_again_gets_one_submission(brand_endpoint: Endpoint, lead: User) -> None:
    later = timezone.now() + timedelta(minutes=9)
    EndpointStatus.objects.create(
        endpoint=brand_endpoint, breaker="open", failures=7, trips=4, open_until=later, resume_at=later
    )
    editing.try_again(endpoint_id=brand_endpoint.pk, by=lead)
    status = EndpointStatus.objects.get()
    assert (status.breaker, status.open_until, status.resume_at, status.trips) == ("half_open", None, None, 0)
    assert Event.objects.latest("id").type == "generation.endpoint.tried_again"


def test_what_an_empty_account_held_goes_on_but_not_in_paused_runs(
    brand_endpoint: Endpoint, lead: User, brand: Brand
) -> None:
    going, paused, over = (
        factories.RunFactory(campaign__brand=brand, endpoint=brand_endpoint, state=state)
        for state in ("running", "paused", "cancelled")
    )
    held = {"status": "held", "hold_reason": "quota", "error": "empty", "error_kind": "quota", "tries": 3}
    jobs = {run: factories.JobFactory(run=run, **held) for run in (going, paused, over)}
    uncertain = factories.JobFactory(run=going, status="held", hold_reason="uncertain")
    assert editing.try_again(endpoint_id=brand_endpoint.pk, by=lead) == 1
    jobs_by_id = {job.pk: job for job in Job.objects.all()}
    requeued = jobs_by_id[jobs[going].pk]
    assert (requeued.status, requeued.hold_reason, requeued.tries, requeued.error) == ("queued", "", 0, "")
    assert (jobs_by_id[jobs[paused].pk].status, jobs_by_id[jobs[paused].pk].hold_reason) == ("held", "paused")
    assert jobs_by_id[jobs[over].pk].hold_reason == "quota" and jobs_by_id[uncertain.pk].hold_reason == "uncertain"
    assert Event.objects.latest("id").payload == {"slug": "overflow", "queued": 1}


def test_a_lane_is_not_changed_under_images_that_are_on_their_way(operator: User) -> None:
    endpoint = factories.EndpointFactory(lane="cpu")
    job = factories.JobFactory(run__endpoint=endpoint)
    with pytest.raises(Conflict, match="on their way"):
        editing.update(endpoint_id=endpoint.pk, by=operator, lane="gpu")
    Job.objects.filter(pk=job.pk).update(status="succeeded")
    assert editing.update(endpoint_id=endpoint.pk, by=operator, lane="gpu").lane == "gpu"
