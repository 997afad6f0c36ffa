"""Test the pages of destinations: the list, kinds, forms with write-only secrets, tests, dry runs, on and off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from core.errors import NotAllowed
from core.models import Brand, Event, User
from generation.models import Asset
from review.delivery import base
from review.delivery.base import DeliveryError
from review.delivery.hot_folder.base import HotFolder
from review.models import Delivery, DeliveryStep, Destination
from review.services import destination_checks, destinations
from tests.support import factories
from tests.support.approved_images import approve_task
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]
SHOPIFY = {"setting_url": "https://acme.myshopify.com", "setting_client_id": "app"}


@pytest.fixture
def folder(brand: Brand, lead: User, tmp_path: Path) -> Destination:
    path = tmp_path / brand.slug / "shop"
    path.mkdir(parents=True)
    return destinations.create(
        brand=brand, by=lead, slug="shop", name="Shop folder", kind="folder", config={"path": str(path)}
    )


class Probe(base.Destination):
    """A destination whose answers the test chooses."""

    kind, label, config = "probe", "Probe", base.Config
    answer: Any = ()

    def test_connection(self, session: base.Session) -> list[str]:
        return self._give()

    def plan(self, package: base.Package, session: base.Session) -> list[str]:
        assert session.journal.steps() == [] and session.journal.before is None
        with pytest.raises(DeliveryError):
            session.journal.once("file", dict, dict)
        session.limiter.wait(1)
        return [f"Send {file.name}." for file in package.files] + self._give()

    def _give(self) -> list[str]:
        if isinstance(Probe.answer, Exception):
            raise Probe.answer
        return list(Probe.answer)


@pytest.fixture
def probe(brand: Brand) -> Iterator[Destination]:
    base.DESTINATIONS.register("probe", Probe)
    Probe.answer = ()
    yield factories.DestinationFactory(brand=brand, kind="probe")
    base.DESTINATIONS.remove("probe")


# -- the list and the kinds --------------------------------------------------------------------------------------------


def test_the_list_says_what_is_off_and_how_deliveries_stand(
    brand: Brand, folder: Destination, viewer: User, page_client: Pages
) -> None:
    off = factories.DestinationFactory(brand=brand, is_enabled=False, disabled_reason="The hook answered 410 Gone.")
    for observed in ("present", "failed", "failed"):
        asset = create_image_in_review(brand).asset
        fields = {"version": asset.current_version, "error": "500." if observed == "failed" else ""}
        factories.DeliveryFactory(asset=asset, destination=folder, observed=observed, **fields)
    page = page_client(viewer).get(reverse("destinations", args=[brand.slug])).content.decode()
    for words in ("Shop folder", off.name, "410 Gone", "<b>2</b> failed", "<b>1</b> live", "Folder on the server"):
        assert words in page, words
    assert "New destination" not in page


def test_the_list_costs_the_same_for_any_number_of_destinations(
    brand: Brand, folder: Destination, lead: User, page_client: Pages
) -> None:
    client, address = page_client(lead), reverse("destinations", args=[brand.slug])
    client.get(address)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            client.get(address)
        counts.append(len(queries))
        for _more in range(6):
            factories.DestinationFactory(brand=brand)
    assert counts[0] == counts[1] <= 9, counts


def test_a_destination_costs_the_same_for_any_number_of_rules_and_deliveries(
    brand: Brand, folder: Destination, lead: User, reviewer: User, page_client: Pages
) -> None:
    client, address = page_client(lead), reverse("destination", args=[brand.slug, folder.pk])
    counts = []
    for size in (1, 6):
        destinations.change(destination_id=folder.pk, by=lead, rules=[{"effect": "send", "kind": "product"}] * size)
        for _more in range(size):
            approve_task(create_image_in_review(brand), reviewer)
        client.get(address)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).context["preview"].count
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 19, counts


def test_without_a_destination_a_lead_is_led_to_the_kinds(
    brand: Brand, lead: User, viewer: User, page_client: Pages
) -> None:
    link = reverse("destination_kinds", args=[brand.slug])
    for name in ("destinations", "deliveries"):
        assert link in page_client(lead).get(reverse(name, args=[brand.slug])).content.decode()
        assert link not in page_client(viewer).get(reverse(name, args=[brand.slug])).content.decode()


def test_every_kind_is_offered_with_what_it_needs(brand: Brand, lead: User, page_client: Pages) -> None:
    page = page_client(lead).get(reverse("destination_kinds", args=[brand.slug])).content.decode()
    for kind in base.DESTINATIONS:
        assert escape(kind.description) in page and kind.description.endswith(".")
        assert reverse("destination_new", args=[brand.slug, kind.kind]) in page
        assert page_client(lead).get(reverse("destination_new", args=[brand.slug, kind.kind])).status_code == 200
    assert "Address of the shop" in page and "shpat_" in page
    assert page_client(lead).get(reverse("destination_new", args=[brand.slug, "fax"])).status_code == 404


# -- forms -------------------------------------------------------------------------------------------------------------


def test_a_destination_is_set_up_and_its_secret_is_never_shown(brand: Brand, lead: User, page_client: Pages) -> None:
    client = page_client(lead)
    address = reverse("destination_new", args=[brand.slug, "shopify"])
    given = {"name": "Main shop", "slug": "main", "secret": "shpat_hush", "needs_release": "on", **SHOPIFY}
    answer = client.post(address, given)
    made = Destination.objects.get()
    assert answer["Location"] == reverse("destination", args=[brand.slug, made.pk])
    assert (made.secret, made.needs_release, made.config["client_id"]) == ("shpat_hush", True, "app")
    page = client.get(answer["Location"]).content.decode()
    assert "shpat_hush" not in page and "One is kept" in page
    assert "hush" not in str(Event.objects.get(type="review.destination.saved").payload)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"setting_url": ""}, "own address"),
        ({"setting_find_by": "smell"}, "smell is not one of the available choices"),
        ({"setting_position": "first"}, "Give a whole number"),
        ({"secret": ""}, "Expected one."),
        ({"slug": "taken"}, "has a destination"),
        ({"slug": "two words"}, "slug"),
        ({"name": ""}, "required"),
    ],
)
def test_a_mistake_is_shown_beside_its_field(
    change: dict[str, str], words: str, brand: Brand, lead: User, page_client: Pages
) -> None:
    factories.DestinationFactory(brand=brand, slug="taken")
    given = {"name": "Main shop", "slug": "main", "secret": "shpat_hush", **SHOPIFY} | change
    answer = page_client(lead).post(reverse("destination_new", args=[brand.slug, "shopify"]), given)
    assert answer.status_code == 422 and words in answer.content.decode()
    assert "shpat_hush" not in answer.content.decode()
    assert Destination.objects.count() == 1


def test_settings_are_changed_and_an_empty_secret_stays(brand: Brand, lead: User, page_client: Pages) -> None:
    made = destinations.create(
        brand=brand, by=lead, slug="main", name="Main", kind="shopify", secret="shpat_hush",
        config={"url": "https://acme.myshopify.com", "client_id": "app"},
    )  # fmt: skip
    client, address = page_client(lead), reverse("destination", args=[brand.slug, made.pk])
    answer = client.post(address, {"name": "Shop", "setting_position": "1", **SHOPIFY})
    assert answer.status_code == 302
    made.refresh_from_db()
    assert (made.name, made.config["position"], made.secret) == ("Shop", 1, "shpat_hush")
    client.post(address, {"name": "Shop", "setting_position": "1", "secret": "shpat_new", **SHOPIFY})
    made.refresh_from_db()
    assert made.secret == "shpat_new"
    moved = client.post(address, {"name": "Shop", **SHOPIFY, "setting_url": "https://other.myshopify.com"})
    assert moved.status_code == 422 and "Enter the keys again" in moved.content.decode()
    made.refresh_from_db()
    assert made.config["url"] == "https://acme.myshopify.com"


def test_a_kind_that_is_gone_can_still_be_renamed(brand: Brand, lead: User, page_client: Pages) -> None:
    made = factories.DestinationFactory(brand=brand, kind="fax", config={"number": 7})
    client, address = page_client(lead), reverse("destination", args=[brand.slug, made.pk])
    assert "No plug-in for “fax”" in client.get(address).content.decode()
    assert client.post(address, {"name": "Old fax"}).status_code == 302
    made.refresh_from_db()
    assert (made.name, made.config) == ("Old fax", {"number": 7})


def test_only_leads_change_destinations(brand: Brand, folder: Destination, manager: User, page_client: Pages) -> None:
    client, address = page_client(manager), reverse("destination", args=[brand.slug, folder.pk])
    page = client.get(address).content.decode()
    assert "Test connection" in page and "setting_path" not in page and "Switch off" not in page
    assert client.post(address, {"name": "Mine"}).status_code == 403
    assert client.post(reverse("destination_switch", args=[brand.slug, folder.pk, "off"])).status_code == 403
    assert client.get(reverse("destination_kinds", args=[brand.slug])).status_code == 403


def test_a_destination_is_switched_off_and_on(
    brand: Brand, folder: Destination, lead: User, page_client: Pages
) -> None:
    client = page_client(lead)
    page = client.post(reverse("destination_switch", args=[brand.slug, folder.pk, "off"]), follow=True).content.decode()
    assert "nothing is sent there" in page and "A person switched it off." in page
    client.post(reverse("destination_switch", args=[brand.slug, folder.pk, "on"]))
    folder.refresh_from_db()
    assert folder.is_enabled
    assert client.post(reverse("destination_switch", args=[brand.slug, folder.pk, "sideways"])).status_code == 404


def test_one_that_may_not_be_used_is_not_switched_on(brand: Brand, lead: User, page_client: Pages) -> None:
    made = factories.DestinationFactory(brand=brand, is_enabled=False, config={"path": "/etc"})
    answer = page_client(lead).post(reverse("destination_switch", args=[brand.slug, made.pk, "on"]), follow=True)
    assert "cannot be used" in answer.content.decode()
    made.refresh_from_db()
    assert not made.is_enabled


# -- connection tests and dry runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "It answered, and all rights"),
        (["The app may not upload files."], "The app may not upload files."),
        (DeliveryError("No answer within 2 s."), "No answer within 2 s."),
        (KeyError("scopes"), "KeyError"),
    ],
)
def test_the_answer_of_a_connection_test_is_shown(
    answer: Any, words: str, brand: Brand, probe: Destination, manager: User, page_client: Pages
) -> None:
    Probe.answer = answer
    client, address = page_client(manager), reverse("destination_test", args=[brand.slug, probe.pk])
    part = client.post(address, headers={"HX-Request": "true"}).content.decode()
    assert words in part and "<html" not in part
    page = client.post(address).content.decode()
    assert words in page and "<html" in page


def test_a_kind_that_cannot_be_asked_says_so(
    brand: Brand, folder: Destination, manager: User, page_client: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HotFolder, "test_connection", base.Destination.test_connection)
    page = page_client(manager).post(reverse("destination_test", args=[brand.slug, folder.pk])).content.decode()
    assert "This kind of destination cannot be asked" in page
    Destination.objects.update(config={"path": "/etc"})
    page = page_client(manager).post(reverse("destination_test", args=[brand.slug, folder.pk])).content.decode()
    assert "cannot be asked" not in page and "note bad" in page


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_plans_the_next_three_assets_and_changes_nothing(
    brand: Brand, folder: Destination, manager: User, reviewer: User, page_client: Pages
) -> None:
    tasks = [create_image_in_review(brand) for _ in range(4)]
    approve_task(tasks[0], reviewer)
    Delivery.objects.all().delete()  # an image that the destination was never to have
    for task in tasks[1:]:
        approve_task(task, reviewer)
    live = Delivery.objects.order_by("pk").first()
    assert live is not None
    Delivery.objects.filter(pk=live.pk).update(observed="present", due_at=None)
    before = list(Delivery.objects.order_by("pk").values())
    planned = destination_checks.plan_next(destination_id=folder.pk, by=manager)
    assert [plan.asset.pk for plan in planned] == [tasks[3].asset_id, tasks[2].asset_id, live.asset_id]
    assert all(plan.sentences[0].startswith("Write ") and not plan.error for plan in planned)
    assert [plan.is_live for plan in planned] == [False, False, True]
    page = page_client(manager).post(reverse("destination_plan", args=[brand.slug, folder.pk])).content.decode()
    assert page.count("It is live there already.") == 1
    Delivery.objects.filter(pk=live.pk).delete()
    planned = destination_checks.plan_next(destination_id=folder.pk, by=manager)
    assert planned[2].asset.pk == tasks[1].asset_id and planned[2].sentences
    page = page_client(manager).post(reverse("destination_plan", args=[brand.slug, folder.pk])).content.decode()
    assert "This was a dry run" in page and "Write " in page
    assert list(Delivery.objects.order_by("pk").values()) == before[1:]
    assert not list(Path(folder.config["path"]).rglob("*")) and not DeliveryStep.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_shows_why_a_delivery_would_fail(
    brand: Brand, probe: Destination, manager: User, reviewer: User, page_client: Pages
) -> None:
    approve_task(create_image_in_review(brand), reviewer)
    address = reverse("destination_plan", args=[brand.slug, probe.pk])
    Probe.answer = DeliveryError("The shop has no product with the sku MUG-1.")
    assert "no product with the sku" in page_client(manager).post(address).content.decode()
    Asset.objects.update(state="revoked")
    assert "nothing to try" in page_client(manager).post(address).content.decode()


def test_tests_need_the_right_to_deliver(brand: Brand, probe: Destination, reviewer: User, page_client: Pages) -> None:
    client = page_client(reviewer)
    for name in ("destination_test", "destination_plan"):
        assert client.post(reverse(name, args=[brand.slug, probe.pk])).status_code == 403
    for service in (destination_checks.test_connection, destination_checks.plan_next):
        with pytest.raises(NotAllowed):
            service(destination_id=probe.pk, by=reviewer)
    assert "Test connection" not in client.get(reverse("destination", args=[brand.slug, probe.pk])).content.decode()


def test_a_destination_of_another_brand_does_not_exist(
    brand: Brand, other_brand: Brand, lead: User, page_client: Pages
) -> None:
    foreign = factories.DestinationFactory(brand=other_brand)
    client = page_client(lead)
    assert client.get(reverse("destination", args=[brand.slug, foreign.pk])).status_code == 404
    for name in ("destination_test", "destination_plan"):
        assert client.post(reverse(name, args=[brand.slug, foreign.pk])).status_code == 404
    assert client.post(reverse("destination_switch", args=[brand.slug, foreign.pk, "off"])).status_code == 404
