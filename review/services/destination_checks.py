"""Ask a destination whether it can be used, and what a delivery would do there. Nothing is changed.

No function here runs in a transaction, because a destination may take its time to answer.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import structlog
from django.conf import settings
from django.utils.translation import gettext as _

from core import access
from core.access import Action
from core.fetching import Policy
from core.models import User
from core.selectors.rows import first_or_refuse
from generation.models import Asset
from review.choices import ObservedState
from review.delivery import base, http
from review.delivery.base import DeliveryError
from review.models import Delivery, Destination
from review.selectors import deliveries as selectors
from review.services import destinations, packages
from review.services.delivery_sessions import open_reading_session
from review.services.destination_answers import hide_secret_of, tidy_error, tidy_text
from review.services.web_slots import slot

log = structlog.get_logger(__name__)

PLANNED_ASSETS = 3
MAX_PRODUCTS = 12
IMAGES_AT_ONCE = 6
MAX_IMAGE_BYTES = 400_000
IMAGE_SECONDS = 5.0
#: The image formats of products that are shown, by how their files begin.
_IMAGES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}


@dataclass(frozen=True)
class ConnectionTest:
    """problems: what is missing, as sentences. was_asked: False if this kind of destination cannot be asked."""

    problems: list[str]
    was_asked: bool


@dataclass(frozen=True)
class OfferedProduct:
    """A product to choose. image: an address that has the bytes of the image in it, or ""."""

    product: base.Product
    image: str


@dataclass(frozen=True)
class ProductSearch:
    """The products that a destination found, or why it could not be asked."""

    products: list[OfferedProduct]
    error: str = ""


@dataclass(frozen=True)
class PlannedDelivery:
    """The changes that a delivery would make, a sentence each, or why it would fail. is_live: the image is there."""

    asset: Asset
    sentences: list[str]
    error: str = ""
    is_live: bool = False


@slot()
def test_connection(*, destination_id: int, by: User) -> ConnectionTest:
    destination = _get(destination_id, by)
    problems, plugin = _build(destination)
    if plugin is None:
        return ConnectionTest(problems, was_asked=False)
    session = open_reading_session(Delivery(destination=destination))
    was_asked = type(plugin).test_connection is not base.Destination.test_connection
    sentences, error = _ask(destination, lambda: plugin.test_connection(session))
    return ConnectionTest([*sentences, error] if error else sentences, was_asked)


@slot()
def plan_next(*, destination_id: int, by: User) -> list[PlannedDelivery]:
    """Return what the next deliveries would do there, for a few assets (see selectors.deliveries.next_deliveries)."""
    destination = _get(destination_id, by)
    problems, plugin = _build(destination)
    rows = selectors.next_deliveries(destination, PLANNED_ASSETS)
    return [_plan(delivery, plugin, problems) for delivery in rows]


@slot()
def find_products(*, destination_id: int, text: str, by: User) -> ProductSearch:
    """Return the destination's products that match a text, with their images."""
    problems, plugin = _build(destination := _get(destination_id, by))
    if plugin is None:
        return ProductSearch([], " ".join(problems))
    found = list[base.Product]()

    def search() -> list[str]:
        products = plugin.find_products(text, open_reading_session(Delivery(destination=destination)))
        found.extend(_shorten(product) for product in products[:MAX_PRODUCTS])
        return []

    _sentences, error = _ask(destination, search)
    with ThreadPoolExecutor(IMAGES_AT_ONCE) as pool:
        images = list(pool.map(partial(_read_image, _image_policy(destination)), found))
    return ProductSearch([OfferedProduct(*pair) for pair in zip(found, images, strict=True)], error)


def can_search(destination: Destination) -> bool:
    plugin = selectors.find_plugin(destination)
    return plugin is not None and plugin.find_products is not base.Destination.find_products


def _shorten(product: base.Product) -> base.Product:
    """Return a product with texts that a page can show."""
    return replace(product, title=tidy_text(product.title, str), sku=tidy_text(product.sku, str))


def _image_policy(destination: Destination) -> Policy:
    is_allowed = bool(destination.config.get("allow_private")) and settings.PROOFLINE["allow_private_webhooks"]
    return http.policy(allow_private=is_allowed)


def _read_image(policy: Policy, product: base.Product) -> str:
    """Return the product's image as an address with its bytes in it, because pages load nothing from elsewhere.

    A person waits for it, and the shop may be slow or send without end: then the product is shown without it.
    """
    try:
        content = (
            http.read_served(product.image, policy, max_bytes=MAX_IMAGE_BYTES, timeout_seconds=IMAGE_SECONDS)
            if product.image
            else None
        )
    except DeliveryError:
        return ""
    kind = next((kind for start, kind in _IMAGES.items() if content and content.startswith(start)), "")
    if not content or not kind:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _get(destination_id: int, by: User) -> Destination:
    rows = Destination.objects.visible_to(by).select_related("brand").filter(pk=destination_id)
    destination: Destination = first_or_refuse(rows, _("There is no destination %(id)d.") % {"id": destination_id})
    access.require(by, Action.DELIVER, destination.brand)
    return destination


def _build(destination: Destination) -> tuple[list[str], base.Destination | None]:
    """Return the plug-in, or the problems of its settings."""
    try:
        if problems := destinations.list_prohibitions(destination):
            return problems, None
        plugin = destinations.build_plugin(destination)
        problems = plugin.validate()
    except ValueError as error:
        return [str(error)], None
    return problems, None if problems else plugin


def _plan(delivery: Delivery, plugin: base.Destination | None, problems: list[str]) -> PlannedDelivery:
    if plugin is None:
        return PlannedDelivery(delivery.asset, [], " ".join(problems))
    session = open_reading_session(delivery)
    sentences, error = _ask(delivery.destination, lambda: plugin.plan(packages.build_package(delivery), session))
    is_live = delivery.observed == ObservedState.PRESENT and delivery.due_at is None
    return PlannedDelivery(delivery.asset, sentences, error, is_live)


def _ask(destination: Destination, question: Callable[[], list[str]]) -> tuple[list[str], str]:
    """Return the sentences of a plug-in, and the error that it ended with."""
    hide = hide_secret_of(destination)
    try:
        return [tidy_text(sentence, hide) for sentence in question()], ""
    except DeliveryError as refused:
        return [], tidy_error(refused, hide).message
    except Exception as unforeseen:
        log.exception("destination.check_failed")
        return [], tidy_error(DeliveryError(f"{type(unforeseen).__name__}: {unforeseen}"), hide).message
