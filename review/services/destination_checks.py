"""Ask a destination whether it can be used, and what a delivery would do there. Nothing is changed.

No function here runs in a transaction, because a destination may take its time to answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.utils.translation import gettext as _

from core import access
from core.access import Action
from core.models import User
from core.selectors.rows import first_or_refuse
from generation.models import Asset
from review.delivery import base
from review.delivery.base import DeliveryError
from review.models import Delivery, Destination
from review.selectors import deliveries as selectors
from review.services import destinations, packages
from review.services.delivery_sessions import open_reading_session

log = structlog.get_logger(__name__)

PLANNED_ASSETS = 3


@dataclass(frozen=True)
class ConnectionTest:
    """problems: what is missing, as sentences. was_asked: False if this kind of destination cannot be asked."""

    problems: list[str]
    was_asked: bool


@dataclass(frozen=True)
class PlannedDelivery:
    """What a delivery of an asset would change, a sentence each; or why it would fail."""

    asset: Asset
    sentences: list[str]
    error: str = ""


def test_connection(*, destination_id: int, by: User) -> ConnectionTest:
    destination = _get(destination_id, by)
    problems, plugin = _build(destination)
    if plugin is None:
        return ConnectionTest(problems, was_asked=False)
    session = open_reading_session(Delivery(destination=destination))
    was_asked = type(plugin).test_connection is not base.Destination.test_connection
    sentences, error = _ask(lambda: plugin.test_connection(session))
    return ConnectionTest([*sentences, error] if error else sentences, was_asked)


def plan_next(*, destination_id: int, by: User) -> list[PlannedDelivery]:
    """Return what the next deliveries would do there, for a few assets (see selectors.deliveries.next_deliveries)."""
    destination = _get(destination_id, by)
    problems, plugin = _build(destination)
    rows = selectors.next_deliveries(destination, PLANNED_ASSETS)
    return [_plan(delivery, plugin, problems) for delivery in rows]


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
    sentences, error = _ask(lambda: plugin.plan(packages.build_package(delivery), session))
    return PlannedDelivery(delivery.asset, sentences, error)


def _ask(question: Callable[[], list[str]]) -> tuple[list[str], str]:
    """Return the sentences of a plug-in, and the error that it ended with."""
    try:
        return question(), ""
    except DeliveryError as refused:
        return [], refused.message
    except Exception as unforeseen:
        log.exception("destination.check_failed")
        return [], DeliveryError(f"{type(unforeseen).__name__}: {unforeseen}").message
