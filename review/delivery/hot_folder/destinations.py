"""Hot folders on the server ("folder") and in buckets ("s3"); what both do is in base.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import field_validator

from core.plugin_config import Config, Source, setting
from review.delivery.base import Reach
from review.delivery.hot_folder.base import HotFolder
from review.delivery.hot_folder.bucket import BucketStorage, split_secret
from review.delivery.hot_folder.cdn import Cdn, ServedConfig
from review.delivery.hot_folder.places import DirectoryStorage
from review.delivery.hot_folder.sidecars import MAX_TAGS, TAGS

NO_TAGS = "none"


class FolderPlace(Config):
    path: str = setting("Folder", "An absolute path on the server.", default="", example="/srv/handover")
    within: Path | None = setting("The folder that it must be in, links resolved", source=Source.PROGRAM)


class FolderConfig(ServedConfig, FolderPlace):
    """The place comes first in the form: fields are in the order of the bases, the last one first."""


class Folder(HotFolder):
    """A directory of this server."""

    kind = "folder"
    label = "Folder on the server"
    description = "Files in a folder that another program reads, or that a web server serves."
    config = FolderConfig
    reach = Reach.FOLDER
    receiver_settings = ("purge_url", "public_url")  # {url} may be the host of the purge
    credentials_hint = "Only for the purge of a cache: the secret in its header."

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        given = FolderConfig.read(config)
        super().__init__(DirectoryStorage(Path(given.path), given.within), Cdn(given, secret))


class BucketPlace(Config):
    bucket: str = setting("Bucket", needed="Give the name of a bucket.", example="shop-images")
    prefix: str = setting("Folder in the bucket", default="", example="acme/autumn")
    endpoint_url: str = setting("Address of the service", "Empty: Amazon’s.", default="")
    region: str = setting("Region", default="", example="eu-central-1")
    tags: list[str] = setting(
        "Tags",
        f"One a line: {', '.join(TAGS)}, or one of your own as name=value; “{NO_TAGS}” for none.",
        default=["brand", "campaign", "spec", "state"],
        default_text="brand, campaign, spec, state",
        example="brand\nteam=web",
    )

    @field_validator("bucket")
    @classmethod
    def _ensure_bucket(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
            raise ValueError(f"{name!r} is not a bucket name.")
        return name

    @field_validator("tags")
    @classmethod
    def _ensure_tags(cls, tags: list[str]) -> list[str]:
        if tags == [NO_TAGS]:
            return []
        for tag in tags:
            if tag not in TAGS and not re.fullmatch(r"[\w .:/+@-]{1,128}=[\w .:/=+@-]{0,256}", tag):
                raise ValueError(f"{tag!r} is no tag: give one of {', '.join(TAGS)}, or name=value.")
        if len({tag.partition("=")[0] for tag in tags}) < len(tags) or len(tags) > MAX_TAGS:
            raise ValueError(f"Give at most {MAX_TAGS} tags, each once.")
        return tags


class BucketConfig(ServedConfig, BucketPlace):
    """The place comes first in the form."""


class Bucket(HotFolder):
    """A bucket of an S3-compatible service."""

    kind = "s3"
    label = "S3 bucket"
    description = "Files in a bucket of Amazon S3 or of a service that is compatible with it."
    config = BucketConfig
    reach = Reach.BUCKET
    receiver_settings = ("bucket", "prefix", "endpoint_url", "purge_url", "public_url")
    credentials_hint = (
        "The access key’s id, a colon, and the secret access key. For the purge of a cache: a space, and its secret."
    )

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        given = BucketConfig.read(config)
        key, value, purge = split_secret(secret)
        storage = BucketStorage(given.bucket, given.prefix, given.endpoint_url, given.region, key=key, value=value)
        super().__init__(storage, Cdn(given, purge), tuple(given.tags))
