"""Webhooks for pages and API: the list with counts, and the log of messages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Max, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.access import Action
from core.fetching import redact_json
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from review.choices import MessageState, WebhookEvent
from review.models import WebhookEndpoint, WebhookMessage

PAGE_SIZE = 50
EXPLANATIONS = {
    WebhookEvent.ASSET_APPROVED: gettext_lazy(
        "An approval took effect, 30 seconds after it was given. With the files, their addresses and hashes."
    ),
    WebhookEvent.ASSET_RECALLED: gettext_lazy("An approved image may no longer be used. Take it down."),
    WebhookEvent.RUN_FINISHED: gettext_lazy("All images of a run were tried, and at least one was made."),
    WebhookEvent.RUN_FAILED: gettext_lazy("A run ended without one image, or its scheduled start was refused."),
    WebhookEvent.RUN_PAUSED: gettext_lazy("A person or a limit, such as the budget, paused a run."),
    WebhookEvent.IMPORT_FINISHED: gettext_lazy("A feed was applied, or refused because of mistakes. With the counts."),
    WebhookEvent.DELIVERY_FAILED: gettext_lazy("An image could not be delivered to a destination, after all retries."),
}
TONES = {MessageState.WAITING: "info", MessageState.DELIVERED: "good", MessageState.FAILED: "bad"}


@dataclass(frozen=True)
class MessageFilters:
    """The filters of the log; an empty value shows everything."""

    state: str = ""
    type: str = ""

    def as_query(self) -> str:
        return urlencode({name: value for name, value in vars(self).items() if value})


@dataclass
class EndpointSummary:
    """A webhook with the number of its messages by state, and when one last arrived."""

    endpoint: WebhookEndpoint
    counts: Counter[str] = field(default_factory=Counter)
    last_at: datetime | None = None

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def labelled_counts(self) -> list[tuple[str, str, str, int]]:
        """Return (state, label, tone, count) of the states that occur."""
        return [
            (state.value, str(state.label).lower(), TONES[state], self.counts[state.value])
            for state in MessageState
            if self.counts[state.value]
        ]


def endpoints(user: User, brand: Brand) -> QuerySet[WebhookEndpoint]:
    """Return the webhooks of a brand for those who may deliver in it."""
    rows: QuerySet[WebhookEndpoint] = WebhookEndpoint.objects.allowed_to(user, Action.DELIVER).filter(brand=brand)
    return rows.select_related("brand")


def get_endpoint(user: User, brand: Brand, pk: int) -> WebhookEndpoint:
    """Return one webhook. Raises NotFound."""
    return first_or_refuse(endpoints(user, brand).filter(pk=pk), _("There is no webhook %(id)d.") % {"id": pk})


def summarize(shown: Iterable[WebhookEndpoint]) -> list[EndpointSummary]:
    """Return the webhooks with the counts of the messages that are still kept. Two queries."""
    summaries = {endpoint.pk: EndpointSummary(endpoint) for endpoint in shown}
    rows = WebhookMessage.objects.filter(endpoint__in=summaries).order_by().values_list("endpoint", "state")
    for endpoint_id, state, count, last in rows.annotate(count=Count("pk"), last=Max("delivered_at")):
        summary = summaries[endpoint_id]
        summary.counts[state] += count
        summary.last_at = max(filter(None, (summary.last_at, last)), default=None)
    return list(summaries.values())


def page(
    endpoint: WebhookEndpoint, filters: MessageFilters, *, before: int | None = None
) -> tuple[Sequence[WebhookMessage], int | None]:
    """Return the next messages of a webhook below id `before`, newest first, and the next `before`."""
    rows = endpoint.messages.filter(pk__lt=before) if before else endpoint.messages.all()
    if filters.state:
        rows = rows.filter(state=filters.state)
    if filters.type:
        rows = rows.filter(type=filters.type)
    shown = list(rows.order_by("-pk")[: PAGE_SIZE + 1])
    for message in shown:
        add_words(message)
    return shown[:PAGE_SIZE], shown[PAGE_SIZE - 1].pk if len(shown) > PAGE_SIZE else None


def get_message(user: User, brand: Brand, pk: int) -> WebhookMessage:
    """Return one message with its attempts. Raises NotFound."""
    rows = WebhookMessage.objects.allowed_to(user, Action.DELIVER).filter(endpoint__brand=brand, pk=pk)
    rows = rows.select_related("endpoint").prefetch_related("attempt_rows")
    message: WebhookMessage = first_or_refuse(rows, _("There is no message %(id)d.") % {"id": pk})
    add_words(message)
    return message


def add_words(message: WebhookMessage) -> None:
    """Add what the templates show of a message: its state in words, and its payload without hidden queries."""
    row: Any = message
    row.label, row.tone = message.get_state_display().lower(), TONES[MessageState(message.state)]
    if message.is_leased:
        row.label = _("being sent")
    row.shown_payload = redact_json(
        {name: message.payload[name] for name in ("type", "timestamp", "data") if name in message.payload}
    )


def count_by_type(endpoint: WebhookEndpoint) -> dict[str, int]:
    """Return how many messages of each type are kept."""
    counts: dict[str, int] = defaultdict(int)
    for type_, count in endpoint.messages.order_by().values_list("type").annotate(count=Count("pk")):
        counts[type_] = count
    return dict(sorted(counts.items()))
