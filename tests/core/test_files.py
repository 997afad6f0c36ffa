"""Tests of content-addressed storage in a folder and in an S3-compatible bucket over a real socket."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from core import stored_files
from core.errors import NotAllowed, NotFound, StorageFailed
from tests.support import s3_server
from tests.support.racing import race_without_errors

DATA = b"forty-two mugs" * 1000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.MEDIA_ROOT = tmp_path
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
    return tmp_path


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    with s3_server.serving() as address:
        yield address


@pytest.fixture
def bucket(s3_address: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "for-the-local-server-only")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    name = f"proofline-{os.urandom(4).hex()}"
    boto3.client("s3", endpoint_url=s3_address).create_bucket(Bucket=name)
    options = {"bucket_name": name, "endpoint_url": s3_address, "querystring_expire": 600, "file_overwrite": True}
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    }
    return name


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest) -> object:
    return request.getfixturevalue(request.param)


def test_a_file_is_named_by_its_content_and_read_back(storage: object) -> None:
    stored = stored_files.put(DATA, suffix="webp")
    assert stored == stored_files.StoredFile(f"sha256/{SHA[:2]}/{SHA[2:4]}/{SHA}.webp", SHA, len(DATA))
    assert stored_files.read(stored.key) == DATA
    assert stored_files.exists(stored.key)


def test_putting_twice_keeps_one_file(storage: object) -> None:
    assert stored_files.put(DATA, suffix="webp") == stored_files.put(DATA, suffix=".webp")
    listed = list(stored_files.list_keys())
    assert [(item.sha256, item.bytes) for item in listed] == [(SHA, len(DATA))]


def test_a_missing_file_is_not_found(storage: object) -> None:
    with pytest.raises(NotFound, match="missing"):
        stored_files.read("sha256/00/00/none.webp")


def test_a_file_put_again_is_not_swept(storage: object) -> None:
    key = stored_files.put(DATA, suffix="webp").key
    assert not stored_files.delete_if_older(key, than=datetime.now(UTC) - timedelta(hours=1))
    assert stored_files.delete_if_older(key, than=datetime.now(UTC) + timedelta(minutes=1))
    assert not stored_files.exists(key)
    assert not stored_files.delete_if_older(key, than=datetime.now(UTC) + timedelta(minutes=1))


def test_an_old_file_on_disk_becomes_young_when_put_again(folder: Path) -> None:
    key = stored_files.put(DATA, suffix="webp").key
    os.utime(folder / key, (1, 1))
    stored_files.put(DATA, suffix="webp")
    assert (folder / key).stat().st_mtime > 1_000_000


def test_a_file_that_a_power_cut_left_empty_is_written_again(folder: Path) -> None:
    key = stored_files.put(DATA, suffix="webp").key
    (folder / key).write_bytes(b"")
    stored_files.put(DATA, suffix="webp")
    assert stored_files.read(key) == DATA


def test_a_failed_write_leaves_neither_file_nor_rubbish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored_files.os, "fsync", full)
    with pytest.raises(StorageFailed, match="full"):
        stored_files.put(DATA, suffix="webp")
    assert list(stored_files.list_keys()) == []
    assert list(stored_files.list_keys(stored_files.TEMPORARY)) == []


def test_sixteen_writers_of_one_content_leave_one_whole_file(folder: Path) -> None:
    def write() -> bytes:
        return stored_files.read(stored_files.put(DATA, suffix="webp").key)

    assert race_without_errors(*[write] * 16) == [DATA] * 16
    assert len(list(stored_files.list_keys())) == 1
    assert list(stored_files.list_keys(stored_files.TEMPORARY)) == []


def test_a_key_cannot_leave_the_folder(folder: Path) -> None:
    from django.core.exceptions import SuspiciousFileOperation

    with pytest.raises(SuspiciousFileOperation):
        stored_files.read("sha256/../../etc/passwd")


def test_an_address_on_disk_opens_one_file_until_it_expires(folder: Path) -> None:
    key = stored_files.put(DATA, suffix="webp").key
    token = stored_files.open_url(key).rsplit("/", 1)[-1]
    assert stored_files.parse_open_url(token) == key
    with pytest.raises(NotAllowed, match="not one of ours"):
        stored_files.parse_open_url(token[:-1] + ("A" if token[-1] != "A" else "B"))
    with pytest.raises(NotAllowed, match="expired"):
        stored_files.parse_open_url(stored_files.open_url(key, seconds=-1).rsplit("/", 1)[-1])


def test_a_presigned_address_of_a_bucket_serves_the_bytes(bucket: str) -> None:
    key = stored_files.put(DATA, suffix="webp").key
    address = stored_files.open_url(key)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address) as answer:
        assert answer.read() == DATA
        assert answer.headers["Content-Type"] == "image/webp"


def test_an_answer_may_be_kept_and_carries_its_type(folder: Path) -> None:
    answer = stored_files.file_response(stored_files.put(DATA, suffix="png").key)
    assert answer["Content-Type"] == "image/png"
    assert "immutable" in answer["Cache-Control"]
    assert b"".join(answer.streaming_content) == DATA  # type: ignore[union-attr]
