"""Tests of hot folders on disk, in a bucket and on an SFTP server: whole files, a correct manifest, no escapes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import uuid
from collections import namedtuple
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from core.models import Brand, User
from generation.models import Attempt
from review.delivery import base
from review.delivery.base import DeliveryError, DeliveryFile, Package
from review.delivery.hot_folder.places import safe_path
from review.services import consequences, decisions, deliveries, destinations
from tests.support import s3_server, sftp_server
from tests.support.hot_folders import (
    NO_SESSION,
    Place,
    create_bucket,
    create_folder,
    create_sftp,
    file,
    package,
    path_of,
)
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.racing import race_without_errors

MUG = path_of(file())


@pytest.fixture(scope="module")
def s3() -> Iterator[s3_server.S3Server]:
    with s3_server.serving_s3() as server:
        yield server


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: Any) -> Iterator[sftp_server.SftpServer]:
    with sftp_server.serving(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@pytest.fixture(scope="module")
def openssh(tmp_path_factory: Any) -> Iterator[sftp_server.SftpServer]:
    with sftp_server.serving(tmp_path_factory.mktemp("openssh"), sftp_server.OPENSSH) as server:
        yield server


@pytest.fixture(params=["folder", "s3", "sftp", *(["openssh"] if sftp_server.OPENSSH else [])])
def place(request: Any, tmp_path: Path) -> Place:
    if request.param == "folder":
        return create_folder(tmp_path / "hand over")
    create = create_bucket if request.param == "s3" else create_sftp
    return create(request.getfixturevalue(request.param))


def rows(list_files: dict[str, bytes], asset: int = 1) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(list_files[f"autumn/manifest/{asset}.csv"].decode("utf-8-sig"))))


def push(place: Place, *files: DeliveryFile, **rest: Any) -> list[dict[str, str]]:
    """Push an asset; return the files of the receipt."""
    return [dict(entry) for entry in place.destination.push(package(*files, **rest), NO_SESSION).files]


def recall(place: Place, previous: Any, **rest: Any) -> None:
    place.destination.recall(package(previous=previous, **rest), NO_SESSION)


def test_files_arrive_with_sidecar_and_manifest(place: Place) -> None:
    assert place.destination.validate() == []
    wide = file("acme_MUG-1_wide.jpg", b"wide", "wide")
    receipt = push(place, file(), wide)
    assert [(entry["name"], entry["path"]) for entry in receipt] == [
        ("acme_MUG-1.jpg", MUG),
        ("acme_MUG-1_wide.jpg", path_of(wide)),
    ]
    files = place.list_files()
    assert files[MUG] == b"\xff\xd8 image"
    assert [place.destination.read_delivered(entry) for entry in receipt] == [files[MUG], b"wide"]
    assert [(row["name"], row["title"], row["seed"], row["approved_by"], row["alt_text"]) for row in rows(files)] == [
        (MUG.removeprefix("autumn/"), "acme_MUG-1.jpg", "7", "Ana", "A sage mug"),
        (path_of(wide).removeprefix("autumn/"), "acme_MUG-1_wide.jpg", "7", "Ana", "A sage mug"),
    ]
    assert len(files) == 5


def test_the_sidecar_says_how_the_image_was_made_checked_and_approved(place: Place) -> None:
    push(place, file())
    sidecar = json.loads(place.list_files()[f"{MUG}.json"])
    assert sidecar["name"] == MUG.removeprefix("autumn/") and sidecar["title"] == "acme_MUG-1.jpg"
    assert sidecar["sha256"] == file().sha256 and sidecar["alt_text"] == "A sage mug"
    assert (sidecar["generated_at"], sidecar["generation_seconds"]) == ("2026-11-30T10:00:00+00:00", 4.2)
    assert sidecar["checks"] == [{"check": "sharpness", "outcome": "pass", "message": "Sharp."}]
    assert (sidecar["approved_by"], sidecar["review_note"]) == ("Ana", "Lovely light.")
    assert sidecar["disclaimer"] == "Generated with AI."
    assert sidecar["lineage"]["prompt"]["version"] == "studio v3"


@pytest.mark.django_db
def test_a_sidecar_has_what_the_database_knows(brand: Brand, lead: User, reviewer: User, tmp_path: Path) -> None:
    top = tmp_path / brand.slug
    destinations.create(brand=brand, by=lead, slug="out", name="Out", kind="folder", config={"path": str(top)})
    task = create_image_in_review(brand)
    version = task.asset.versions.get()
    started = timezone.now()
    Attempt.objects.create(
        job=version.job, number=1, lease_token=uuid.uuid4(), endpoint=version.job.endpoint, outcome="succeeded",
        started_at=started, ended_at=started + timedelta(seconds=4.25),
    )  # fmt: skip
    decisions.approve(**decision_arguments(task), by=reviewer, note="Lovely light.")
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    assert deliveries.attempt_due() == 1
    [path] = top.rglob("*.jpg.json")
    sidecar = json.loads(path.read_text())
    assert sidecar["generated_at"] == version.created_at.isoformat() and sidecar["generation_seconds"] == 4.25
    assert [(check["outcome"], check["message"]) for check in sidecar["checks"]] == [("pass", "Looks as it should.")]
    assert (sidecar["review_note"], sidecar["approved_by"]) == ("Lovely light.", reviewer.display_name)
    assert sidecar["alt_text"] == task.asset.subject.name
    assert f"{path.parent.name}/{sidecar['name']}.json" == path.relative_to(top).as_posix()


def test_pushing_twice_changes_nothing(place: Place) -> None:
    receipt = push(place, file())
    before = place.list_files()
    assert push(place, file(), previous=receipt) == receipt
    assert place.list_files() == before


def test_a_replacement_takes_the_old_files_away(place: Place) -> None:
    old, new = file("old.jpg"), file("new.jpg", b"new")
    push(place, new, previous=push(place, old))
    files = place.list_files()
    assert sorted(files) == ["autumn/manifest/1.csv", path_of(new), f"{path_of(new)}.json"]
    assert [row["title"] for row in rows(files)] == ["new.jpg"]


def test_a_recall_takes_only_this_asset_away_and_may_be_repeated(place: Place) -> None:
    first, second = file("one.jpg"), file("two.jpg")
    gone, stays = push(place, first), push(place, second, asset=2)
    foreign = [{**stays[0], "path": ""}, {"name": "never-there.jpg", "sha256": "0" * 64}, {"name": "two.jpg"}]
    for _ in range(2):
        recall(place, [*gone, *foreign])
    assert sorted(place.list_files()) == ["autumn/manifest/2.csv", path_of(second, 2), f"{path_of(second, 2)}.json"]
    assert place.destination.read_delivered(gone[0]) is None
    assert place.destination.read_delivered(stays[0]) == b"\xff\xd8 image"
    recall(place, stays, asset=2)
    assert place.list_files() == {}


def test_a_restore_leaves_what_was_there_before_the_first_push(place: Place) -> None:
    place.destination.storage.write("autumn/manifest/9.csv", b"of somebody else", "text/csv")
    place.destination.storage.write("autumn/acme_MUG-1.jpg", b"of somebody else", "image/jpeg")
    before = place.list_files()
    first = push(place, file())
    second = push(place, file("new.jpg", b"new"), previous=first)
    assert len(place.list_files()) == len(before) + 3
    place.destination.restore(package(previous=second), NO_SESSION)
    assert place.list_files() == before


def test_what_an_attempt_left_that_was_cut_off_is_recalled(place: Place) -> None:
    """Its receipt was never stored: only the names and hashes are known, which are stored before anything is sent."""
    push(place, file("Müller Vase.JPG"))
    recall(place, [{"spec": "square", "name": "Müller Vase.JPG", "sha256": file().sha256}])
    assert place.list_files() == {}


def test_files_of_an_earlier_version_are_replaced_if_their_sidecar_names_the_asset(place: Place) -> None:
    storage = place.destination.storage
    for name, asset in (("mine.jpg", 1), ("yours.jpg", 2)):
        storage.write(f"autumn/{name}", b"1", "image/jpeg")
        storage.write(f"autumn/{name}.json", json.dumps({"asset": asset}).encode(), "application/json")
    storage.write("autumn/plain.jpg", b"1", "image/jpeg")
    previous = [{"name": name, "sha256": file().sha256} for name in ("mine.jpg", "yours.jpg", "plain.jpg")]
    push(place, file(), previous=previous)
    left = {"autumn/yours.jpg", "autumn/yours.jpg.json", "autumn/plain.jpg"}
    assert set(place.list_files()) == {MUG, f"{MUG}.json", "autumn/manifest/1.csv"} | left


def test_two_assets_may_use_one_name(place: Place) -> None:
    same, other = file("same.jpg"), file("same.jpg", b"other")
    push(place, same), push(place, same, asset=2), push(place, other, asset=3)
    files = place.list_files()
    assert [files[path_of(each, asset)] for each, asset in ((same, 1), (same, 2), (other, 3))] == [
        b"\xff\xd8 image", b"\xff\xd8 image", b"other",
    ]  # fmt: skip


def test_a_file_with_other_bytes_is_never_overwritten(place: Place) -> None:
    place.destination.storage.write(MUG, b"by hand", "image/jpeg")
    before = place.list_files()
    for previous in ([], [{"name": "acme_MUG-1.jpg", "sha256": file().sha256}]):
        with pytest.raises(DeliveryError, match="is there already with other bytes, and nothing is overwritten") as no:
            push(place, file(), previous=previous)
        assert no.value.is_final
    with pytest.raises(DeliveryError, match="other bytes"):
        place.destination.plan(package(file()), NO_SESSION)
    assert place.list_files() == before


def test_only_the_approved_bytes_are_written(place: Place) -> None:
    swapped = DeliveryFile("square", "a.jpg", "image/jpeg", "0" * 64, 1, 1, 1, read=lambda: b"other")
    with pytest.raises(DeliveryError, match="not the file that was approved"):
        push(place, swapped)
    assert place.list_files() == {}


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg", "/etc/passwd", "..", "a\\b.jpg", ".hidden.jpg", "a\n.jpg", "con.jpg", "x" * 250 + ".jpg",
        "花瓶.jpg", "a.j p\ng", "Tasse blå (2).JPG", "../../x/../b.jpg",
    ],
)  # fmt: skip
def test_any_name_becomes_a_plain_one_in_the_campaigns_folder(place: Place, name: str) -> None:
    push(place, file(name))
    images = [path for path in place.list_files() if not path.endswith((".json", ".csv"))]
    assert len(images) == 1 and re.fullmatch(r"autumn(/[a-z0-9_-]+)*/[a-z0-9._-]{1,100}", images[0]), images
    [row] = rows(place.list_files())
    assert row["title"] == name and f"autumn/{row['name']}" == images[0]


def test_long_names_that_differ_at_their_end_stay_apart(place: Place) -> None:
    handle = "a" * 254
    names = [f"{handle}{ending}.jpg" for ending in "xy"]
    receipt = push(place, *(file(name, name.encode(), spec) for name, spec in zip(names, "ab", strict=True)))
    assert len({entry["path"] for entry in receipt}) == 2


def test_a_slash_in_a_name_makes_a_folder(place: Place) -> None:
    push(place, file("Große Mugs/one.jpg"))
    assert f"autumn/groe-mugs/{path_of(file('one.jpg')).removeprefix('autumn/')}" in place.list_files()


def test_two_files_of_one_name_are_refused(place: Place) -> None:
    with pytest.raises(DeliveryError, match="same file name"):
        push(place, file("a.jpg"), file("a.jpg", b"other", "wide"))


def test_a_cell_is_never_a_formula(place: Place) -> None:
    evil = Package("m", 1, "=HYPERLINK(1)", "acme", "autumn", (file(),), {"prompt": {"version": "@cmd"}})
    place.destination.push(evil, NO_SESSION)
    [row] = rows(place.list_files())
    assert (row["sku"], row["prompt"]) == ("'=HYPERLINK(1)", "'@cmd")


def test_eight_writers_at_once_lose_no_manifest_row(place: Place) -> None:
    packages = {asset: package(file(f"{asset}.jpg", str(asset).encode()), asset=asset) for asset in range(1, 9)}
    race_without_errors(*(partial(place.destination.push, mine, NO_SESSION) for mine in packages.values()))
    files = place.list_files()
    assert [[row["title"] for row in rows(files, asset)] for asset in packages] == [[f"{n}.jpg"] for n in packages]


def test_two_workers_with_the_same_delivery_leave_one_image(place: Place) -> None:
    """So it is after a lease that ran out: both write the same name, and the second finds the first one's bytes."""
    race_without_errors(*(partial(push, place, file()) for _ in range(4)))
    assert sorted(place.list_files()) == sorted([MUG, f"{MUG}.json", "autumn/manifest/1.csv"])


def test_a_delivery_touches_no_file_of_another_asset(place: Place) -> None:
    """So an asset costs the same however many came before: three files written, and none of the others read."""
    push(place, file("one.jpg"))
    before, second = place.list_files(), path_of(file("two.jpg"), 2)
    storage, paths = place.destination.storage, list[str]()
    for name in ("read", "find", "create", "label", "write", "delete"):
        setattr(storage, name, partial(_note, paths, getattr(storage, name)))
    receipt = push(place, file("two.jpg"), asset=2)
    assert paths == [second, f"{second}.json", "autumn/manifest/2.csv"]
    recall(place, receipt, asset=2)
    assert set(paths) == {second, f"{second}.json", "autumn/manifest/2.csv"}
    assert place.list_files() == before


def _note(paths: list[str], act: Callable[..., Any], path: str, *rest: Any) -> Any:
    paths.append(path)
    return act(path, *rest)


def test_a_dry_run_says_what_would_be_written_and_changes_nothing(place: Place) -> None:
    receipt = push(place, file())
    before, new = place.list_files(), file("new.jpg", b"new")
    sentences = place.destination.plan(package(file(), new, previous=receipt), NO_SESSION)
    assert sentences == [
        f"Keep {MUG}, and write its sidecar JSON again.",
        f"Write {path_of(new)} (3 bytes), and its sidecar JSON.",
    ]
    assert place.destination.plan(package(new, previous=receipt), NO_SESSION)[1:] == [f"Delete {MUG}."]
    assert place.list_files() == before


def test_a_connection_test_passes_and_leaves_nothing(place: Place) -> None:
    assert place.destination.test_connection(NO_SESSION) == []
    assert place.list_files() == {}


def test_a_link_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    top = tmp_path / "top"
    top.mkdir()
    (top / "autumn").symlink_to(outside)
    with pytest.raises(DeliveryError, match="leads outside"):
        base.build("folder", {"path": str(top)}).push(package(file()), NO_SESSION)
    assert list(outside.iterdir()) == []


def test_a_break_in_the_middle_leaves_no_half_file_and_no_manifest(tmp_path: Path) -> None:
    def broken() -> bytes:
        raise OSError("the disk went away")

    bad = DeliveryFile("wide", "b.jpg", "image/jpeg", "0" * 64, 1, 1, 1, read=broken)
    with pytest.raises(OSError, match="went away"):
        base.build("folder", {"path": str(tmp_path)}).push(package(file("a.jpg"), bad), NO_SESSION)
    made = path_of(file("a.jpg")).removeprefix("autumn/")
    assert sorted(path.name for path in (tmp_path / "autumn").iterdir()) == [made, f"{made}.json"]


def test_a_full_disk_and_a_folder_that_became_a_file_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = create_folder(tmp_path / "shop")
    assert place.destination.validate() == []
    usage = namedtuple("usage", "free")(120_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert place.destination.test_connection(NO_SESSION) == [f"The disk of {tmp_path}/shop has only 120 MB left."]
    shutil.rmtree(tmp_path / "shop")
    (tmp_path / "shop").write_text("now a file")
    [sentence] = place.destination.test_connection(NO_SESSION)
    assert "cannot be written: " in sentence


def test_a_share_without_hard_links_takes_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    place = create_folder(tmp_path)
    push(place, file())
    assert place.list_files()[MUG] == b"\xff\xd8 image" and len(place.list_files()) == 3
    (tmp_path / MUG).write_bytes(b"by hand")
    with pytest.raises(DeliveryError, match="other bytes"):
        push(place, file())


@pytest.mark.parametrize("config", [{}, {"path": "relative/folder"}, {"path": "/proc/no/such"}])
def test_a_folder_that_cannot_be_used_says_why(config: dict[str, str]) -> None:
    (sentence,) = base.build("folder", config).validate()
    assert sentence.startswith("path: ")


def test_a_safe_path_is_left_as_it_is() -> None:
    assert safe_path("autumn", "Tasse blå (2).jpg") == "autumn/Tasse blå (2).jpg"
