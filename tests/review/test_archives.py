"""Tests of the archive of approved images: its files and names, its manifests, BagIt, changed files, and queries."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import uuid
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import bagit
import pytest
from django.utils import timezone
from python_calamine import CalamineWorkbook

from core.errors import Busy, Invalid, NotAllowed, StorageFailed
from core.models import Event
from generation.models import Asset, Attempt, MarkedFile, Rendition
from review.models import Delivery
from review.selectors import archive_contents
from review.services import approved_archive, archive_files, archive_manifests, web_slots
from tests.support import factories
from tests.support.archives import create_approved, download, read_manifests, stored_path
from tests.support.images_in_review import create_image_in_review
from tests.support.marked_images import mark_released_files

pytestmark = pytest.mark.django_db(transaction=True)

SAFE_PATH = re.compile(r"[a-z0-9._/-]+")
MANIFESTS = ["manifest.csv", "manifest.xlsx", "manifest.json"]


def marked_file_of(asset: Asset) -> MarkedFile:
    return MarkedFile.objects.get(rendition=rendition_of(asset))


def rendition_of(asset: Asset) -> Rendition:
    return Rendition.objects.select_related("output_spec").get(version__asset=asset)


# -- files and names --------------------------------------------------------------------------------------------------


def test_the_zip_is_streamed_with_the_files_and_their_manifests(brand: Any, reviewer: Any, manager: Any) -> None:
    approved = [create_approved(brand, reviewer) for _ in range(2)]
    create_image_in_review(brand)
    archive = approved_archive.start(user=manager, brand=brand, assets=Asset.objects.all())
    chunks = list(archive.chunks)
    assert len(chunks) > 4
    assert re.fullmatch(rf"{brand.slug}-approved-\d{{4}}-\d\d-\d\d\.zip", archive.file_name)
    with zipfile.ZipFile(io.BytesIO(b"".join(chunks))) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert names[2:] == MANIFESTS
        for asset, name in zip(approved, names[:2], strict=True):
            marked = marked_file_of(asset)
            assert name.startswith(f"{asset.campaign.slug}/{brand.slug}_")
            assert name.endswith(f"-{marked.sha256[:8]}.jpg")
            assert hashlib.sha256(opened.read(name)).hexdigest() == marked.sha256


def test_only_files_of_the_chosen_output_specs_are_in_it(brand: Any, reviewer: Any, manager: Any) -> None:
    campaign = factories.CampaignFactory(brand=brand)
    specs = [factories.OutputSpecFactory(campaign=campaign, slug=slug) for slug in ("shop", "story")]
    create_approved(brand, reviewer, campaign=campaign, specs=specs)
    for chosen, count in ((["shop"], 1), (["story", "shop"], 2), ([], 2)):
        assert len(download(manager, brand, specs=chosen).namelist()) == count + 3
    with pytest.raises(Invalid, match="has an approved file of poster"):
        approved_archive.start(user=manager, brand=brand, assets=Asset.objects.all(), specs=["poster"])


@pytest.mark.parametrize("layout", ["zip", "bagit"])
def test_names_are_ascii_and_unique_also_for_long_handles(layout: str, brand: Any, reviewer: Any, manager: Any) -> None:
    campaign = factories.CampaignFactory(brand=brand)
    spec = factories.OutputSpecFactory(campaign=campaign, name_pattern="{sku}")
    keys = ["x" * 254 + "1", "x" * 254 + "2", "Müller/Vase ÄÖ", "Muller/Vase AO", "花瓶", "花瓣", "CON", "a:b", "a?b"]
    run = factories.RunFactory(campaign=campaign)
    for key in keys:
        subject = factories.SubjectFactory(brand=brand, key=key)
        create_approved(brand, reviewer, run=run, specs=[spec], subject=subject)
    archive = download(manager, brand, layout=layout)
    names = archive.namelist()
    assert len({name.lower() for name in names}) == len(names)
    assert all(SAFE_PATH.fullmatch(name) for name in names)
    assert all(len(part) <= 120 for name in names for part in name.split("/"))
    folder = "" if layout == "zip" else f"{names[0].split('/')[0]}/data/"
    rows = read_manifests(archive, folder)["json"]
    assert [row["sku"] for row in rows] == keys
    assert rows[2]["title"] == rows[3]["title"] == "Muller-Vase-AO.jpg"
    assert all(archive.getinfo(folder + row["file"]).file_size == row["bytes"] for row in rows)


def test_equal_files_of_equal_names_get_different_paths(brand: Any, reviewer: Any, manager: Any) -> None:
    assets = [create_approved(brand, reviewer) for _ in range(3)]
    paths = archive_files.Paths()
    claimed = [paths.claim("autumn/mug-0a1b2c3d.jpg", asset) for asset in (1, 2, 2)]
    paths.close()
    assert claimed == ["autumn/mug-0a1b2c3d.jpg", "autumn/mug-0a1b2c3d-2.jpg", "autumn/mug-0a1b2c3d-2-2.jpg"]
    assert len(download(manager, brand, assets).namelist()) == 6


# -- manifests --------------------------------------------------------------------------------------------------------


def test_the_three_manifests_say_the_same_about_each_file(brand: Any, reviewer: Any, manager: Any) -> None:
    asset = create_approved(brand, reviewer, note="=1+1 is fine, as is “Ü”")
    rendition, version = rendition_of(asset), asset.versions.get()
    ended = timezone.now()
    Attempt.objects.create(
        job=version.job,
        number=1,
        lease_token=uuid.uuid4(),
        endpoint=version.job.endpoint,
        outcome="succeeded",
        details={"model": "packshot"},
        started_at=ended - timedelta(seconds=2.5),
        ended_at=ended,
    )
    archive = download(manager, brand)
    manifests = read_manifests(archive)
    (row,) = manifests["json"]
    assert list(row) == list(archive_manifests.COLUMNS)
    expected = {
        "file": archive.namelist()[0],
        "sku": asset.subject.key,
        "product": asset.subject.name,
        "asset": asset.pk,
        "campaign": asset.campaign.slug,
        "spec": rendition.output_spec.slug,
        "media_type": "image/jpeg",
        "width": rendition.width,
        "height": rendition.height,
        "bytes": marked_file_of(asset).bytes,
        "sha256": marked_file_of(asset).sha256,
        "alt_text": asset.subject.name,
        "approved_by": reviewer.display_name,
        "review_note": "=1+1 is fine, as is “Ü”",
        "generated_at": version.created_at.isoformat(),
        "generation_seconds": 2.5,
        "engine": version.job.endpoint.engine,
        "model": "packshot",
        "seed": 7,
        "problem": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["checks"][0]["outcome"] == version.findings.get().outcome
    (cells,), (lines,) = manifests["xlsx"], manifests["csv"]
    assert list(cells) == list(lines) == list(row)
    assert cells["review_note"] == row["review_note"]
    assert lines["review_note"] == "'" + row["review_note"]
    for name in ("asset", "width", "bytes", "seed"):
        assert cells[name] == row[name] == int(lines[name])
    assert cells["checks"] == lines["checks"] == f"{version.findings.get().check_name}: pass (Looks as it should.)"


def test_the_alt_text_is_the_one_that_people_wrote(brand: Any, reviewer: Any, manager: Any) -> None:
    asset = create_approved(brand, reviewer)
    factories.DeliveryFactory(
        asset=asset, version=asset.versions.get(), destination=factories.DestinationFactory(brand=brand)
    )
    Delivery.objects.filter(asset=asset).update(alt_text="A sage mug on clay")
    assert read_manifests(download(manager, brand))["json"][0]["alt_text"] == "A sage mug on clay"


def test_a_workbook_begins_another_sheet_when_one_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.workbooks.MAX_ROWS", 3)
    with archive_manifests.Manifests(tmp_path, {}) as manifests:
        for number in range(5):
            manifests.add({"asset": number, "seed": 2**63 - 1, "title": "a\x0bb"})
        book = CalamineWorkbook.from_path(str(manifests.finish()[1]))
    sheets = [book.get_sheet_by_name(name).to_python() for name in book.sheet_names]
    assert [len(sheet) for sheet in sheets] == [3, 3, 2]
    first = dict(zip(*sheets[0][:2], strict=True))
    assert (first["asset"], first["seed"], first["title"]) == (0, str(2**63 - 1), "a\ufffdb")


def test_the_manifests_say_what_the_archive_lacks(brand: Any, reviewer: Any, manager: Any) -> None:
    assets = [create_approved(brand, reviewer) for _ in range(4)]
    Asset.objects.filter(pk=assets[0].pk).update(current_version=None)
    Rendition.objects.filter(version__asset=assets[1]).update(sha256="0" * 64)
    stored_path(rendition_of(assets[2])).unlink()
    archive = download(manager, brand)
    assert len(archive.namelist()) == 4
    problems = {row["asset"]: row["problem"] for row in read_manifests(archive)["json"]}
    assert problems == {
        assets[0].pk: "It has no version.",
        assets[1].pk: f"The approved file for {rendition_of(assets[1]).output_spec.slug} is no longer there.",
        assets[2].pk: f"The stored file {rendition_of(assets[2]).storage_key} is missing.",
        assets[3].pk: None,
    }


# -- BagIt ------------------------------------------------------------------------------------------------------------


def test_a_bag_is_valid_for_the_reference_implementation(
    brand: Any, reviewer: Any, manager: Any, tmp_path: Path
) -> None:
    for _ in range(3):
        create_approved(brand, reviewer)
    brand.name = "Kiln\nPayload-Oxum: 1.1"  # must not become a label of its own
    archive = download(manager, brand, layout="bagit", stem="Autumn")
    archive.extractall(tmp_path / "unpacked")
    (folder,) = (tmp_path / "unpacked").iterdir()
    assert folder.name.startswith("autumn-approved-")
    bag = bagit.Bag(str(folder))
    assert bag.validate(completeness_only=False)
    assert bag.version == "1.0"
    assert sorted(bag.payload_files()) == sorted(
        name.partition("/")[2] for name in archive.namelist() if f"{folder.name}/data/" in name
    )
    assert len(list(bag.payload_files())) == 6
    assert bag.info["Source-Organization"] == "Kiln Payload-Oxum: 1.1"
    total = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
    assert bag.info["Payload-Oxum"] == f"{total}.6"
    victim = next((folder / "data").rglob("*.jpg"))
    victim.write_bytes(bytes(victim.stat().st_size))
    with pytest.raises(bagit.BagValidationError):
        bag.validate()


# -- changed files, permissions, queries ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["zip", "bagit"])
@pytest.mark.parametrize("change", ["other bytes", "cut", "longer"])
@pytest.mark.parametrize("is_marked", [True, False])
def test_a_changed_file_ends_the_stream_before_the_zip_is_whole(
    layout: str, change: str, is_marked: bool, brand: Any, reviewer: Any, manager: Any
) -> None:
    first, second = create_approved(brand, reviewer), create_approved(brand, reviewer)
    if is_marked:
        download(manager, brand)
    path = stored_path(marked_file_of(second) if is_marked else rendition_of(second))
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes({"other bytes": bytes(len(content)), "cut": content[:-1], "longer": content + b"x"}[change])
    archive = approved_archive.start(user=manager, brand=brand, assets=Asset.objects.all(), layout=layout)
    sent = []
    with pytest.raises(StorageFailed, match="not the one that was approved"):
        sent.extend(archive.chunks)
    assert marked_file_of(first).sha256[:8].encode() in b"".join(sent)
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(sent)))


def test_an_approval_that_ends_meanwhile_takes_the_image_out(
    brand: Any, reviewer: Any, manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "CHUNK", 1)
    first, second = create_approved(brand, reviewer), create_approved(brand, reviewer)
    files = archive_files.iter_files(archive_contents.approved(Asset.objects.filter(brand=brand)))
    assert next(files).row["asset"] == first.pk
    Asset.objects.filter(pk=second.pk).update(state="revoked")
    assert list(files) == []


def test_the_queries_of_many_images_are_as_many_as_those_of_one(
    brand: Any, reviewer: Any, manager: Any, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = [create_approved(brand, reviewer) for _ in range(4)]
    download(manager, brand)  # makes the marked files
    for chunk, count, queries in ((500, 1, 10), (500, 4, 10), (2, 4, 19)):
        monkeypatch.setattr(archive_files, "CHUNK", chunk)
        rows = Asset.objects.filter(pk__in=[asset.pk for asset in assets[:count]])
        archive = approved_archive.start(user=manager, brand=brand, assets=rows)
        with django_assert_num_queries(queries):
            opened = zipfile.ZipFile(io.BytesIO(b"".join(archive.chunks)))
        assert len(opened.namelist()) == count + 3


def test_the_sizes_are_those_of_the_archive(
    brand: Any, reviewer: Any, manager: Any, django_assert_num_queries: Any
) -> None:
    campaign = factories.CampaignFactory(brand=brand)
    specs = [factories.OutputSpecFactory(campaign=campaign, slug=slug) for slug in ("shop", "story")]
    for _ in range(2):
        asset = create_approved(brand, reviewer, campaign=campaign, specs=specs)
    create_image_in_review(brand, campaign=campaign, specs=specs)
    # Another file of the output, which nobody approved.
    factories.RenditionFactory(version=asset.versions.get(), output_spec=specs[0], recipe_version=99, bytes=10**9)
    with django_assert_num_queries(1):
        sizes = archive_contents.list_spec_sizes(Asset.objects.filter(campaign=campaign))
    rows = read_manifests(download(manager, brand))["json"]
    for size in sizes:
        mine = [row["bytes"] for row in rows if row["spec"] == size.slug]
        assert size.files == len(mine)
        assert size.bytes < sum(mine) < size.bytes + size.files * 12_000  # with the marks of origin
    assert [size.slug for size in sizes] == ["shop", "story"]
    mark_released_files()
    for size in archive_contents.list_spec_sizes(Asset.objects.filter(campaign=campaign)):
        assert size.bytes == sum(row["bytes"] for row in rows if row["spec"] == size.slug)


def test_an_archive_of_nothing_approved_is_refused_before_it_begins(brand: Any, manager: Any, viewer: Any) -> None:
    create_image_in_review(brand)
    for user, error in ((manager, Invalid), (viewer, NotAllowed)):
        with pytest.raises(error):
            approved_archive.start(user=user, brand=brand, assets=Asset.objects.all())
    assert not Event.objects.filter(type="review.archive.started").exists()


def test_a_download_is_an_event(brand: Any, reviewer: Any, manager: Any) -> None:
    create_approved(brand, reviewer)
    download(manager, brand, layout="bagit")
    event = Event.objects.get(type="review.archive.started")
    assert (event.actor, event.object_id, event.payload["layout"], event.payload["images"]) == (
        manager,
        brand.pk,
        "bagit",
        1,
    )


@pytest.mark.parametrize("layout", ["zip", "bagit"])
def test_a_stream_that_is_closed_leaves_no_temporary_file(
    layout: str, brand: Any, reviewer: Any, manager: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    for _ in range(3):
        create_approved(brand, reviewer)
    archive = approved_archive.start(user=manager, brand=brand, assets=Asset.objects.all(), layout=layout)
    for _ in range(4):
        next(archive.chunks)
    assert list(folder.iterdir())
    archive.chunks.close()
    assert list(folder.iterdir()) == []


def test_only_so_many_archives_are_sent_at_a_time(
    brand: Any, reviewer: Any, manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_approved(brand, reviewer)
    slots = threading.BoundedSemaphore(2)
    monkeypatch.setattr(web_slots, "_slots", lambda: slots)

    def start() -> approved_archive.Archive:
        return approved_archive.start(user=manager, brand=brand, assets=Asset.objects.all())

    sending, unread = start(), start()
    next(sending.chunks)
    with pytest.raises(Busy):
        start()
    assert Event.objects.filter(type="review.archive.started").count() == 2
    sending.chunks.close()
    sending.chunks.close()
    finished = start()
    assert b"".join(finished.chunks)
    del unread
    left = [start(), start()]
    assert len(left) == 2
