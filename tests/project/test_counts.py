"""Test that counts miss no state: live images count as approved, stale ones wait, products count per campaign."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Subject
from campaigns.selectors import readiness
from core.models import Brand, User
from generation.models import Asset
from generation.selectors import coverage, runs
from review.models import Delivery, ReviewTask
from review.services import queue
from tests.support import factories
from tests.support.approved_images import create_approved_image, create_product
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]
DELIVERED = {
    "not delivered yet": ("present", "absent"),
    "being sent": ("present", "sending"),
    "live": ("present", "present"),
    "failed": ("present", "failed"),
    "taken away": ("absent", "absent"),
}


@pytest.mark.parametrize("case", DELIVERED)
def test_approved_images_can_be_downloaded_whether_they_are_live_or_not(
    case: str, brand: Brand, manager: User, reviewer: User, integrator: User, page_client: Pages
) -> None:
    image = create_approved_image(brand, create_product(brand), manager, reviewer)
    destination = factories.DestinationFactory(brand=brand)
    Delivery.objects.filter(asset=image).delete()
    desired, observed = DELIVERED[case]
    factories.DeliveryFactory(
        asset=image, destination=destination, version=image.current_version, desired=desired, observed=observed
    )
    assert coverage.summary(image.campaign).approved == 1
    page = page_client(integrator).get(reverse("campaign", args=[brand.slug, image.campaign.slug])).content.decode()
    assert "Download approved" in page


@pytest.mark.parametrize("asset_state", ["in_review", "making", "rejected", "failed", "revoked"])
def test_nothing_is_offered_for_download_where_nothing_is_approved(
    asset_state: str, brand: Brand, manager: User, reviewer: User
) -> None:
    image = create_approved_image(brand, create_product(brand), manager, reviewer)
    Asset.objects.filter(pk=image.pk).update(state=asset_state)
    assert coverage.summary(image.campaign).approved == 0


def test_the_funnel_counts_stale_images_as_waiting_and_as_approved_before(
    brand: Brand, manager: User, reviewer: User
) -> None:
    image = create_approved_image(brand, create_product(brand), manager, reviewer)
    for asset_state, approved_count, to_review, decided in (
        ("approved", 1, 0, 1), ("stale", 1, 1, 1), ("in_review", 0, 1, 0), ("revoked", 0, 0, 1), ("rejected", 0, 0, 1),
        ("revising", 0, 0, 1),
    ):  # fmt: skip
        Asset.objects.filter(pk=image.pk).update(state=asset_state)
        funnel = runs.funnel(image.cell.run)
        assert (funnel.approved, funnel.to_review, funnel.decided) == (approved_count, to_review, decided), asset_state


# -- readiness -------------------------------------------------------------------------------------------------------


def small_mug(brand: Brand) -> Subject:
    """Return a product of 400 × 400 px in its photo: enough for a small spec, too small for a large one."""
    subject: Subject = factories.SubjectFactory(brand=brand)
    photo = factories.ReferencePhotoFactory(subject=subject)
    factories.CutoutFactory(photo=photo, box=[0, 0, 400, 400])
    return subject


def campaign(brand: Brand, side: int, *subjects: Subject, **fields: Any) -> Any:
    made = factories.CampaignFactory(brand=brand, subjects=list(subjects), **fields)
    factories.OutputSpecFactory(campaign=made, width=side, height=side)
    return made


MEMBERS: dict[str, tuple[list[tuple[int, bool, bool]], str]] = {
    "in no campaign": ([(3000, False, False)], "ready"),
    "in a small one, beside a large one": ([(400, True, False), (3000, False, False)], "ready"),
    "in a large one": ([(400, False, False), (3000, True, False)], "small"),
    "in both": ([(400, True, False), (3000, True, False)], "small"),
    "in a large sandbox": ([(400, True, False), (3000, True, True)], "ready"),
    "without any campaign there": ([], "ready"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_a_product_is_counted_by_the_campaigns_that_it_is_in(
    case: str, brand: Brand, manager: User, page_client: Pages
) -> None:
    mug = small_mug(brand)
    memberships, expected = MEMBERS[case]
    for side, is_member, is_sandbox in memberships:
        campaign(brand, side, *([mug] if is_member else []), is_sandbox=is_sandbox)
    result = readiness.assess([mug], specs=readiness.specs_by_subject([mug.pk]))[mug.pk]
    assert result.state == expected
    assert readiness.count_by_state(brand, "product")[expected] == 1
    assert list(Subject.objects.filter(pk__in=readiness.ids_sql(brand, "product", expected))) == [mug]
    page = page_client(manager).get(reverse("products", args=[brand.slug]), {"ready": expected}).content.decode()
    assert mug.key in page


def test_the_counts_of_a_campaigns_products_leave_out_the_others(brand: Brand) -> None:
    inside, outside = small_mug(brand), small_mug(brand)
    small = campaign(brand, 400, inside)
    campaign(brand, 3000, outside)
    assert readiness.count_by_state(brand, "product", campaign_id=small.pk) == {
        "ready": 1,
        "look": 0,
        "missing": 0,
        "small": 0,
    }
    assert readiness.count_by_state(brand, "product") == {"ready": 1, "look": 0, "missing": 0, "small": 1}


# -- what waits ------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(brand: Brand) -> list[ReviewTask]:
    owner = factories.CampaignFactory(brand=brand)
    return [create_image_in_review(brand, campaign=owner) for _ in range(3)]


@pytest.mark.parametrize("role", ["viewer", "designer", "campaign_manager", "integrator"])
def test_home_says_that_images_wait_also_to_those_who_may_not_decide(
    role: str, brand: Brand, waiting: list[ReviewTask], person: Callable[..., User], page_client: Pages
) -> None:
    page = page_client(person(role)).get(reverse("brand_home", args=[brand.slug])).content.decode()
    assert "3 images wait for other reviewers." in page
    assert "Nothing waits" not in page


def test_the_review_page_says_that_others_hold_what_waits(
    brand: Brand, waiting: list[ReviewTask], person: Callable[..., User], page_client: Pages
) -> None:
    queue.claim_batch(brand=brand, by=person("reviewer"))
    page = page_client(person("reviewer")).get(reverse("review", args=[brand.slug])).content.decode()
    assert "Nothing waits" not in page
    assert "3 images wait for other reviewers." in page
    home = page_client(person("reviewer")).get(reverse("brand_home", args=[brand.slug])).content.decode()
    assert "3 images wait for other reviewers." in home


def test_the_review_page_says_that_a_second_decision_is_wanted(
    brand: Brand, waiting: list[ReviewTask], reviewer: User, page_client: Pages
) -> None:
    for task in waiting:
        decision = factories.DecisionFactory(task=task, version=task.asset.current_version, decided_by=reviewer)
        task.slots.update(decision=decision)
    page = page_client(reviewer).get(reverse("review", args=[brand.slug])).content.decode()
    assert "3 images wait for other reviewers." in page
    assert "need a second one" in page


def test_a_claim_that_ran_out_holds_nothing(
    brand: Brand, waiting: list[ReviewTask], reviewer: User, person: Callable[..., User], page_client: Pages
) -> None:
    queue.claim_batch(brand=brand, by=person("reviewer"))
    ReviewTask.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    page = page_client(reviewer).get(reverse("review", args=[brand.slug])).content.decode()
    assert "Start reviewing" in page


def test_an_empty_queue_still_says_so(brand: Brand, reviewer: User, page_client: Pages) -> None:
    page = page_client(reviewer).get(reverse("review", args=[brand.slug])).content.decode()
    assert "Nothing waits for review" in page
