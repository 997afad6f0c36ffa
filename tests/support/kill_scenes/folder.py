"""The scenes of the destinations "folder", "s3" and "sftp"."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import boto3

from tests.support import s3_server, sftp_server
from tests.support.faulty_proxy import FAULTS, SLOW
from tests.support.kill_scenes import Scene, Shown

IMAGES = (".jpg", ".jpeg", ".png", ".webp")


class HotFolderScene(Scene):
    """The base of all. A product is a folder of two images that somebody else has put there."""

    def list_files(self) -> dict[str, str]:
        """Return what identifies each file, by path."""
        raise NotImplementedError

    def read(self, path: str) -> bytes:
        raise NotImplementedError

    def write(self, path: str, content: bytes) -> None:
        raise NotImplementedError

    def remove(self, path: str) -> None:
        raise NotImplementedError

    def add_product(self, key: str) -> None:
        for number in (1, 2):
            self.write(f"theirs/{number}-{key}.jpg", f"theirs {number} {key}".encode())

    def remove_product(self, key: str) -> None:
        for number in (1, 2):
            self.remove(f"theirs/{number}-{key}.jpg")

    def shown(self, key: str) -> Shown:
        files = self.list_files()
        theirs = [(mark, "") for path, mark in sorted(files.items()) if path.startswith("theirs/") and key in path]
        return theirs + sorted((files[path], "") for path in self._list_ours(files, key))

    def _list_ours(self, files: dict[str, str], key: str) -> list[str]:
        named = [path for path in files if key.lower() in path and not path.startswith("theirs/")]
        return [path for path in named if path.lower().endswith(IMAGES)]

    def stored(self) -> Counter[str]:
        return Counter(mark for path, mark in self.list_files().items() if path.lower().endswith(IMAGES))

    def problems(self, key: str, ours: Sequence[str]) -> list[str]:
        """Return half-written files, and what sidecars and manifests say wrongly."""
        files = self.list_files()
        paths = self._list_ours(files, key)
        partial = [f"{path} was left" for path in files if any(part[0] == "." for part in PurePosixPath(path).parts)]
        sidecars = [path for path in files if key.lower() in path and path.endswith(".json")]
        wrong = [f"{path} describes no file" for path in sidecars if path.removesuffix(".json") not in paths]
        wrong += [f"{path} has no sidecar" for path in paths if f"{path}.json" not in sidecars]
        names = {json.loads(self.read(path))["name"] for path in sidecars} if not wrong else set()
        listed = {row["name"] for path in files if path.endswith(".csv") for row in self._read_rows(path, key)}
        return partial + wrong + ([] if listed == names or wrong else [f"the manifest lists {listed} for {names}"])

    def _read_rows(self, path: str, key: str) -> list[dict[str, str]]:
        rows = csv.DictReader(io.StringIO(self.read(path).decode("utf-8-sig")))
        return [row for row in rows if row["sku"] == key]

    def expect_delivered(self, before: Shown, ours: Shown) -> Shown:
        return before + sorted((mark, "") for mark, _alt in ours)


class FilesScene(HotFolderScene):
    """The base of those whose files are on this machine. top: where they are."""

    top: Path

    def list_files(self) -> dict[str, str]:
        paths = [path for path in self.top.rglob("*") if path.is_file()]
        return {path.relative_to(self.top).as_posix(): self.identify(path.read_bytes()) for path in paths}

    def read(self, path: str) -> bytes:
        return (self.top / path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        (self.top / path).parent.mkdir(parents=True, exist_ok=True)
        (self.top / path).write_bytes(content)

    def remove(self, path: str) -> None:
        (self.top / path).unlink()


class FolderScene(FilesScene):
    kind = "folder"
    faults = ()

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.top = folder / "hand over"

    def settings(self) -> tuple[dict[str, Any], str]:
        return {"path": str(self.top)}, ""


class SftpScene(FilesScene):
    kind = "sftp"
    faults = sftp_server.FAULTS

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.server = stack.enter_context(sftp_server.serving(folder))
        self.proxies.append(self.server.faults)
        self.top = folder / "brand"

    def settings(self) -> tuple[dict[str, Any], str]:
        return self.server.config(folder="brand"), sftp_server.PASSWORD

    def own_faults(self) -> Mapping[str, Callable[[], object]]:
        return {
            "another host key": partial(self.server.change_host_key, "of somebody else"),
            "no posix-rename": partial(setattr, self.server, "lacks_posix_rename", True),
            "another password": partial(self.server.passwords.update, {sftp_server.USER: "another"}),
        }

    def heal(self) -> None:
        super().heal()
        self.server.change_host_key("first")
        self.server.lacks_posix_rename = False
        self.server.passwords[sftp_server.USER] = sftp_server.PASSWORD


class BucketScene(HotFolderScene):
    kind = "s3"
    faults = tuple(fault for fault in FAULTS if fault not in {SLOW, "401 before", "413 before"})

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.address = stack.enter_context(s3_server.serving())
        self.proxy = self.add_proxy(self.address)
        self.bucket = "handover"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=self.bucket)

    def settings(self) -> tuple[dict[str, Any], str]:
        config = {"bucket": self.bucket, "endpoint_url": self.proxy.url, "region": "us-east-1"}
        return config, "key:secret"

    def list_files(self) -> dict[str, str]:
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {entry["Key"]: entry["ETag"].strip('"') for entry in listed}

    def identify(self, content: bytes) -> str:
        return hashlib.md5(content, usedforsecurity=False).hexdigest()  # which the server lists

    def read(self, path: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=path)["Body"].read()
        return content

    def write(self, path: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=path, Body=content)

    def remove(self, path: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=path)
