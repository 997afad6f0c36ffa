"""Test the rules of destinations: what they send, their mistakes, and requests to apply them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.models import Subject
from core.errors import Invalid, NotAllowed
from core.models import Brand, Event, User
from generation.models import Asset, AssetVersion
from review.delivery.rules import Rule, Rules
from review.models import Delivery, Destination, DestinationUpdate, ReviewTask
from review.selectors import deliveries as deliveries_shown
from review.selectors import delivery_rules as selectors
from review.services import consequences, decisions, deliveries, delivery_requests, delivery_rules, destinations
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db

CAMPAIGNS, SPECS, KINDS = ("autumn", "winter"), ("web", "print", "story"), ("product", "article")
CATEGORIES, DISCLAIMERS = ("Mugs", "Bowls", ""), ("demo model", "AI", "")


@pytest.fixture
def folder(brand: Brand, lead: User, tmp_path: Path) -> Destination:
    path = tmp_path / brand.slug / "shop"
    path.mkdir(parents=True)
    return destinations.create(
        brand=brand, by=lead, slug="shop", name="Shop folder", kind="folder", config={"path": str(path)}
    )


def approve(brand: Brand, by: User, *, campaign: str = "autumn", specs: Any = ("web",), **attributes: str) -> Asset:
    """Approve a new image of a campaign, and let the approval take effect."""
    rows = brand.campaigns.filter(slug=campaign)
    row = rows.first() or factories.CampaignFactory(brand=brand, slug=campaign)
    made = [row.output_specs.filter(slug=slug).first() or _spec(row, slug) for slug in specs]
    task = create_image_in_review(brand, campaign=row, specs=made)
    subject = task.asset.subject
    subject.attributes = attributes
    subject.save()
    decisions.approve(**decision_arguments(task), by=by)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    return Asset.objects.get(pk=task.asset_id)


def _spec(campaign: Any, slug: str) -> Any:
    return factories.OutputSpecFactory(campaign=campaign, slug=slug)


def set_rules(destination: Destination, by: User, *rules: dict[str, str]) -> Destination:
    return destinations.change(destination_id=destination.pk, by=by, rules=list(rules))


def specs_in(destination: Destination) -> set[str]:
    names = {path.name for path in Path(destination.config["path"]).rglob("*.jpg")}
    return {spec for spec in SPECS if any(spec in name for name in names)}


# -- one definition for one image and for a query ----------------------------------------------------------------------

rule = st.fixed_dictionaries(
    {"effect": st.sampled_from(("send", "never"))},
    optional={
        "campaign": st.sampled_from(CAMPAIGNS),
        "spec": st.sampled_from(SPECS),
        "kind": st.sampled_from(KINDS),
        "category": st.sampled_from(CATEGORIES[:2]),
        "disclaimer": st.sampled_from(("with", "without", "demo model")),
    },
)


@pytest.fixture
def images(brand: Brand) -> list[Any]:
    """Return the versions of 24 approved images that differ in everything that a rule may ask for."""
    campaigns = [factories.CampaignFactory(brand=brand, slug=slug) for slug in CAMPAIGNS]
    specs = {(row.slug, slug): _spec(row, slug) for row in campaigns for slug in SPECS}
    endpoints = [factories.EndpointFactory(disclaimer=text) for text in DISCLAIMERS]
    runs = {
        (row.slug, endpoint.pk): factories.RunFactory(campaign=row, endpoint=endpoint)
        for row in campaigns
        for endpoint in endpoints
    }
    versions = []
    for number in range(24):
        campaign, endpoint = campaigns[number % 2], endpoints[number % 3]
        name = ("category", "product_type", "google_product_category")[number % 3]
        attributes = {"category": "", name: CATEGORIES[number // 2 % 3]}
        subject = factories.SubjectFactory(brand=brand, kind=KINDS[number // 3 % 2], attributes=attributes)
        cell = factories.CellFactory(run=runs[campaign.slug, endpoint.pk], subject=subject)
        asset = factories.AssetFactory(cell=cell, subject=subject, campaign=campaign, brand=brand, state="approved")
        # Every fifth one was made by a person: it has no job, and the disclaimer of its run.
        job = None if number % 5 == 0 else factories.JobFactory(run=cell.run, cell=cell, endpoint=endpoints[number % 2])
        version = factories.AssetVersionFactory(asset=asset, job=job)
        for place, slug in enumerate(SPECS):
            if number >> place & 1:
                factories.RenditionFactory(version=version, output_spec=specs[campaign.slug, slug])
        Asset.objects.filter(pk=asset.pk).update(current_version=version)
        factories.DeliveryFactory(asset=asset, version=version, destination=_shop(brand))
        versions.append(version.pk)
    rows = AssetVersion.objects.filter(pk__in=versions).prefetch_related("renditions__output_spec")
    return list(rows.select_related("asset__campaign", "asset__subject", "job__endpoint", "asset__cell__run__endpoint"))


def _shop(brand: Brand) -> Any:
    return Destination.objects.filter(brand=brand).first() or factories.DestinationFactory(brand=brand)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_rules=st.lists(rule, max_size=4))
def test_one_image_and_the_query_agree(images: list[Any], given_rules: list[dict[str, str]]) -> None:
    rules = Rules.read(given_rules)
    specs = {version.pk: [row.output_spec.slug for row in version.renditions.all()] for version in images}
    expected = {version.asset_id for version in images if rules.sends(selectors.facts_of(version), specs[version.pk])}
    assert set(selectors.filter_sent(Asset.objects.all(), rules).values_list("pk", flat=True)) == expected
    rows = Delivery.objects.all()
    kept_back = selectors.filter_kept_back(rows, rules, asset="asset__", version="version")
    assert set(rows.values_list("asset_id", flat=True)) - set(kept_back.values_list("asset_id", flat=True)) == expected


def test_the_samples_differ_enough(images: list[Any]) -> None:
    for conditions in ({"campaign": "autumn"}, {"kind": "article"}, {"category": "Mugs"}, {"disclaimer": "with"},
                       {"disclaimer": "demo model"}, {"spec": "web"}):  # fmt: skip
        count = selectors.filter_sent(Asset.objects.all(), Rules.read([conditions])).count()
        assert 0 < count < len(images), conditions


@pytest.mark.parametrize(
    ("rules", "sent"),
    [
        ([], {"web", "print"}),
        ([{"spec": "web"}], {"web"}),
        ([{"effect": "never", "spec": "web"}], {"print"}),
        ([{"campaign": "autumn"}, {"effect": "never", "category": "Mugs"}], set()),
        ([{"campaign": "winter"}, {"spec": "print", "category": "Mugs"}], {"print"}),
        ([{"category": "Bowls"}], set()),
    ],
)
def test_only_the_files_that_the_rules_send_are_delivered(
    rules: Any, sent: set[str], brand: Brand, folder: Destination, reviewer: User
) -> None:
    Destination.objects.update(rules=rules)
    approve(brand, reviewer, specs=("web", "print"), category="Mugs")
    assert Delivery.objects.count() == (1 if sent else 0)
    deliveries.attempt_due()
    assert specs_in(folder) == sent


def test_what_was_queued_before_the_rules_changed_is_not_sent(
    brand: Brand, folder: Destination, reviewer: User, lead: User
) -> None:
    approve(brand, reviewer, specs=("web", "print"))
    set_rules(folder, lead, {"effect": "never", "campaign": "autumn"})
    deliveries.attempt_due()
    delivery = Delivery.objects.get()
    assert delivery.observed == "failed" and "do not send this image" in delivery.error and not specs_in(folder)
    assert find_mend(lead, brand) == "open"
    set_rules(folder, lead, {"effect": "send", "campaign": "autumn"})
    assert find_mend(lead, brand) == "retry"


def find_mend(user: User, brand: Brand) -> str:
    return deliveries_shown.find_mend(deliveries_shown.get(user, brand, Delivery.objects.get().pk))


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "place", "words"),
    [
        ({"campaign": "autumn"}, "rules", "Give a list"),
        (["autumn"], "rules/0", "Give an object"),
        ([{"campaign": "autumn"}, {"campaign": "autum"}], "rules/1/campaign", "no campaign 'autum'"),
        ([{"spec": "poster"}], "rules/0/spec", "has an output spec 'poster'"),
        ([{"category": "Shoes"}], "rules/0/category", "has the category 'Shoes'"),
        ([{"kind": "film"}], "rules/0/kind", "no kind 'film'"),
        ([{"disclaimer": "AI"}], "rules/0/disclaimer", "has the disclaimer 'AI'"),
        ([{"effect": "maybe", "kind": "product"}], "rules/0/effect", "send, never"),
        ([{"colour": "red"}], "rules/0/colour", "no setting 'colour'"),
        ([{"effect": "never"}], "rules/0", "Say which images"),
        ([{"campaign": ""}], "rules/0/campaign", "Leave it out"),
        ([{"campaign": 3}], "rules/0/campaign", "Write a text"),
        ([{"kind": "product"}] * 51, "rules", "at most 50"),
    ],
)
def test_mistakes_are_named_with_their_place(
    rules: Any, place: str, words: str, brand: Brand, folder: Destination, reviewer: User, lead: User
) -> None:
    approve(brand, reviewer, category="Mugs")
    before = folder.rules
    with pytest.raises(Invalid) as refusal:
        destinations.change(destination_id=folder.pk, by=lead, rules=rules)
    assert refusal.value.problems[0].pointer == place and words in refusal.value.problems[0].message
    folder.refresh_from_db()
    assert folder.rules == before


def test_a_kept_rule_may_name_what_is_gone(brand: Brand, folder: Destination, reviewer: User, lead: User) -> None:
    approve(brand, reviewer, category="Mugs")
    kept = {"effect": "send", "category": "Mugs"}
    set_rules(folder, lead, kept)
    Subject.objects.update(attributes={})
    assert set_rules(folder, lead, kept, {"campaign": "autumn"}).rules == [
        kept,
        {"effect": "send", "campaign": "autumn"},
    ]
    event = Event.objects.filter(type="review.destination.saved").order_by("id").last()
    assert event and event.payload["rules"][1]["campaign"] == "autumn"


# -- rules and what is there -------------------------------------------------------------------------------------------


def test_what_the_rules_exclude_stays_until_a_person_recalls_it(
    brand: Brand, folder: Destination, reviewer: User, manager: User, lead: User, viewer: User
) -> None:
    approve(brand, reviewer)
    approve(brand, reviewer, campaign="winter")
    deliveries.attempt_due()
    set_rules(folder, lead, {"campaign": "winter"})
    folder.refresh_from_db()
    assert selectors.excluded_deliveries(folder).count() == 1 and not selectors.missing_images(folder).exists()
    assert deliveries.attempt_due() == 0 and Delivery.objects.filter(observed="present").count() == 2
    with pytest.raises(NotAllowed):
        delivery_rules.request_update(destination_id=folder.pk, kind="recall", by=viewer)
    update = delivery_rules.request_update(destination_id=folder.pk, kind="recall", by=manager)
    assert update.done == 1 and update.ended_at
    assert deliveries.attempt_due() == 1
    taken = Delivery.objects.get(observed="absent")
    assert taken.absence == "rules" and taken.asset.campaign.slug == "autumn"
    assert not selectors.excluded_deliveries(folder).exists()
    set_rules(folder, lead)  # the rules go, and what they excluded is missing
    folder.refresh_from_db()
    assert selectors.missing_images(folder).get().pk == taken.asset_id
    assert delivery_rules.request_update(destination_id=folder.pk, kind="send", by=manager).done == 1
    assert deliveries.attempt_due() == 1 and Delivery.objects.filter(observed="present", absence="").count() == 2


def test_missing_are_images_approved_before_but_not_those_that_a_person_took_down(
    brand: Brand, folder: Destination, reviewer: User, manager: User, lead: User
) -> None:
    by_hand = approve(brand, reviewer)
    deliveries.attempt_due()
    delivery_requests.recall(brand=brand, chosen=Delivery.objects.all(), by=manager)
    Destination.objects.update(is_enabled=False)
    early = approve(brand, reviewer)
    Destination.objects.update(is_enabled=True, needs_release=True)
    pending = create_image_in_review(brand)
    decisions.approve(**decision_arguments(pending), by=reviewer)  # can still be undone for 30 s
    create_image_in_review(brand)
    folder.refresh_from_db()
    assert list(selectors.missing_images(folder)) == [early]
    delivery_rules.request_update(destination_id=folder.pk, kind="send", by=manager)
    made = Delivery.objects.get(asset=early)
    assert not made.is_released and made.due_at is None
    event = Event.objects.filter(type="review.delivery.wanted").order_by("id").last()
    assert event and event.payload["cause"] == "missing there" and event.actor_id == manager.pk
    assert Delivery.objects.get(asset=by_hand).absence == "hand"


def test_many_are_sent_in_chunks(
    monkeypatch: pytest.MonkeyPatch, brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    monkeypatch.setattr(delivery_rules, "CHUNK", 2)
    Destination.objects.update(is_enabled=False)
    for _ in range(5):
        approve(brand, reviewer)
    Destination.objects.update(is_enabled=True)
    update = delivery_rules.request_update(destination_id=folder.pk, kind="send", by=manager)
    assert (update.done, update.ended_at) == (2, None) and Delivery.objects.count() == 2
    again = delivery_rules.request_update(destination_id=folder.pk, kind="send", by=manager)
    assert again.pk == update.pk and again.done == 2, "a second click changes nothing"


@pytest.mark.django_db(transaction=True)
def test_the_periodic_task_ends_what_was_begun(
    monkeypatch: pytest.MonkeyPatch, brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    monkeypatch.setattr(delivery_rules, "CHUNK", 2)
    Destination.objects.update(is_enabled=False)
    assets = [approve(brand, reviewer) for _ in range(5)]
    Destination.objects.update(is_enabled=True)
    delivery_rules.request_update(destination_id=folder.pk, kind="send", by=manager)
    decisions.revoke(asset_id=assets[3].pk, by=factories.MembershipFactory(brand=brand, role="lead").user, note="no")
    assert delivery_rules.continue_updates() == 2
    update = DestinationUpdate.objects.get()
    assert update.done == 4 and update.ended_at and delivery_rules.continue_updates() == 0
    assert set(Delivery.objects.values_list("asset_id", flat=True)) == {
        asset.pk for index, asset in enumerate(assets) if index != 3
    }


def test_the_number_of_queries_does_not_grow_with_the_images(
    brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    counts = []
    for count in (1, 4):
        Destination.objects.update(is_enabled=False)
        for _ in range(count):
            approve(brand, reviewer)
        Destination.objects.update(is_enabled=True)
        with CaptureQueriesContext(connection) as queries:
            delivery_rules.request_update(destination_id=folder.pk, kind="send", by=manager)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_an_excluded_image_that_is_approved_again_stays_as_it_was(
    brand: Brand, folder: Destination, reviewer: User, lead: User
) -> None:
    asset = approve(brand, reviewer)
    deliveries.attempt_due()
    set_rules(folder, lead, {"effect": "never", "campaign": "autumn"})
    decisions.reopen(asset_id=asset.pk, by=lead, note="again")
    deliveries.attempt_due()
    assert Delivery.objects.get().observed == "absent", "it is no longer approved"
    decisions.approve(**decision_arguments(ReviewTask.objects.get()), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    assert deliveries.attempt_due() == 0 and Delivery.objects.get().desired == "absent"


def test_rules_as_json_leave_out_what_is_empty() -> None:
    assert Rule.read({"campaign": "autumn"}).as_json() == {"effect": "send", "campaign": "autumn"}


# -- the API -----------------------------------------------------------------------------------------------------------


def test_the_api_reads_and_replaces_rules(
    brand: Brand, folder: Destination, reviewer: User, lead: User, viewer: User, api_client: Any
) -> None:
    approve(brand, reviewer)
    address, rules = f"/api/v1/destinations/{folder.pk}/", [{"effect": "never", "campaign": "autumn"}]
    sent: dict[str, Any] = {"format": "json", "headers": {"If-Match": "*"}}
    answer = api_client(lead).patch(address, {"rules": rules}, **sent)
    assert answer.status_code == 200 and answer.json()["rules"] == rules
    assert api_client(viewer).get(address).json()["rules"] == rules
    assert api_client(viewer).patch(address, {"rules": []}, **sent).status_code == 403
    answer = api_client(lead).patch(address, {"rules": [{"campaign": "autum"}]}, **sent)
    assert answer.status_code == 422 and "rules/0/campaign" in str(answer.json())
    assert api_client(lead).patch(address, {"rules": "all"}, **sent).status_code == 422
    folder.refresh_from_db()
    assert folder.rules == rules
