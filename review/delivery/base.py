"""The interface of destination plug-ins, which deliver and remove an asset's files.

A plug-in knows no models: the service hands it a `Session` for each attempt, with a journal, in which every change of
the destination is recorded before it is made, and a limiter, which all workers share.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from core.fetching import redact_text
from core.plugin_config import Config
from core.registry import Registry
from review.delivery.marks_advice import SAVED_AGAIN, MarksAdvice


class Need(StrEnum):
    """The change by a person that a failed delivery needs before it can succeed."""

    NOTHING = ""
    RULES = "rules"  # the rules of the destination do not send the image
    PRODUCT = "product"  # the product was not found; the kind has a `product_setting`, in which a person chooses it


class DeliveryError(Exception):
    """A failed attempt. `is_final`: a retry cannot help. `retry_after_seconds`: if the other side gave a time.

    `is_uncertain`: the destination may or may not have done what it was asked. Nothing is sent again before the
    plug-in has looked. `disables`: the destination is to be disabled. `needs`: what a person must change.
    """

    def __init__(
        self,
        message: str,
        *,
        is_final: bool = False,
        is_uncertain: bool = False,
        status_code: int | None = None,
        retry_after_seconds: float | None = None,
        disables: bool = False,
        needs: Need = Need.NOTHING,
    ) -> None:
        self.message = redact_text(message)
        super().__init__(self.message)
        self.is_final = is_final
        self.is_uncertain = is_uncertain
        self.status_code = status_code
        self.retry_after_seconds = retry_after_seconds
        self.disables = disables
        self.needs = needs


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
    `previous`: the files of an earlier delivery, as its receipt listed them; the new ones replace them. `subject`: what
    is known of the product or article: {"key", "kind", "name", "url", "handle", "barcode", …}, its feed row included.
    """

    event_id: str
    asset_id: int
    sku: str
    brand: str
    campaign: str
    files: Sequence[DeliveryFile]
    lineage: Mapping[str, Any]
    previous: Sequence[Mapping[str, str]] = ()
    title: str = ""
    alt_text: str = ""
    caption: str = ""
    subject: Mapping[str, Any] = field(default_factory=dict)

    @property
    def previous_names(self) -> list[str]:
        return [file["name"] for file in self.previous]

    @property
    def asset_fields(self) -> dict[str, Any]:
        return {"asset": self.asset_id, "sku": self.sku, "brand": self.brand, "campaign": self.campaign}

    @property
    def delivered_files(self) -> list[Mapping[str, str]]:
        """Return the files as the receipt of a delivery lists them."""
        return [{"spec": file.spec, "name": file.name, "sha256": file.sha256} for file in self.files]


@dataclass(frozen=True)
class Receipt:
    """The files that the destination has now, and its HTTP status if it has one.

    files: [{"spec", "name", "sha256"}], and where the destination has them: "id", its own name of the file, and "url",
    where it serves it.
    """

    files: Sequence[Mapping[str, str]] = field(default_factory=list)
    status_code: int | None = None
    message: str = ""


@dataclass(frozen=True)
class Step:
    """One change of a destination as the journal has it. is_done: it is known to be made; its result is `result`.

    age_seconds: the time since it was sent.
    """

    key: str
    is_done: bool
    result: Mapping[str, Any]
    age_seconds: float = 0.0


class Journal(Protocol):
    """The changes that one delivery made at its destination, over all its attempts, kept in the database."""

    @property
    def before(self) -> Mapping[str, Any] | None:
        """The destination's state before the first change, as `keep` got it."""

    def keep(self, before: Mapping[str, Any]) -> None:
        """Keep the destination's state before the first change; later calls change nothing."""

    def once(
        self,
        key: str,
        send: Callable[[], Mapping[str, Any]],
        look_up: Callable[[], Mapping[str, Any] | None],
    ) -> Mapping[str, Any]:
        """Return the result of a change that must be made once.

        A change that is done already is not made again. If it is unknown whether an earlier attempt made it, `look_up`
        is asked first; None means that it was not made. `send` is called after a row names the change, and raises
        DeliveryError: with is_uncertain the row stays open, otherwise the change counts as not made.
        """

    def steps(self, prefix: str = "") -> Sequence[Step]:
        """Return the changes whose keys begin so, oldest first; those that were undone are left out."""

    def undo(self, key: str) -> None:
        """Record that a change was taken back, or that it turned out not to be made."""


class Limiter(Protocol):
    """A rate limit that all workers share: a bucket of points that fills by itself."""

    def wait(self, cost: float) -> None:
        """Take so many points, and wait until the bucket has them. Raises DeliveryError if that takes too long."""

    def report(self, *, available: float, maximum: float, per_second: float, unused: float = 0.0) -> None:
        """Correct the bucket by what the service says of it. unused: points of `wait` that were not needed."""


class Lock(Protocol):
    """A lock that all workers share."""

    def __call__(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of this name during a block, for a change that needs what was read before.

        The name must contain the address of the place. Raises DeliveryError if another worker holds it for long.
        """


def no_lock(name: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Session:
    """The journal, the rate limit and the locks that a plug-in gets for one attempt."""

    journal: Journal
    limiter: Limiter
    lock: Lock = no_lock


@dataclass(frozen=True)
class Product:
    """A product of a destination. id: as the setting `product_setting` has it. image: an address, or ""."""

    id: str
    title: str
    sku: str = ""
    image: str = ""


class Reach(StrEnum):
    """The kind of place that a destination writes to. It decides which settings a brand may have."""

    INTERNET = "internet"  # public addresses
    FOLDER = "folder"  # the folder of this server in its setting "path": it must belong to the brand
    BUCKET = "bucket"  # a service at "endpoint_url", without keys of its own by the rights of this server and "prefix"


class Destination:
    """One kind of destination. label: its name for people. config: its settings. An instance is made for each delivery.

    receiver_settings: those that decide who gets the secret; if one changes, the secret must be entered again.
    A kind must have `push` and `recall`; the other methods have defaults for kinds that cannot do more.
    """

    kind: str
    label: str
    description: str = ""
    """A sentence for the page on which people choose a kind: what is delivered, and what it is for."""
    config: type[Config]
    reach: Reach = Reach.INTERNET
    receiver_settings: tuple[str, ...] = ()
    credentials_hint: str = ""
    """A sentence for the form that says which secret to enter."""
    marks_advice: MarksAdvice = SAVED_AGAIN
    """Text for people whose destination serves files without their marks of origin: the cause, and what to do."""
    product_setting: str = ""
    """The text setting with the products that people chose by hand, as JSON: {SKU: product}. An error that `needs` a
    product is mended there."""

    def __init__(self, config: Mapping[str, Any], secret: str) -> None: ...

    def validate(self) -> list[str]:
        """Return the problems of config and secret as sentences, without asking the destination."""
        return []

    def test_connection(self, session: Session) -> list[str]:
        """Ask the destination whether it can be used; return what is missing as sentences. Leaves it as it was."""
        return []

    def find_products(self, text: str, session: Session) -> list[Product]:
        """Return the destination's products that match a text, the best first, for a person to choose one.

        Raises NotImplementedError where products cannot be searched, and DeliveryError.
        """
        raise NotImplementedError

    def plan(self, package: Package, session: Session) -> list[str]:
        """Return what `push` would do, a sentence for each change. Changes nothing. Raises DeliveryError."""
        return [f"Send {file.name} ({file.width} × {file.height} px)." for file in package.files]

    def push(self, package: Package, session: Session) -> Receipt:
        """Deliver the files; safe to repeat. Raises DeliveryError."""
        raise NotImplementedError

    def recall(self, package: Package, session: Session) -> Receipt:
        """Remove the files of `package.previous` and of the journal; safe to repeat. Raises DeliveryError."""
        raise NotImplementedError

    def restore(self, package: Package, session: Session) -> Receipt:
        """Remove the files, and put back what `session.journal.before` says was there; safe to repeat."""
        return self.recall(package, session)

    def read_delivered(self, file: Mapping[str, str]) -> builtins.bytes | None:
        """Return what the destination serves for a file of a receipt; None if it serves nothing.

        Raises NotImplementedError where that cannot be known, and DeliveryError if the destination does not answer.
        """
        raise NotImplementedError


DESTINATIONS: Final[Registry[type[Destination]]] = Registry(
    "destination kind",
    "proofline.destinations",
    {
        "bynder": "review.delivery.bynder.destination:Bynder",
        "cloudinary": "review.delivery.cloudinary:Cloudinary",
        "contentful": "review.delivery.contentful.destination:Contentful",
        "folder": "review.delivery.hot_folder.destinations:Folder",
        "http": "review.delivery.http_template.destination:HttpTemplate",
        "resourcespace": "review.delivery.resourcespace.destination:ResourceSpace",
        "s3": "review.delivery.hot_folder.destinations:Bucket",
        "sanity": "review.delivery.sanity.destination:Sanity",
        "sftp": "review.delivery.hot_folder.sftp:Sftp",
        "shopify": "review.delivery.shopify.destination:Shopify",
        "strapi": "review.delivery.strapi.destination:Strapi",
        "wagtail": "review.delivery.wagtail.destination:Wagtail",
        "webhook": "review.delivery.webhook:Webhook",
        "woocommerce": "review.delivery.wordpress.woocommerce:WooCommerce",
        "wordpress": "review.delivery.wordpress.destination:WordPress",
    },
)


def build(kind: str, config: Mapping[str, Any], secret: str = "") -> Destination:
    """Return a destination of this kind. Raises ValueError, which lists the known kinds."""
    return DESTINATIONS.get(kind)(config, secret)
