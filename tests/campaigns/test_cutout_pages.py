"""Tests of the cut-out overview and the cut-out editor with its brush, with the client and a real browser."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from campaigns.choices import CutoutMethod
from campaigns.models import Cutout, ReferencePhoto
from campaigns.selectors import photos as selectors
from campaigns.services import photos
from core import stored_files
from tests.support import factories, scenes

pytestmark = pytest.mark.django_db


def jpeg(kind: str = "mug", size: int = 256) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scenes.scene(kind, size=size).pixels).save(buffer, "JPEG", quality=93)
    return buffer.getvalue()


def stored(brand: Any, by: Any, kind: str = "mug", size: int = 256) -> ReferencePhoto:
    subject = factories.SubjectFactory(brand=brand)
    return photos.attach(subject_id=subject.pk, data=jpeg(kind, size), file_name=f"{kind}.jpg", by=by)


def alpha_of(cut: Cutout) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(stored_files.read(cut.storage_key))))[..., 3]


def test_the_overview_shows_cut_outs_to_check_and_all_of_them_on_request(
    brand: Any, viewer: Any, page_client: Any, django_assert_max_num_queries: Any
) -> None:
    sure = factories.CutoutFactory(photo__subject__brand=brand)
    uncertain = [factories.CutoutFactory(photo__subject__brand=brand, confidence=0.4) for _ in range(8)]
    bare = factories.ReferencePhotoFactory(subject__brand=brand)
    client = page_client(viewer)
    client.get(f"/brands/{brand.slug}/cutouts/")
    with django_assert_max_num_queries(16):
        text = client.get(f"/brands/{brand.slug}/cutouts/").content.decode()
    assert "9 of 10 cut-outs to review" in text
    assert bare.subject.key in text and uncertain[0].photo.subject.key in text and sure.photo.subject.key not in text
    assert sure.photo.subject.key in client.get(f"/brands/{brand.slug}/cutouts/?show=all").content.decode()


def test_the_sheet_goes_on_where_it_ended(brand: Any, viewer: Any, page_client: Any) -> None:
    for _ in range(7):
        factories.CutoutFactory(photo__subject__brand=brand, confidence=0.4)
    seen, after = [], 0
    while True:
        sheet = selectors.sheet(viewer, brand, after=after, limit=3)
        seen += [photo.pk for photo, _cutout, _needs_review in sheet.cards]
        after = sheet.after
        if not after:
            break
    assert len(seen) == 7 == len(set(seen))


def test_accepting_on_the_sheet_can_be_undone(brand: Any, designer: Any, page_client: Any) -> None:
    rows = [factories.CutoutFactory(photo__subject__brand=brand, confidence=0.4, is_accepted=False) for _ in range(3)]
    client = page_client(designer)
    answer = client.post(
        f"/brands/{brand.slug}/cutouts/accept/",
        {"cutout": [row.pk for row in rows]},
        headers={"Accept": "application/json"},
    )
    assert answer.json()["done"] == 3 and Cutout.objects.filter(is_accepted=True, accepted_by=designer).count() == 3
    page = client.get(f"/brands/{brand.slug}/cutouts/").content.decode()
    assert "Undo the last: 3 cut-outs" in page
    client.post(f"/brands/{brand.slug}/cutouts/undo/")
    assert not Cutout.objects.filter(is_accepted=True).exists()
    assert client.post(f"/brands/{brand.slug}/cutouts/undo/").status_code == 422


def test_another_brands_cut_out_cannot_be_decided_or_opened(
    brand: Any, other_brand: Any, designer: Any, page_client: Any
) -> None:
    theirs = factories.CutoutFactory(photo__subject__brand=other_brand)
    client = page_client(designer)
    assert client.post(f"/brands/{brand.slug}/cutouts/accept/", {"cutout": theirs.pk}).status_code == 404
    assert client.get(f"/brands/{brand.slug}/photos/{theirs.photo_id}/cutout/").status_code == 404


def test_an_own_mask_is_sent_without_javascript(brand: Any, designer: Any, page_client: Any) -> None:
    photo = stored(brand, designer)
    mask = np.zeros((256, 256), np.uint8)
    mask[64:192, 64:192] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    client = page_client(designer)
    address = f"/brands/{brand.slug}/photos/{photo.pk}/cutout/"
    answer = client.post(address, {"mask": SimpleUploadedFile("mask.png", buffer.getvalue()), "next": "/evil"})
    assert answer.status_code == 302
    made = photo.cutouts.get(is_accepted=True)
    assert made.method == CutoutMethod.MANUAL and np.array_equal(alpha_of(made), mask)
    assert "By person" in client.get(address).content.decode()


def test_a_foreign_address_is_never_redirected_to(brand: Any, designer: Any, page_client: Any) -> None:
    row = factories.CutoutFactory(photo__subject__brand=brand, is_accepted=False)
    answer = page_client(designer).post(
        f"/brands/{brand.slug}/cutouts/accept/", {"cutout": row.pk, "next": "https://evil.example/"}
    )
    assert answer["Location"] == f"/brands/{brand.slug}/cutouts/"


def test_a_file_that_is_too_large_is_refused_by_its_size_before_it_is_read(
    brand: Any, designer: Any, page_client: Any, monkeypatch: Any
) -> None:
    from campaigns.photos import intake

    monkeypatch.setattr(intake, "MAX_BYTES", 1000)
    subject = factories.SubjectFactory(brand=brand)
    answer = page_client(designer).post(
        f"/brands/{brand.slug}/products/{subject.pk}/photo/", {"file": SimpleUploadedFile("a.jpg", bytes(2000))}
    )
    assert answer.status_code == 422 and subject.photos.count() == 0
    assert "at most 0 MB" in answer.content.decode()


# -- in the browser --------------------------------------------------------------------------------------------------


def signed_in(context: Any, live_server: Any, client: Any) -> None:
    cookie = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])


def on_page(page: Any, x: float, y: float) -> tuple[float, float]:
    """Convert a point of the photo, as shares of its sides, to pixels of the window."""
    stage = page.locator("#bench canvas")
    box = stage.bounding_box()
    view = json.loads(stage.evaluate("c => JSON.stringify({...c.dataset})"))
    side = float(page.locator("#bench").get_attribute("data-width"))
    scale = float(view["scale"])
    return box["x"] + float(view["left"]) + x * side * scale, box["y"] + float(view["top"]) + y * side * scale


def stroke(page: Any, points: list[tuple[float, float]]) -> None:
    page.mouse.move(*on_page(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*on_page(page, *point), steps=12)
    page.mouse.up()


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_what_is_painted_with_the_brush_is_in_the_new_cut_out(
    brand: Any, designer: Any, page_client: Any, live_server: Any, browser_context: Any
) -> None:
    photo = stored(brand, designer, "vase", 600)
    first = photo.cutouts.get()
    before = alpha_of(first)
    assert before[60, 60] == 0 and before[330, 300] == 255
    signed_in(browser_context, live_server, page_client(designer))
    page = browser_context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{live_server.url}/brands/{brand.slug}/photos/{photo.pk}/cutout/")
    page.wait_for_selector("#bench canvas[data-ready]")
    # Add a bar above on the left, where there was background.
    stroke(page, [(0.1, 0.1), (0.3, 0.1)])
    # Remove a part of the middle.
    page.keyboard.press("x")
    assert page.locator("[data-mode=remove]").get_attribute("aria-pressed") == "true"
    stroke(page, [(0.5, 0.55), (0.52, 0.55)])
    # Paint something and undo it with the keyboard.
    page.keyboard.press("x")
    stroke(page, [(0.85, 0.85), (0.9, 0.85)])
    page.keyboard.press("z")
    with page.expect_navigation():
        page.click("[data-do=save]")
    assert not problems
    made = photo.cutouts.get(is_accepted=True)
    after = alpha_of(made)
    assert made.pk != first.pk and made.method == CutoutMethod.MANUAL and made.made_by == designer
    assert after[60, 60:180].min() == 255, "the bar is there"
    assert after[330, 300:312].max() == 0, "the bite is out"
    assert after[510, 510:540].max() == 0, "what was undone is not"
    untouched = np.ones_like(before, dtype=bool)
    untouched[:130, :280] = untouched[250:410, 220:400] = False
    assert np.array_equal(after[untouched], before[untouched]), "nothing else has changed"


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_the_sheet_is_worked_through_with_the_keyboard_alone(
    brand: Any, designer: Any, page_client: Any, live_server: Any, browser_context: Any
) -> None:
    rows = [stored(brand, designer, kind) for kind in ("mug", "vase", "bowl")]
    Cutout.objects.update(confidence=0.4, is_accepted=False)
    signed_in(browser_context, live_server, page_client(designer))
    page = browser_context.new_page()
    page.goto(f"{live_server.url}/brands/{brand.slug}/cutouts/")
    page.wait_for_selector("[data-card].is-at")
    page.keyboard.press("Space")
    assert page.locator("[data-card].shows-photo").count() == 1
    with page.expect_response(lambda answer: "/accept/" in answer.url):
        page.keyboard.press("a")
    page.wait_for_selector("[data-card]:not(.wants-look)")
    assert rows[0].cutouts.get().is_accepted
    page.keyboard.press("ArrowRight")
    with page.expect_response(lambda answer: "/accept/" in answer.url):
        page.keyboard.press("a")
    page.wait_for_function("() => document.querySelectorAll('[data-card]:not(.wants-look)').length === 2")
    assert rows[2].cutouts.get().is_accepted and not rows[1].cutouts.get().is_accepted
    with page.expect_response(lambda answer: "/undo/" in answer.url):
        page.keyboard.press("z")
    page.wait_for_function("() => document.querySelectorAll('[data-card]:not(.wants-look)').length === 1")
    assert not rows[2].cutouts.get().is_accepted
