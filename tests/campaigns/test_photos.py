"""Tests of adding photos to products: by folder, by archive and one by one; unusable files get a message."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from campaigns.choices import PhotoStatus
from campaigns.models import Cutout, ReferencePhoto
from campaigns.photos import reading
from campaigns.services import archives, photo_loading, photos
from core import stored_files
from core.choices import Role
from core.errors import Invalid, NotAllowed, NotFound
from core.models import Event
from generation.services.images import sweeper
from tests.support import factories, scenes
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db


@pytest.fixture
def brand(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "files"
    return factories.BrandFactory()


@pytest.fixture
def manager(brand):
    return factories.MembershipFactory(brand=brand, role=Role.CAMPAIGN_MANAGER).user


def pending(brand, source: str) -> ReferencePhoto:
    subject = factories.SubjectFactory(brand=brand)
    return ReferencePhoto.objects.create(subject=subject, source=source, status=PhotoStatus.PENDING)


def claimed(brand) -> ReferencePhoto:
    """Return a photo that the photo loader is fetching."""
    row = pending(brand, "https://shop.example/a.jpg")
    row.request()
    row.save()
    photo = photo_loading.claim()
    assert photo == row
    return photo


def jpeg(kind: str = "vase", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scenes.scene(kind, size=256, **options).pixels).save(buffer, "JPEG", quality=93)
    return buffer.getvalue()


def archive(members: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    buffer.seek(0)
    return buffer


def test_a_folder_gives_each_product_its_photo_and_a_cut_out(brand, manager, tmp_path: Path) -> None:
    by_name, by_address = pending(brand, "Vase-1.JPG"), pending(brand, "https://shop.example/img/vase%202.jpg?v=3")
    missing = pending(brand, "nobody-has-this.jpg")
    (tmp_path / "shots" / "deep").mkdir(parents=True)
    (tmp_path / "shots" / "deep" / "vase-1.jpg").write_bytes(jpeg())
    (tmp_path / "shots" / "vase 2.jpg").write_bytes(jpeg("bowl"))
    (tmp_path / "shots" / "holiday.jpg").write_bytes(jpeg("mug"))

    report = archives.attach_folder(brand=brand, folder=tmp_path / "shots", by=manager)

    assert (report.ready, report.refused, report.cutouts, report.missing) == (2, 0, 2, 1)
    assert report.unmatched == ["holiday.jpg"]
    for row in (by_name, by_address):
        row.refresh_from_db()
        assert (row.status, row.width, row.height) == (PhotoStatus.READY, 256, 256)
        assert stored_files.exists(row.storage_key)
        cut = row.cutouts.get(is_accepted=True)
        image = cv2.imdecode(np.frombuffer(stored_files.read(cut.storage_key), np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.shape == (256, 256, 4)
        left, top, right, bottom = cut.box
        assert 0 < left < right < 256 and 0 < top < bottom < 256
    missing.refresh_from_db()
    assert missing.status == PhotoStatus.PENDING
    event = Event.objects.get(type="campaigns.photos.attached")
    assert event.payload["ready"] == 2 and event.actor == manager


def test_attaching_the_same_folder_again_changes_nothing(brand, manager, tmp_path: Path) -> None:
    pending(brand, "a.jpg")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    archives.attach_folder(brand=brand, folder=tmp_path, by=manager)
    before = list(ReferencePhoto.objects.values())
    report = archives.attach_folder(brand=brand, folder=tmp_path, by=manager)
    assert report.ready == 0 and list(ReferencePhoto.objects.values()) == before
    assert Event.objects.filter(type="campaigns.photos.attached").count() == 1


def test_two_products_with_one_photo_share_file_and_cut_out(brand, manager, tmp_path: Path, monkeypatch) -> None:
    rows = [
        pending(brand, "same.jpg"),
        pending(brand, "same.jpg"),
        pending(brand, "copy.jpg"),
        pending(brand, "later.jpg"),
    ]
    computed = []
    real = reading.cut_out
    monkeypatch.setattr(reading, "cut_out", lambda data, **how: computed.append(1) or real(data, **how))
    (tmp_path / "same.jpg").write_bytes(jpeg())
    (tmp_path / "copy.jpg").write_bytes(jpeg())
    archives.attach_folder(brand=brand, folder=tmp_path, by=manager)
    (tmp_path / "later.jpg").write_bytes(jpeg())
    archives.attach_folder(brand=brand, folder=tmp_path, by=manager)
    for row in rows:
        row.refresh_from_db()
    assert len({row.sha256 for row in rows}) == 1
    assert len(set(Cutout.objects.values_list("sha256", flat=True))) == 1 and Cutout.objects.count() == 4
    assert len(computed) == 1


def test_a_file_that_is_no_photo_marks_its_photo_refused_and_the_others_go_on(brand, manager, tmp_path: Path) -> None:
    bad, good = pending(brand, "bad.jpg"), pending(brand, "good.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"<html>404</html>")
    (tmp_path / "good.jpg").write_bytes(jpeg())
    report = archives.attach_folder(brand=brand, folder=tmp_path, by=manager)
    assert (report.ready, report.refused) == (1, 1)
    bad.refresh_from_db()
    good.refresh_from_db()
    assert bad.status == PhotoStatus.REFUSED and "JPEG, PNG, WebP or AVIF" in bad.notes[0]
    assert (bad.sha256, bad.storage_key, bad.cutouts.count()) == ("", "", 0)
    assert good.status == PhotoStatus.READY
    # A better file can replace it.
    (tmp_path / "bad.jpg").write_bytes(jpeg("bowl"))
    assert archives.attach_folder(brand=brand, folder=tmp_path, by=manager).ready == 1


def test_a_photo_without_a_product_is_kept_and_says_so(brand, manager) -> None:
    row = pending(brand, "empty.png")
    buffer = io.BytesIO()
    Image.new("RGB", (200, 200), (240, 240, 238)).save(buffer, "PNG")
    photos.attach(photo_id=row.pk, data=buffer.getvalue(), file_name="empty.png", by=manager)
    row.refresh_from_db()
    assert row.status == PhotoStatus.READY and row.cutouts.count() == 0
    assert "background" in row.notes[0]


def test_a_zip_is_matched_by_name_and_its_paths_are_never_used(brand, manager, tmp_path: Path) -> None:
    row = pending(brand, "vase.jpg")
    packed = archive({"../../../vase.jpg": jpeg(), "__MACOSX/._vase.jpg": b"x", ".DS_Store": b"x"})
    report = archives.attach_zip(brand=brand, file=packed, by=manager)
    row.refresh_from_db()
    assert report.ready == 1 and row.status == PhotoStatus.READY
    assert report.unmatched == []
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".jpg", ".png"}


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(brand, manager) -> None:
    pending(brand, "zeros.jpg")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros.jpg", bytes(40 * 2**20))
    buffer.seek(0)
    with pytest.raises(Invalid, match="unpacks to 40 MB"):
        archives.attach_zip(brand=brand, file=buffer, by=manager)
    assert not Event.objects.filter(type="campaigns.photos.attached").exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 broken", b"not an archive at all"])
def test_what_is_no_zip_is_refused_in_words(brand, manager, data: bytes) -> None:
    with pytest.raises(Invalid, match="ZIP archive"):
        archives.attach_zip(brand=brand, file=io.BytesIO(data), by=manager)


def test_one_photo_is_added_to_a_product_and_a_bad_one_writes_nothing(brand, manager) -> None:
    subject = factories.SubjectFactory(brand=brand)
    row = photos.attach(subject_id=subject.pk, data=jpeg(), file_name="C:\\shots\\front.jpg", by=manager, role="angle")
    assert (row.source, row.role, row.status, row.position) == ("front.jpg", "angle", PhotoStatus.READY, 1)
    with pytest.raises(Invalid) as refusal:
        photos.attach(subject_id=subject.pk, data=b"GIF89a", file_name="x.gif", by=manager)
    assert refusal.value.problems[0].value == "x.gif"
    assert subject.photos.count() == 1


def test_a_better_file_takes_over_and_the_earlier_one_is_kept_with_its_cut_out(brand, manager) -> None:
    row = pending(brand, "a.jpg")
    first = photos.attach(photo_id=row.pk, data=jpeg(), file_name="a.jpg", by=manager)
    better = photos.attach(photo_id=row.pk, data=jpeg("bowl"), file_name="better.jpg", by=manager)
    assert (better.pk, better.status) == (row.pk, PhotoStatus.READY) and better.sha256 != first.sha256
    assert row.cutouts.count() == 1 and row.cutouts.get().is_accepted
    earlier = ReferencePhoto.objects.get(subject=row.subject, status=PhotoStatus.REMOVED)
    assert earlier.sha256 == first.sha256 and earlier.cutouts.count() == 1


def test_the_same_file_again_keeps_nothing_twice(brand, manager) -> None:
    row = pending(brand, "a.jpg")
    for _ in range(2):
        photos.attach(photo_id=row.pk, data=jpeg(), file_name="a.jpg", by=manager)
    assert row.subject.photos.count() == 1


def test_a_fetched_file_makes_its_photo_ready_and_names_the_process(brand) -> None:
    row = claimed(brand)
    photo_loading.attach_fetched(row, jpeg())
    row.refresh_from_db()
    assert row.status == PhotoStatus.READY and row.cutouts.filter(is_accepted=True).exists()
    event = Event.objects.get(type="campaigns.photos.attached")
    assert (event.actor, event.actor_label, event.payload["ready"]) == (None, "photo loader", 1)


def test_a_fetched_file_that_is_no_photo_marks_it_refused_with_the_reason(brand) -> None:
    row = claimed(brand)
    photo_loading.attach_fetched(row, b"<html>404</html>")
    row.refresh_from_db()
    assert row.status == PhotoStatus.REFUSED and "JPEG, PNG, WebP or AVIF" in row.notes[0]
    event = Event.objects.get(type="campaigns.photos.attached")
    assert event.payload["refused"][0]["file"] == "https://shop.example/a.jpg"


def test_a_file_fetched_too_late_changes_nothing(brand, manager) -> None:
    row = claimed(brand)
    photos.attach(photo_id=row.pk, data=jpeg(), file_name="a.jpg", by=manager)
    before = ReferencePhoto.objects.values().get(pk=row.pk)
    photo_loading.attach_fetched(row, jpeg("bowl"))
    assert ReferencePhoto.objects.values().get(pk=row.pk) == before
    ReferencePhoto.objects.filter(pk=row.pk).delete()
    photo_loading.attach_fetched(row, jpeg("bowl"))
    assert not ReferencePhoto.objects.filter(pk=row.pk).exists()


def test_what_was_removed_from_the_file_is_noted(brand, manager) -> None:
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 0.0)}
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg())).save(buffer, "JPEG", exif=exif)
    row = photos.attach(photo_id=pending(brand, "a.jpg").pk, data=buffer.getvalue(), file_name="a.jpg", by=manager)
    assert row.notes == ["A GPS position was in the file; it was removed."]


def test_only_those_who_may_import_attach_photos_and_no_brand_reaches_anothers(brand, manager, tmp_path: Path) -> None:
    row = pending(brand, "a.jpg")
    reviewer = factories.MembershipFactory(brand=brand, role=Role.REVIEWER).user
    stranger = factories.MembershipFactory(role=Role.ADMIN).user
    with pytest.raises(NotAllowed):
        archives.attach_folder(brand=brand, folder=tmp_path, by=reviewer)
    with pytest.raises(NotAllowed):
        photos.attach(photo_id=row.pk, data=jpeg(), file_name="a.jpg", by=reviewer)
    with pytest.raises(NotAllowed):
        archives.attach_zip(brand=brand, file=archive({}), by=stranger)
    with pytest.raises(NotFound):
        photos.attach(photo_id=row.pk, data=jpeg(), file_name="a.jpg", by=stranger)
    with pytest.raises(NotFound):
        photos.attach(subject_id=row.subject_id, data=jpeg(), file_name="a.jpg", by=stranger)


@pytest.mark.django_db(transaction=True)
def test_two_people_attach_the_same_folder_at_once_and_each_photo_is_written_once(
    brand, manager, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        pending(brand, name)
        (tmp_path / name).write_bytes(jpeg())
    attach = partial(archives.attach_folder, brand=brand, folder=tmp_path, by=manager)
    reports = race_without_errors(attach, attach)
    assert sum(report.ready for report in reports) == 3
    assert Cutout.objects.count() == 3


# -- roles, order, removal -------------------------------------------------------------------------------------------


def test_a_photo_says_what_it_shows_and_the_change_is_on_record(brand, manager) -> None:
    row = factories.ReferencePhotoFactory(subject__brand=brand)
    photos.change(photo_id=row.pk, role="detail", alt_text=" The glaze ", by=manager)
    photos.change(photo_id=row.pk, role="detail", by=manager)
    row.refresh_from_db()
    assert (row.role, row.alt_text) == ("detail", "The glaze")
    event = Event.objects.get(type="campaigns.photo.changed")
    assert event.payload["changes"] == {"role": ["front", "detail"], "alt_text": ["", "The glaze"]}
    with pytest.raises(Invalid, match="known are front"):
        photos.change(photo_id=row.pk, role="underneath", by=manager)


def test_photos_are_put_in_order_and_unnamed_ones_follow(brand, manager) -> None:
    subject = factories.SubjectFactory(brand=brand)
    rows = [factories.ReferencePhotoFactory(subject=subject, position=at) for at in range(1, 4)]
    assert photos.arrange(subject_id=subject.pk, order=[rows[2].pk, rows[0].pk], by=manager) == [
        rows[2].pk,
        rows[0].pk,
        rows[1].pk,
    ]
    assert list(subject.photos.order_by("position").values_list("pk", "position")) == [
        (rows[2].pk, 1),
        (rows[0].pk, 2),
        (rows[1].pk, 3),
    ]
    photos.arrange(subject_id=subject.pk, order=[rows[2].pk], by=manager)
    assert Event.objects.filter(type="campaigns.photos.arranged").count() == 1


def test_a_removed_photo_keeps_its_file_and_comes_back(brand, manager) -> None:
    row = photos.attach(photo_id=pending(brand, "a.jpg").pk, data=jpeg(), file_name="a.jpg", by=manager)
    photos.remove(photo_id=row.pk, by=manager)
    row.refresh_from_db()
    assert row.status == PhotoStatus.REMOVED and stored_files.exists(row.storage_key)
    listed = [stored for stored in stored_files.list_keys() if stored.key == row.storage_key]
    assert sweeper.list_referenced_keys(listed) == {row.storage_key}, "the sweeper leaves it"
    photos.restore(photo_id=row.pk, by=manager)
    row.refresh_from_db()
    assert row.status == PhotoStatus.READY
    waiting = pending(brand, "b.jpg")
    photos.remove(photo_id=waiting.pk, by=manager)
    assert photos.restore(photo_id=waiting.pk, by=manager).status == PhotoStatus.PENDING


def test_a_removed_photo_is_not_brought_back_by_a_folder_or_the_loader(brand, manager, tmp_path: Path) -> None:
    row = claimed(brand)
    photos.remove(photo_id=row.pk, by=manager)
    (tmp_path / "a.jpg").write_bytes(jpeg())
    archives.attach_folder(brand=brand, folder=tmp_path, by=manager)
    photo_loading.attach_fetched(row, jpeg())
    row.refresh_from_db()
    assert (row.status, row.storage_key, row.due_at) == (PhotoStatus.REMOVED, "", None)


def test_a_photo_by_address_that_is_restored_is_fetched_again(brand, manager) -> None:
    row = claimed(brand)
    photos.remove(photo_id=row.pk, by=manager)
    assert photo_loading.claim() is None
    photos.restore(photo_id=row.pk, by=manager)
    assert photo_loading.claim() == row


def test_only_those_who_may_edit_photos_change_them(brand) -> None:
    row = factories.ReferencePhotoFactory(subject__brand=brand)
    reviewer = factories.MembershipFactory(brand=brand, role=Role.REVIEWER).user
    designer = factories.MembershipFactory(brand=brand, role=Role.DESIGNER).user
    stranger = factories.MembershipFactory(role=Role.ADMIN).user
    for person, refusal in ((reviewer, NotAllowed), (stranger, NotFound)):
        for act in (photos.remove, photos.restore, photos.change):
            with pytest.raises(refusal):
                act(photo_id=row.pk, by=person)
        with pytest.raises(refusal):
            photos.arrange(subject_id=row.subject_id, order=[row.pk], by=person)
    assert photos.remove(photo_id=row.pk, by=designer).status == PhotoStatus.REMOVED
