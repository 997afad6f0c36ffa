"""Test the destination "cloudinary" over a real socket: signatures, public ids, texts, addresses and its caches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.errors import Invalid
from review.choices import ObservedState
from review.delivery.cloudinary import sign
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations
from tests.support import library_deliveries
from tests.support import site_deliveries as support
from tests.support.cloudinary_server import CLOUD, CloudinaryServer, serving
from tests.support.library_deliveries import Start
from tests.support.marked_images import without_marks
from tests.support.site_deliveries import approve, delivery, finish, plan, revoke, textured
from tests.support.troubled_server import Trouble

pytestmark = pytest.mark.django_db(transaction=True)

UPLOADED = ("POST", "image/upload")


@pytest.fixture
def cloud(settings: Any) -> Iterator[CloudinaryServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as running:
        yield running


@pytest.fixture
def destination(cloud: CloudinaryServer, brand: Any, lead: Any) -> Destination:
    return support.create_destination(cloud, brand, lead, "cloudinary", cloud_name=CLOUD)


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return support.create_task(brand, textured(1), key="MUG-1")


def test_a_signature_is_that_of_the_sdk_and_no_value_is_taken_for_two_fields() -> None:
    fields = {"cloud_name": "dn6ot3ged", "timestamp": "1568810420", "username": "user@cloudinary.com"}
    expected = "45ddaa4fa01f0c2826f32f669d2e4514faf275fe6df053f1a150e7beae58a3bd"
    assert sign(fields, "hdcixPpR2iKERPwqvH6sHdK9cyac") == expected
    assert sign({"context": "alt=a&public_id=b"}, "s") != sign({"context": "alt=a", "public_id": "b"}, "s")


def test_an_image_is_uploaded_once_with_texts_and_tags_and_its_original_is_served(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    Delivery.objects.update(alt_text="A blue mug = 2 | 3, in use & full\nof tea")
    [sentence] = plan()
    finish()
    [image] = cloud.images.values()
    sha256 = task.asset.versions.get().renditions.get().marked_files.get().sha256
    assert image.public_id.endswith(f"-{task.asset_id}-{sha256[:8]}") and without_marks(image.content) == textured(1)
    assert sentence == f"Upload {image.public_id} (64 × 48 px)."
    assert image.context == {"alt": "A blue mug = 2 | 3, in use & full\nof tea", "caption": task.asset.subject.name}
    assert image.tags == ["MUG-1", task.asset.subject.brand.slug, task.asset.campaign.slug]
    [entry] = delivery().files
    assert (entry["id"], entry["url"]) == (image.public_id, f"{cloud.url}{image.path}")
    assert [report["outcome"] for report in delivery().verification] == ["same"]


def test_public_ids_begin_with_the_folder(
    cloud: CloudinaryServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    support.create_destination(cloud, brand, lead, "cloudinary", cloud_name=CLOUD, folder="shop/images")
    cloud.troubles = [Trouble(*UPLOADED, "lost")]
    approve(task, reviewer)
    finish()
    [public_id] = cloud.images
    assert public_id.startswith("shop/images/") and cloud.requests.count(UPLOADED) == 1
    revoke(task, lead)
    finish()
    assert cloud.images == {}


# -- recall and restore -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restores", [False, True])
def test_a_recall_deletes_the_image_in_the_caches_too_and_leaves_theirs(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any, restores: bool
) -> None:
    cloud.add_image("theirs")
    approve(task, reviewer)
    finish()
    assert textured(1) in map(without_marks, cloud.cached.values()), "verified, and so cached"
    [entry] = delivery().files
    revoke(task, lead, restores=restores)
    finish()
    assert delivery().observed == ObservedState.ABSENT and list(cloud.images) == ["theirs"]
    assert destinations.build_plugin(destination).read_delivered(entry) is None


def test_an_image_that_somebody_deleted_is_uploaded_again(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    cloud.images.clear()
    Delivery.objects.all().make_due()
    finish()
    assert cloud.count(textured(1)) == 1


def test_another_alternative_text_is_sent_without_another_upload_and_leaves_other_texts(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    [image] = cloud.images.values()
    image.context["photographer"] = "Ada"
    for text in ("Two mugs", "Three mugs", "Two mugs"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        Delivery.objects.all().make_due()
        finish()
        assert (image.context["alt"], image.context["photographer"]) == (text, "Ada")
    assert cloud.requests.count(UPLOADED) == 1


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=library_deliveries.PHASES)
def start(
    request: Any, cloud: CloudinaryServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> Start:
    cloud.add_image()
    return library_deliveries.prepare(request.param, cloud, brand, reviewer, lead)


def test_a_break_of_any_request_leaves_each_image_once(cloud: CloudinaryServer, start: Start) -> None:
    assert support.break_each_request(cloud, start) >= 6


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: Any) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


def test_an_upload_whose_answer_was_lost_is_found_and_not_sent_again(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    cloud.troubles = [Trouble(*UPLOADED, "late answer", 504)]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.UNCERTAIN
    finish()
    assert cloud.requests.count(UPLOADED) == 1 and cloud.count(textured(1)) == 1


def test_an_image_of_ours_that_is_there_already_is_kept_with_the_texts_of_now(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    [sentence] = plan()
    image = cloud.add_image(sentence.split()[1], textured(1))
    Delivery.objects.update(alt_text="A blue mug")
    finish()
    assert list(cloud.images.values()) == [image] and image.context["alt"] == "A blue mug"


def test_an_upload_that_was_never_recorded_is_recalled_all_the_same(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    cloud.troubles = [Trouble(*UPLOADED, "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert cloud.count(textured(1)) == 1
    revoke(task, lead)
    finish()
    assert cloud.images == {}


# -- errors and limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "words", "is_final"),
    [
        (Trouble(*UPLOADED, "answer", 400, body='{"error": {"message": "Invalid image file"}}'), "Invalid image", True),
        (Trouble(*UPLOADED, "late answer", 504), "answered 504", False),
        (Trouble(*UPLOADED, "answer", 420, body='{"error": {"message": "Rate Limit Exceeded"}}'), "Rate Limit", False),
        (Trouble(*UPLOADED, "answer", 429), "answered 429", False),
        (Trouble(*UPLOADED, "late answer", 200, body="<html>"), "something else than JSON", False),
        (Trouble(*UPLOADED, "late answer", 200, body="{}"), "without public_id", False),
    ],
)
def test_an_error_answer_is_told_in_words_and_a_retry_delivers_once(
    cloud: CloudinaryServer,
    destination: Destination,
    task: ReviewTask,
    reviewer: Any,
    trouble: Trouble,
    words: str,
    is_final: bool,
) -> None:
    cloud.troubles = [trouble]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert words in delivery().error
    assert (delivery().due_at is None) == is_final
    Delivery.objects.all().make_due()
    finish()
    assert cloud.count(textured(1)) == len(cloud.images) == 1


def test_a_file_that_is_too_large_for_the_plan_is_refused_in_words(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    cloud.max_image_bytes = 100
    approve(task, reviewer)
    deliveries.attempt_due()
    assert "File size too large" in delivery().error and delivery().due_at is None


def test_a_look_up_beyond_the_limit_of_the_hour_waits_until_the_next_and_sends_nothing_again(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    cloud.troubles = [Trouble(*UPLOADED, "lost")]
    cloud.admin_calls = 0
    approve(task, reviewer)
    deliveries.attempt_due()
    support.make_due()
    deliveries.attempt_due()
    due = delivery().due_at
    assert "Limit of 500 api operations reached" in delivery().error
    assert due is not None and due > timezone.now() + timedelta(minutes=25)
    cloud.admin_calls = 500
    finish()
    assert cloud.requests.count(UPLOADED) == 1


def test_the_connection_test_finds_a_wrong_key_a_wrong_secret_and_a_wrong_clock(
    cloud: CloudinaryServer, destination: Destination
) -> None:
    session: Any = None
    plugin = destinations.build_plugin(destination)
    assert plugin.test_connection(session) == [] and cloud.images == {}
    cloud.clock = 4000
    [sentence] = plugin.test_connection(session)
    assert "Stale request" in sentence and "The clock of this server" in sentence
    cloud.signing_secret = "another"
    [sentence] = plugin.test_connection(session)
    assert "api_secret mismatch. Enter API key, colon and API secret" in sentence


def test_a_wrong_signature_is_told_with_what_to_do(
    cloud: CloudinaryServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    secret, cloud.signing_secret = cloud.signing_secret, "another"
    approve(task, reviewer)
    deliveries.attempt_due()
    assert "Invalid Signature" in delivery().error and "Enter API key, colon and API secret" in delivery().error
    assert secret not in delivery().error and delivery().due_at is None


def test_another_cloud_name_is_refused_by_cloudinary(cloud: CloudinaryServer, brand: Any, lead: Any) -> None:
    made = support.create_destination(cloud, brand, lead, "cloudinary", cloud_name="other")
    session: Any = None
    [sentence] = destinations.build_plugin(made).test_connection(session)
    assert "Invalid cloud_name other" in sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"secret": "only-the-key"}, "secret: expected API key and API secret"),
        ({"cloud_name": "a/b"}, "cloud_name: expected letters"),
        ({"folder": "/a?"}, "folder: expected letters"),
    ],
)
def test_mistakes_in_the_settings_are_told(
    cloud: CloudinaryServer, brand: Any, lead: Any, change: dict[str, str], words: str
) -> None:
    config = {"url": cloud.url, "allow_private": True, "cloud_name": CLOUD} | change
    secret = config.pop("secret", cloud.secret)
    with pytest.raises(Invalid, match=words):
        destinations.create(brand=brand, by=lead, slug="c", name="C", kind="cloudinary", config=config, secret=secret)
