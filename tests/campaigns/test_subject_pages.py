"""Tests of products, articles and concepts: lists by readiness, pasted titles, attributes, retire and restore."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from campaigns.models import Subject
from campaigns.selectors import subjects as selectors
from campaigns.services import subjects
from campaigns.services.subjects import NewSubject
from core.errors import Invalid, NotAllowed, NotFound, Stale
from core.models import Event
from tests.support import factories, scenes

pytestmark = pytest.mark.django_db


def jpeg(kind: str = "vase", exif: Any = None) -> bytes:
    buffer = io.BytesIO()
    options = {"exif": exif} if exif else {}
    Image.fromarray(scenes.scene(kind, size=128).pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


# -- the service -----------------------------------------------------------------------------------------------------


def test_a_hundred_titles_become_a_hundred_articles_with_keys_of_their_own(brand: Any, manager: Any) -> None:
    text = "\n".join(f"{at}. Ten ways to set table {at}" for at in range(1, 101))
    made, _existing = subjects.create(brand=brand, kind="article", entries=subjects.read_titles(text), by=manager)
    assert len(made) == 100 == Subject.objects.filter(kind="article").count()
    first = Subject.objects.get(key="ten-ways-to-set-table-1")
    assert first.name == "Ten ways to set table 1"
    event = Event.objects.get(type="campaigns.subjects.created")
    assert event.payload["count"] == 100 and event.actor == manager


def test_a_list_pasted_twice_adds_nothing_and_says_what_was_there(brand: Any, manager: Any) -> None:
    entries = subjects.read_titles("Spring table\ncare | Caring for bowls\n\n- Spring table\n")
    assert entries == [NewSubject("Spring table"), NewSubject("Caring for bowls", "care")]
    subjects.create(brand=brand, kind="article", entries=entries, by=manager)
    entries.append(NewSubject("Kilns"))
    made, existing = subjects.create(brand=brand, kind="article", entries=entries, by=manager)
    assert [subject.name for subject in made] == ["Kilns"] and existing == ["Spring table", "Caring for bowls"]


def test_two_titles_that_would_share_a_key_get_two(brand: Any, manager: Any) -> None:
    made, _existing = subjects.create(
        brand=brand,
        kind="concept",
        entries=[NewSubject("A rainy Sunday"), NewSubject("A rainy Sunday!"), NewSubject("¿?")],
        by=manager,
    )
    assert [subject.key for subject in made] == ["a-rainy-sunday", "a-rainy-sunday-2", "untitled"]


def test_titles_that_cannot_be_subjects_are_reported_with_their_line(brand: Any, manager: Any) -> None:
    for entries, message in (([], "at least one title"), ([NewSubject("x" * 400)], "Title 1 has 400 characters")):
        with pytest.raises(Invalid, match=message):
            subjects.create(brand=brand, kind="article", entries=entries, by=manager)
    with pytest.raises(Invalid, match="no kind"):
        subjects.create(brand=brand, kind="song", entries=[NewSubject("x")], by=manager)
    assert not Subject.objects.exists()


def test_attributes_are_changed_by_hand_with_what_they_were_on_record(brand: Any, manager: Any) -> None:
    subject = factories.SubjectFactory(brand=brand)
    seen = subjects.form_version(subject)
    subjects.edit(
        subject_id=subject.pk,
        by=manager,
        attributes=[("colour", "moss"), ("finish", "matt"), ("material", " ")],
        seen=seen,
    )
    subject.refresh_from_db()
    assert subject.attributes == {"colour": "moss", "finish": "matt"}
    changes = Event.objects.get(type="campaigns.subject.changed").payload["changes"]
    assert changes == {
        "attributes.colour": ["sage", "moss"],
        "attributes.finish": [None, "matt"],
        "attributes.material": ["stoneware", None],
    }
    with pytest.raises(Stale):
        subjects.edit(subject_id=subject.pk, by=manager, attributes=[], seen=seen)
    with pytest.raises(Invalid, match="cannot name an attribute"):
        subjects.edit(subject_id=subject.pk, by=manager, attributes=[("2nd {x}", "y")])


def test_a_retired_subject_leaves_the_list_and_comes_back(brand: Any, manager: Any) -> None:
    subject = factories.SubjectFactory(brand=brand)
    subjects.set_active(subject_id=subject.pk, by=manager, is_active=False)
    assert not selectors.visible(manager, brand).exists()
    subjects.set_active(subject_id=subject.pk, by=manager, is_active=True)
    assert selectors.visible(manager, brand).get() == subject
    assert Event.objects.filter(object_type="subject").count() == 2


def test_only_those_who_may_edit_write_subjects(brand: Any, designer: Any, person: Any, other_brand: Any) -> None:
    subject = factories.SubjectFactory(brand=brand)
    with pytest.raises(NotAllowed):
        subjects.create(brand=brand, kind="article", entries=[NewSubject("x")], by=designer)
    with pytest.raises(NotAllowed):
        subjects.set_active(subject_id=subject.pk, by=designer, is_active=False)
    with pytest.raises(NotFound):
        subjects.edit(subject_id=subject.pk, by=person("admin", brand=other_brand), attributes=[])


# -- the pages -------------------------------------------------------------------------------------------------------


def test_pages_walk_through_all_subjects_and_back(brand: Any, viewer: Any) -> None:
    keys = sorted(factories.SubjectFactory(brand=brand).key for _ in range(8))
    rows = selectors.visible(viewer, brand, kind="product")
    first = selectors.page(rows, limit=3)
    second = selectors.page(rows, after=first.after, limit=3)
    third = selectors.page(rows, after=second.after, limit=3)
    walked = [subject.key for page in (first, second, third) for subject in page.subjects]
    assert walked == keys and third.after == "" and first.before == ""
    back = selectors.page(rows, before=third.before, limit=3)
    assert [subject.key for subject in back.subjects] == keys[3:6]
    assert selectors.page(rows, before=back.before, limit=3).before == ""


def test_the_list_shows_readiness_and_filters_by_it(
    brand: Any, viewer: Any, page_client: Any, django_assert_max_num_queries: Any
) -> None:
    ready = factories.CutoutFactory(photo__subject__brand=brand).photo.subject
    uncertain = [factories.CutoutFactory(photo__subject__brand=brand, confidence=0.4).photo.subject for _ in range(9)]
    bare = factories.SubjectFactory(brand=brand)
    client = page_client(viewer)
    address = f"/brands/{brand.slug}/products/"
    client.get(address)
    with django_assert_max_num_queries(18):
        text = client.get(address).content.decode()
    assert "11 products" in text and "40% sure and nobody has looked" in text and "It has no photo yet" in text
    for state, there, away in (("ready", ready, bare), ("missing", bare, ready), ("look", uncertain[0], bare)):
        page = client.get(f"{address}?ready={state}").content.decode()
        assert there.key in page and away.key not in page
    assert "None of these" in client.get(f"{address}?ready=small").content.decode()


def test_ten_thousand_products_are_listed_from_an_index(brand: Any, viewer: Any) -> None:
    Subject.objects.bulk_create(
        Subject(brand=brand, key=f"SKU-{at:06d}", name=f"Mug {at}", attributes=[]) for at in range(10_000)
    )
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE campaigns_subject")
    rows = selectors.visible(viewer, brand, kind="product").filter(key__gt="SKU-009000").order_by("key")[:61]
    plan = rows.explain()
    assert "subject_key_once" in plan and "Sort" not in plan, plan
    assert selectors.count_capped(selectors.visible(viewer, brand)) == 10_000


def test_articles_are_pasted_on_a_page_and_go_into_a_campaign(brand: Any, manager: Any, page_client: Any) -> None:
    campaign = factories.CampaignFactory(brand=brand)
    client = page_client(manager)
    address = f"/brands/{brand.slug}/products/new/"
    assert "One per line" in client.get(f"{address}?kind=concept").content.decode()
    answer = client.post(
        address,
        {"kind": "article", "titles": "Spring table\nHow stoneware is fired", "campaign": campaign.slug},
        follow=True,
    )
    text = answer.content.decode()
    assert "2 articles written." in text and "How stoneware is fired" in text
    assert campaign.subjects.count() == 2
    refused = client.post(address, {"kind": "article", "titles": "  \n"})
    assert refused.status_code == 422 and "at least one title" in refused.content.decode()


def test_a_products_page_edits_retires_and_shows_its_history(brand: Any, manager: Any, page_client: Any) -> None:
    subject = factories.SubjectFactory(brand=brand)
    client = page_client(manager)
    address = f"/brands/{brand.slug}/products/{subject.pk}/"
    client.post(
        f"{address}edit/",
        {"name": "Oat mug", "attributes_label": ["colour", "finish"], "attributes_value": ["oat", "matt"]},
    )
    client.post(f"{address}retire/")
    text = client.get(address).content.decode()
    assert "Oat mug" in text and "Colour: sage → oat" in text and "Bring back" in text and "Retired" in text


def test_several_photos_are_dropped_at_once_and_a_bad_one_is_reported(
    brand: Any, designer: Any, page_client: Any
) -> None:
    subject = factories.SubjectFactory(brand=brand)
    address = f"/brands/{brand.slug}/products/{subject.pk}/"
    offered = [
        SimpleUploadedFile("a.jpg", jpeg()),
        SimpleUploadedFile("b.jpg", jpeg("bowl")),
        SimpleUploadedFile("c.gif", b"GIF89a"),
    ]
    text = (
        page_client(designer)
        .post(f"{address}photo/", {"file": offered, "role": "detail"}, follow=True)
        .content.decode()
    )
    assert "2 photos are in and cut out." in text and "c.gif: This is no JPEG" in text
    assert list(subject.photos.values_list("role", flat=True)) == ["detail", "detail"]


def test_photos_are_moved_given_roles_removed_and_brought_back_on_the_page(
    brand: Any, designer: Any, page_client: Any
) -> None:
    subject = factories.SubjectFactory(brand=brand)
    rows = [factories.ReferencePhotoFactory(subject=subject, position=at) for at in (1, 2)]
    client = page_client(designer)
    client.post(f"/brands/{brand.slug}/photos/{rows[1].pk}/move/", {"by": "-1"})
    assert list(subject.photos.order_by("position").values_list("pk", flat=True)) == [rows[1].pk, rows[0].pk]
    client.post(f"/brands/{brand.slug}/photos/{rows[0].pk}/", {"role": "back"})
    client.post(f"/brands/{brand.slug}/photos/{rows[0].pk}/remove/")
    text = client.get(f"/brands/{brand.slug}/products/{subject.pk}/").content.decode()
    assert "1 removed photo" in text and "Role: front → back" in text
    client.post(f"/brands/{brand.slug}/photos/{rows[0].pk}/restore/")
    rows[0].refresh_from_db()
    assert (rows[0].role, rows[0].status) == ("back", "ready")


def test_what_was_removed_from_a_file_is_shown_on_the_page(brand: Any, designer: Any, page_client: Any) -> None:
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 0.0)}
    subject = factories.SubjectFactory(brand=brand)
    client = page_client(designer)
    client.post(
        f"/brands/{brand.slug}/products/{subject.pk}/photo/", {"file": SimpleUploadedFile("a.jpg", jpeg(exif=exif))}
    )
    text = client.get(f"/brands/{brand.slug}/products/{subject.pk}/").content.decode()
    assert "A GPS position was in the file; it was removed." in text


def test_every_mistake_of_the_edit_form_stands_at_its_field(brand: Any, manager: Any, page_client: Any) -> None:
    subject = factories.SubjectFactory(brand=brand)
    rows = {"attributes_label": ["hex", "Colour", "colour", "9th"], "attributes_value": ["zzz", "moss", "sage", "x"]}
    answer = page_client(manager).post(f"/brands/{brand.slug}/products/{subject.pk}/edit/", {"name": " ", **rows})
    assert answer.status_code == 422
    form, attributes = answer.context["form"], answer.context["attributes"]
    assert form.errors == {"name": ["A name has 1 to 300 characters."]}
    assert "“zzz” is not a hex colour" in attributes[0].errors["value"][0]
    assert not attributes[1].errors
    assert attributes[2].errors == {
        "label": ["There is an attribute “colour” above already; give this one another name."]
    }
    assert "cannot name an attribute" in attributes[3].errors["label"][0]
    text = answer.content.decode()
    assert 'value="zzz"' in text and 'value="sage"' in text and "is not a hex colour" in text
    subject.refresh_from_db()
    assert subject.attributes == {"colour": "sage", "material": "stoneware"} and subject.name


def test_a_hex_value_is_kept_as_a_feed_writes_it(brand: Any, manager: Any) -> None:
    subject = factories.SubjectFactory(brand=brand)
    subjects.edit(subject_id=subject.pk, by=manager, attributes=[("hex", "7A8F6A"), ("colour", "sage"), ("colour", "")])
    subject.refresh_from_db()
    assert subject.attributes == {"hex": "#7a8f6a", "colour": "sage"}


def test_an_error_box_names_fields_as_the_page_does(brand: Any, manager: Any, page_client: Any) -> None:
    answer = page_client(manager).post(f"/brands/{brand.slug}/products/new/", {"kind": "article", "titles": " "})
    text = answer.content.decode()
    assert "<b>Titles:</b>" in text and "<code>titles</code>" not in text
