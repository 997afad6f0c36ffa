"""Tests of stale images on pages and in the API: the causes, the choice when publishing, the brand's setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from campaigns.models import Subject
from campaigns.services import guides, photos
from core.models import Brand, Event, User
from generation.models import Asset
from review.api.serializers import TaskDetailSerializer
from review.models import ReviewTask
from review.services import checklists
from tests.support.approved_images import create_approved_image, create_product, import_products
from tests.support.images_in_review import decision_arguments

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]
Api = Callable[[User], APIClient]


@pytest.fixture
def mug(brand: Brand) -> Subject:
    return create_product(brand)


@pytest.fixture
def image(brand: Brand, mug: Subject, manager: User, reviewer: User) -> Asset:
    return create_approved_image(brand, mug, manager, reviewer)


@pytest.fixture
def stale(brand: Brand, image: Asset, mug: Subject, manager: User) -> Asset:
    import_products(brand, manager, ("MUG-1", "Mug", "<teal>", "stoneware", "12.90"))
    photos.remove(photo_id=mug.photos.get().pk, by=manager)
    return image


def state(image: Asset) -> str:
    return str(Asset.objects.get(pk=image.pk).state)


@pytest.mark.parametrize("place", ["asset", "task_sidebar"])
def test_the_reviewer_reads_why_an_image_is_stale(
    place: str, brand: Brand, stale: Asset, reviewer: User, page_client: Pages
) -> None:
    pk = stale.pk if place == "asset" else ReviewTask.objects.get(asset=stale).pk
    page = page_client(reviewer).get(reverse(place, args=[brand.slug, pk])).content.decode()
    assert "Colour changed from sage to &lt;teal&gt;." in page
    assert "The product photo was removed on " in page
    assert "It stays published until you decide." in page


def test_the_api_of_a_task_says_what_changed_and_its_schema_names_all_that_it_answers(
    stale: Asset, reviewer: User, api_client: Api
) -> None:
    task = ReviewTask.objects.get(asset=stale)
    answer = api_client(reviewer).get(reverse("api:task-detail", args=[task.pk])).json()
    assert answer["changed"][-1] == "colour changed from sage to <teal>."
    assert set(answer) == set(TaskDetailSerializer.Meta.fields)
    assert [candidate["seen"] for candidate in answer["candidates"]] == [decision_arguments(task)["seen"]]


def test_an_image_without_a_change_shows_no_cause(
    brand: Brand, image: Asset, reviewer: User, page_client: Pages
) -> None:
    page = page_client(reviewer).get(reverse("asset", args=[brand.slug, image.pk])).content.decode()
    assert "look at it again" not in page


@pytest.mark.parametrize("choice", [{}, {"look_again": "no"}, {"look_again": "yes"}], ids=str)
def test_the_guide_page_asks_its_author_with_the_number(
    choice: dict[str, str], brand: Brand, image: Asset, lead: User, page_client: Pages
) -> None:
    guides.edit_draft(brand=brand, by=lead, light="left")
    client = page_client(lead)
    page = client.get(reverse("guide_edit", args=[brand.slug])).content.decode()
    assert "Also have the 1 approved image looked at again" in page
    answer = client.post(reverse("guide_publish", args=[brand.slug]), choice, follow=True).content.decode()
    again = choice.get("look_again") == "yes"
    assert state(image) == ("stale" if again else "approved")
    assert ("1 approved image goes back to review." in answer) is again


@pytest.mark.parametrize("body", [{}, {"look_again": False}, {"look_again": True}], ids=str)
def test_the_api_of_the_guide_says_the_number_and_takes_the_choice(
    body: dict[str, Any], brand: Brand, image: Asset, lead: User, api_client: Api
) -> None:
    guides.edit_draft(brand=brand, by=lead, light="left")
    address = reverse("api:guide-publish", args=[brand.slug])
    client = api_client(lead)
    assert client.get(address).json() == {"draft": 1, "approved_images": 1}
    assert client.post(address, body, format="json").status_code == 200
    assert state(image) == ("stale" if body.get("look_again") else "approved")


@pytest.mark.parametrize("body", [{}, {"look_again": False}, {"look_again": True}], ids=str)
def test_the_api_of_a_checklist_says_the_number_and_takes_the_choice(
    body: dict[str, Any], brand: Brand, image: Asset, lead: User, api_client: Api
) -> None:
    checklist = checklists.get_or_create_version(brand_id=brand.pk).checklist
    client, address = api_client(lead), reverse("api:checklist-publish", args=[checklist.pk])
    assert client.get(address).json() == {"number": 2, "approved_images": 1}
    items = [{"code": "handle", "sentence": "The handle is on the right."}]
    made = client.post(address, {"items": items, **body}, format="json")
    assert (made.status_code, made.json()["number"], made.json()["items"][0]["code"]) == (201, 2, "handle")
    assert state(image) == ("stale" if body.get("look_again") else "approved")


@pytest.mark.parametrize("role", ["viewer", "reviewer", "integrator", "campaign_manager", "designer"])
def test_only_who_may_edit_checklists_publishes_one(
    role: str, brand: Brand, image: Asset, person: Callable[..., User], api_client: Api
) -> None:
    checklist = checklists.get_or_create_version(brand_id=brand.pk).checklist
    answer = api_client(person(role)).post(
        reverse("api:checklist-publish", args=[checklist.pk]), {"items": [], "look_again": True}, format="json"
    )
    assert (answer.status_code, state(image)) == (403, "approved")


@pytest.mark.parametrize("choice", ["no", "yes"])
def test_the_admin_page_of_a_checklist_asks_with_the_number(
    choice: str, brand: Brand, image: Asset, page_client: Pages, person: Callable[..., User]
) -> None:
    operator = person("lead", is_staff=True, is_superuser=True)
    checklist = checklists.get_or_create_version(brand_id=brand.pk).checklist
    address = reverse("admin:review_checklist_change", args=[checklist.pk])
    client = page_client(operator)
    assert "Also have the 1 approved image looked at again" in client.get(address).content.decode()
    items = '[{"code": "a", "sentence": "It is sharp.", "mode": "by_exception"}]'
    assert client.post(address, {"items": items, "look_again": choice}).status_code == 302
    assert state(image) == ("stale" if choice == "yes" else "approved")


@pytest.mark.parametrize("choice", ["keep", "withdraw"])
def test_a_lead_chooses_on_the_page_of_deliveries_what_happens_to_stale_images(
    choice: str, brand: Brand, lead: User, page_client: Pages
) -> None:
    client = page_client(lead)
    page = client.get(reverse("deliveries", args=[brand.slug])).content.decode()
    assert "Keep published until decided" in page
    client.post(reverse("stale_use", args=[brand.slug]), {"stale_use": choice})
    brand.refresh_from_db()
    assert brand.stale_use == choice
    changed = Event.objects.filter(type="core.brand.stale_use_set").count()
    assert changed == (1 if choice == "withdraw" else 0)


@pytest.mark.parametrize(
    ("role", "body", "status"),
    [
        ("lead", {"stale_use": "withdraw"}, 200), ("admin", {"stale_use": "withdraw"}, 200),
        ("lead", {"stale_use": "burn"}, 422), ("lead", {"stale_use": None}, 422),
        ("viewer", {"stale_use": "keep"}, 403),
        ("integrator", {"stale_use": "withdraw"}, 403), ("lead", {"slug": "other"}, 200),
    ],
)  # fmt: skip
def test_the_api_takes_the_brands_choice(
    role: str, body: dict[str, Any], status: int, brand: Brand, person: Callable[..., User], api_client: Api
) -> None:
    client, address = api_client(person(role)), reverse("api:brand-detail", args=[brand.slug])
    assert client.patch(address, body, format="json").status_code in {428, status}
    answer = client.patch(address, body, format="json", headers={"If-Match": client.get(address)["ETag"]})
    assert answer.status_code == status
    before = brand.slug
    brand.refresh_from_db()
    assert brand.stale_use == ("withdraw" if status == 200 and "stale_use" in body else "keep")
    assert brand.slug == before
