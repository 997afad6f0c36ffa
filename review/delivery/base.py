"""The interface of destination plug-ins, which deliver and remove an asset's files."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from core.fetching import redact_text
from core.plugin_config import Config
from core.registry import Registry


class DeliveryError(Exception):
    """A failed attempt. `is_final`: a retry cannot help. `retry_after_seconds`: if the other side gave a time.

    `disables`: the destination is to be disabled.
    """

    def __init__(
        self,
        message: str,
        *,
        is_final: bool = False,
        status_code: int | None = None,
        retry_after_seconds: float | None = None,
        disables: bool = False,
    ) -> None:
        self.message = redact_text(message)
        super().__init__(self.message)
        self.is_final = is_final
        self.status_code = status_code
        self.retry_after_seconds = retry_after_seconds
        self.disables = disables


@dataclass(frozen=True)
class DeliveryFile:
    """One rendition to deliver.

    `read` returns its bytes. `name` follows the spec's pattern, extension included. `url` is stable and needs a token.
    """

    spec: str
    name: str
    media_type: str
    sha256: str
    width: int
    height: int
    bytes: int
    read: Callable[[], builtins.bytes]
    url: str = ""


@dataclass(frozen=True)
class Package:
    """The files of one asset for one destination.

    `lineage`: feed row, prompt version, model, seed, checks, person. `event_id` is the same for all retries.
    `previous_names`: files of an earlier delivery that the new ones replace.
    """

    event_id: str
    asset_id: int
    sku: str
    brand: str
    campaign: str
    files: Sequence[DeliveryFile]
    lineage: Mapping[str, Any]
    previous_names: Sequence[str] = ()

    @property
    def asset_fields(self) -> dict[str, Any]:
        return {"asset": self.asset_id, "sku": self.sku, "brand": self.brand, "campaign": self.campaign}

    @property
    def delivered_files(self) -> list[Mapping[str, str]]:
        """Return the files as the receipt of a delivery lists them."""
        return [{"spec": file.spec, "name": file.name, "sha256": file.sha256} for file in self.files]


@dataclass(frozen=True)
class Receipt:
    """The files that the destination has now: [{"spec", "name", "sha256"}], and its HTTP status if it has one."""

    files: Sequence[Mapping[str, str]] = field(default_factory=list)
    status_code: int | None = None
    message: str = ""


class Reach(StrEnum):
    """The kind of place that a destination writes to. It decides which settings a brand may have."""

    INTERNET = "internet"  # public addresses
    FOLDER = "folder"  # the folder of this server in its setting "path": it must belong to the brand
    BUCKET = "bucket"  # a service at "endpoint_url", without keys of its own by the rights of this server and "prefix"


class Destination(Protocol):
    """One kind of destination. label: its name for people. config: its settings. An instance is made for each delivery.

    receiver_settings: those that decide who gets the secret; if one changes, the secret must be entered again.
    """

    kind: str
    label: str
    config: type[Config]
    reach: Reach = Reach.INTERNET
    receiver_settings: tuple[str, ...] = ()

    def __init__(self, config: Mapping[str, Any], secret: str) -> None: ...

    def validate(self) -> list[str]:
        """Return the problems of config and secret as sentences."""

    def put(self, package: Package) -> Receipt:
        """Deliver the files; safe to repeat. Raises DeliveryError."""

    def remove(self, package: Package) -> Receipt:
        """Remove the files; safe to repeat, also when nothing is there. Raises DeliveryError."""


DESTINATIONS: Final[Registry[type[Destination]]] = Registry(
    "destination kind",
    "proofline.destinations",
    {
        "folder": "review.delivery.folder:Folder",
        "s3": "review.delivery.folder:Bucket",
        "webhook": "review.delivery.webhook:Webhook",
    },
)


def build(kind: str, config: Mapping[str, Any], secret: str = "") -> Destination:
    """Return a destination of this kind. Raises ValueError, which lists the known kinds."""
    return DESTINATIONS.get(kind)(config, secret)
