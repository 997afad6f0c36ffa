"""Hot folders for tests: on disk and in a bucket of a real S3 server, with what lies in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from review.delivery import base
from review.delivery.base import DeliveryFile, Package
from review.delivery.names import remote_name
from tests.support import s3_server, sftp_server

NO_SESSION: Any = None  # hot folders need neither journal nor limiter: their writes may be repeated
LINEAGE = {
    "prompt": {"version": "studio v3"},
    "seed": 7,
    "model": {"name": "packshot"},
    "generated_at": "2026-11-30T10:00:00+00:00",
    "generation_seconds": 4.2,
    "checks": [{"check": "sharpness", "outcome": "pass", "message": "Sharp."}],
    "disclaimer": "Generated with AI.",
    "approval": {"by": "Ana", "at": "2026-11-30T11:00:00+00:00", "note": "Lovely light."},
}


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


def package(*files: DeliveryFile, asset: int = 1, previous: Any = (), alt: str = "A sage mug") -> Package:
    """Return a package. previous: the entries of an earlier receipt."""
    return Package(
        f"msg_{asset}", asset, f"MUG-{asset}", "acme", "autumn", files, LINEAGE, previous, title="Mug", alt_text=alt
    )


def path_of(file: DeliveryFile, asset: int = 1) -> str:
    """Return where a file of an asset is to lie."""
    return f"autumn/{remote_name(asset, file.name, file.sha256)}"


@dataclass
class Place:
    """A destination. list_files: what lies there, by path. server: of a bucket."""

    destination: Any
    list_files: Callable[[], dict[str, bytes]]
    server: s3_server.S3Server | None = None
    bucket: str = ""

    def object(self, path: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Return (what HEAD says, tags) of an object."""
        assert self.server is not None
        client, place = s3_server.connect(self.server.url), {"Bucket": self.bucket, "Key": f"brand/{path}"}
        tags = client.get_object_tagging(**place)["TagSet"]
        return client.head_object(**place, ChecksumMode="ENABLED"), {tag["Key"]: tag["Value"] for tag in tags}


def create_folder(top: Path, secret: str = "", **config: Any) -> Place:
    def on_disk() -> dict[str, bytes]:
        paths = (path for path in top.rglob("*") if path.is_file())
        return {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}

    return Place(base.build("folder", {"path": str(top), **config}, secret), on_disk)


def create_sftp(server: sftp_server.SftpServer, purge: str = "", **config: Any) -> Place:
    folder = f"brand-{os.urandom(4).hex()}"
    top = server.top / folder

    def on_server() -> dict[str, bytes]:
        paths = (path for path in top.rglob("*") if path.is_file())
        return {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}

    secret = f"{sftp_server.PASSWORD} {purge}" if purge else sftp_server.PASSWORD
    return Place(base.build("sftp", server.config(folder=folder, **config), secret), on_server)


def create_bucket(server: s3_server.S3Server, purge: str = "", **config: Any) -> Place:
    name, client = f"handover-{os.urandom(4).hex()}", s3_server.connect(server.url)
    client.create_bucket(Bucket=name)

    def in_bucket() -> dict[str, bytes]:
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=name).get("Contents", [])]
        assert all(key.startswith("brand/") for key in keys)
        return {key[6:]: client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}

    settings = {"bucket": name, "prefix": "brand", "endpoint_url": server.url, "region": "us-east-1", **config}
    return Place(base.build("s3", settings, f"key:secret {purge}"), in_bucket, server, name)
