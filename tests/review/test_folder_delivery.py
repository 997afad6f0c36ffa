"""Tests of hot folders on disk and in a bucket of a real S3 server: whole files, a correct manifest, no escapes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from review.delivery import base
from review.delivery.base import DeliveryError, DeliveryFile, Package
from review.delivery.places import safe_path
from tests.support import s3_server
from tests.support.racing import race_without_errors

NO_SESSION: Any = None  # hot folders need neither journal nor limiter: their writes may be repeated
Listing = Callable[[], dict[str, bytes]]


def file(name: str = "acme_MUG-1.jpg", content: bytes = b"\xff\xd8 image", spec: str = "square") -> DeliveryFile:
    return DeliveryFile(
        spec=spec,
        name=name,
        media_type="image/jpeg",
        sha256=hashlib.sha256(content).hexdigest(),
        width=1024,
        height=1024,
        bytes=len(content),
        read=lambda: content,
    )


def package(*files: DeliveryFile, asset: int = 1, previous: tuple[str, ...] = (), campaign: str = "autumn") -> Package:
    lineage = {"prompt": {"version": "studio v3"}, "seed": 7, "model": {"name": "packshot"}, "approval": {"by": "Ana"}}
    delivered = [{"name": name} for name in previous]
    return Package(f"msg_{asset}", asset, f"MUG-{asset}", "acme", campaign, files, lineage, delivered)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server.serving() as address:
        yield address


@pytest.fixture(params=["folder", "s3"])
def place(request: Any, tmp_path: Path) -> tuple[base.Destination, Listing]:
    """Return a destination, and a function that lists its files by path."""
    if request.param == "folder":
        top = tmp_path / "hand over"

        def on_disk() -> dict[str, bytes]:
            paths = (path for path in top.rglob("*") if path.is_file())
            return {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}

        return base.build("folder", {"path": str(top)}), on_disk
    address = request.getfixturevalue("s3")
    bucket_name = f"handover-{os.urandom(4).hex()}"
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
    )
    client.create_bucket(Bucket=bucket_name)

    def in_bucket() -> dict[str, bytes]:
        listed = client.list_objects_v2(Bucket=bucket_name).get("Contents", [])
        keys = [entry["Key"] for entry in listed]
        assert all(key.startswith("brand/") for key in keys)
        return {key[6:]: client.get_object(Bucket=bucket_name, Key=key)["Body"].read() for key in keys}

    config = {"bucket": bucket_name, "prefix": "brand", "endpoint_url": address, "region": "us-east-1"}
    return base.build("s3", config, "key:secret"), in_bucket


def rows(list_files: dict[str, bytes], asset: int = 1) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(list_files[f"autumn/manifest/{asset}.csv"].decode("utf-8-sig"))))


def test_files_arrive_with_sidecar_and_manifest(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    assert destination.validate() == []
    receipt = destination.push(package(file(), file("acme_MUG-1_wide.jpg", b"wide", "wide")), NO_SESSION)
    assert [entry["name"] for entry in receipt.files] == ["acme_MUG-1.jpg", "acme_MUG-1_wide.jpg"]
    files = list_files()
    assert files["autumn/acme_MUG-1.jpg"] == b"\xff\xd8 image"
    sidecar = json.loads(files["autumn/acme_MUG-1.jpg.json"])
    assert sidecar["sha256"] == hashlib.sha256(files["autumn/acme_MUG-1.jpg"]).hexdigest()
    assert sidecar["lineage"]["prompt"]["version"] == "studio v3"
    assert [(row["name"], row["seed"], row["approved_by"]) for row in rows(files)] == [
        ("acme_MUG-1.jpg", "7", "Ana"),
        ("acme_MUG-1_wide.jpg", "7", "Ana"),
    ]


def test_putting_twice_changes_nothing(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    destination.push(package(file()), NO_SESSION)
    before = list_files()
    destination.push(package(file(), previous=("acme_MUG-1.jpg",)), NO_SESSION)
    assert list_files() == before


def test_a_replacement_takes_the_old_files_away(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    destination.push(package(file("old.jpg")), NO_SESSION)
    destination.push(package(file("new.jpg", b"new"), previous=("old.jpg",)), NO_SESSION)
    assert sorted(list_files()) == ["autumn/manifest/1.csv", "autumn/new.jpg", "autumn/new.jpg.json"]
    assert [row["name"] for row in rows(list_files())] == ["new.jpg"]


def test_removing_takes_only_this_asset_away_and_may_be_repeated(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    destination.push(package(file("one.jpg"), asset=1), NO_SESSION)
    destination.push(package(file("two.jpg"), asset=2), NO_SESSION)
    gone = package(asset=1, previous=("one.jpg", "two.jpg", "never-there.jpg"))
    destination.recall(gone, NO_SESSION)
    destination.recall(gone, NO_SESSION)
    assert sorted(list_files()) == ["autumn/manifest/2.csv", "autumn/two.jpg", "autumn/two.jpg.json"]
    destination.recall(package(asset=2, previous=("two.jpg",)), NO_SESSION)
    assert list_files() == {}


def test_a_name_that_another_asset_has_is_refused(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    destination.push(package(file("same.jpg"), asset=1), NO_SESSION)
    before = list_files()
    with pytest.raises(DeliveryError, match="belongs to asset 1") as refused:
        destination.push(package(file("same.jpg", b"other"), asset=2), NO_SESSION)
    assert refused.value.is_final
    assert list_files() == before


def test_only_the_approved_bytes_are_written(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    swapped = DeliveryFile("square", "a.jpg", "image/jpeg", "0" * 64, 1, 1, 1, read=lambda: b"other")
    with pytest.raises(DeliveryError, match="not the file that was approved"):
        destination.push(package(swapped), NO_SESSION)
    assert "autumn/a.jpg" not in list_files()
    assert "autumn/manifest/1.csv" not in list_files()


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/passwd", "..", "a\\b.jpg", ".hidden.jpg", "a\n.jpg", "con.jpg", "x" * 250 + ".jpg"]
)
def test_unsafe_names_are_refused_before_anything_is_written(
    place: tuple[base.Destination, Listing], name: str
) -> None:
    destination, list_files = place
    with pytest.raises(DeliveryError, match="not safe"):
        destination.push(package(file("good.jpg"), file(name)), NO_SESSION)
    assert list_files() == {}


def test_a_slash_in_a_name_makes_a_folder(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    destination.push(package(file("mugs/one.jpg")), NO_SESSION)
    assert "autumn/mugs/one.jpg" in list_files()


def test_two_files_of_one_name_are_refused(place: tuple[base.Destination, Listing]) -> None:
    with pytest.raises(DeliveryError, match="same file name"):
        place[0].push(package(file("a.jpg"), file("a.jpg", b"other", "wide")), NO_SESSION)


def test_a_cell_is_never_a_formula(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    evil = Package("m", 1, "=HYPERLINK(1)", "acme", "autumn", (file(),), {"prompt": {"version": "@cmd"}})
    destination.push(evil, NO_SESSION)
    assert (rows(list_files())[0]["sku"], rows(list_files())[0]["prompt"]) == ("'=HYPERLINK(1)", "'@cmd")


def test_eight_writers_at_once_lose_no_manifest_row(place: tuple[base.Destination, Listing]) -> None:
    destination, list_files = place
    packages = {asset: package(file(f"{asset}.jpg", str(asset).encode()), asset=asset) for asset in range(1, 9)}
    race_without_errors(*(partial(destination.push, mine, NO_SESSION) for mine in packages.values()))
    files = list_files()
    assert [[row["name"] for row in rows(files, asset)] for asset in packages] == [[f"{n}.jpg"] for n in packages]


def test_a_delivery_touches_no_file_of_another_asset(place: tuple[base.Destination, Listing]) -> None:
    """So an asset costs the same however many came before: three files written, and none of the others read."""
    destination, list_files = place
    destination.push(package(file("one.jpg"), asset=1), NO_SESSION)
    before = list_files()
    storage: Any = destination.storage  # type: ignore[attr-defined]
    paths: list[str] = []
    for name in ("read", "write", "delete"):
        setattr(storage, name, partial(_note, paths, getattr(storage, name)))
    destination.push(package(file("two.jpg"), asset=2), NO_SESSION)
    destination.recall(package(asset=2, previous=("two.jpg",)), NO_SESSION)
    assert set(paths) == {"autumn/two.jpg", "autumn/two.jpg.json", "autumn/manifest/2.csv"}
    assert list_files() == before


def _note(paths: list[str], act: Callable[..., Any], path: str, *content: bytes) -> Any:
    paths.append(path)
    return act(path, *content)


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
    assert sorted(path.name for path in (tmp_path / "autumn").iterdir()) == ["a.jpg", "a.jpg.json"]


@pytest.mark.parametrize("config", [{}, {"path": "relative/folder"}, {"path": "/proc/no/such"}])
def test_a_folder_that_cannot_be_used_says_why(config: dict[str, str]) -> None:
    (sentence,) = base.build("folder", config).validate()
    assert sentence.startswith("path: ")


def test_a_safe_path_is_left_as_it_is() -> None:
    assert safe_path("autumn", "Tasse blå (2).jpg") == "autumn/Tasse blå (2).jpg"
