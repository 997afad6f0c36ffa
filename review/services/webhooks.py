"""Set up, change and disable the webhooks of a brand, and rotate their secrets. Messages are in webhook_messages.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from core import access, clock, fetching, signing
from core.access import Action
from core.choices import Lane
from core.errors import Conflict, Invalid, Problem
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from core.services import wake_ups
from review.choices import WebhookEvent
from review.delivery import http
from review.events import WebhookDisabled, WebhookSaved, WebhookSecretRotated, WebhookSecretShown
from review.models import WebhookEndpoint, WebhookMessage

OVERLAP = timedelta(hours=24)
"""The time for which the previous secret still signs after a rotation."""


@transaction.atomic
def create(*, brand: Brand, by: User, name: str, url: str, events: Sequence[str]) -> WebhookEndpoint:
    """Create a webhook with a new secret. It gets what happens from now on. Raises Invalid."""
    access.require(by, Action.EDIT_BRAND, brand)
    endpoint = WebhookEndpoint(brand=brand, name=name.strip(), url=url.strip(), events=_in_order(events))
    endpoint.secret = signing.new_secret()
    _ensure_valid(endpoint, events)
    endpoint.save()
    _publish_saved(endpoint, by)
    return endpoint


@transaction.atomic
def change(
    *,
    endpoint_id: int,
    by: User,
    name: str | None = None,
    url: str | None = None,
    events: Sequence[str] | None = None,
    is_enabled: bool | None = None,
) -> WebhookEndpoint:
    """Change the given values; None leaves a value as it is. What waits is sent at once when a webhook is enabled.

    url: "…?…" for a hidden query means the stored one. Raises Invalid.
    """
    endpoint = _lock(endpoint_id, by)
    if name is not None:
        endpoint.name = name.strip()
    if url is not None:
        endpoint.url = _restore_query(url.strip(), endpoint.url)
    if events is not None:
        endpoint.events = _in_order(events)
    if is_enabled is not None:
        endpoint.is_enabled = is_enabled
        endpoint.disabled_reason = "" if is_enabled else _("A person switched it off.")
    _ensure_valid(endpoint, events)
    if url is not None or is_enabled:
        endpoint.failing_since = None
    endpoint.save()
    if is_enabled:
        WebhookMessage.objects.filter(endpoint=endpoint, due_at__isnull=False, lease_token=None).update(
            due_at=timezone.now(), attempts=0
        )
        wake_ups.wake(Lane.IO)
    _publish_saved(endpoint, by)
    return endpoint


@transaction.atomic
def rotate_secret(*, endpoint_id: int, by: User) -> WebhookEndpoint:
    """Give a webhook a new secret, which can be shown once. For 24 hours messages carry the signatures of both.

    A secret that was still the previous one stops at once.
    """
    endpoint = _lock(endpoint_id, by)
    endpoint.sealed_previous_secret = endpoint.sealed_secret
    endpoint.previous_secret_until = timezone.now() + OVERLAP
    endpoint.secret = signing.new_secret()
    endpoint.secret_shown_at = None
    endpoint.save()
    until = endpoint.previous_secret_until.isoformat()
    publish(WebhookSecretRotated.of(endpoint, name=endpoint.name, previous_until=until), by=by)
    return endpoint


@transaction.atomic
def show_secret(*, endpoint_id: int, by: User) -> str:
    """Return the secret, which works once. Raises Conflict if it was shown before, and Unreadable."""
    endpoint = _lock(endpoint_id, by)
    if endpoint.secret_shown_at is not None:
        raise Conflict(_("This secret was shown before, and nobody can read it again. Rotate it to get a new one."))
    secret: str = endpoint.secret
    endpoint.secret_shown_at = clock.now()
    endpoint.save(update_fields=["secret_shown_at"])
    publish(WebhookSecretShown.of(endpoint, name=endpoint.name), by=by)
    return secret


def list_signing_secrets(endpoint: WebhookEndpoint) -> list[str]:
    """Return the secrets that sign now, the current one first. Raises Unreadable."""
    secrets: list[str] = [endpoint.secret]
    if endpoint.previous_secret_until is not None and timezone.now() < endpoint.previous_secret_until:
        secrets.append(endpoint.previous_secret)
    return secrets


def forget_previous_secrets() -> int:
    """Delete the previous secrets that no longer sign; return how many."""
    over = WebhookEndpoint.objects.filter(previous_secret_until__lte=timezone.now())
    return int(over.update(sealed_previous_secret="", previous_secret_until=None))


def disable(endpoint: WebhookEndpoint, *, reason: str) -> None:
    """Disable a webhook because its receiver asked for that or failed for days. Runs in the caller's transaction."""
    changed = WebhookEndpoint.objects.filter(pk=endpoint.pk, is_enabled=True).update(
        is_enabled=False, disabled_reason=reason[:300]
    )
    if changed:
        publish(WebhookDisabled.of(endpoint, name=endpoint.name, reason=reason[:300]), label="webhooks")


def _lock(endpoint_id: int, by: User) -> WebhookEndpoint:
    rows = WebhookEndpoint.objects.visible_to(by).select_for_update(of=("self",)).select_related("brand")
    message = _("There is no webhook %(id)d.") % {"id": endpoint_id}
    endpoint: WebhookEndpoint = first_or_refuse(rows.filter(pk=endpoint_id), message)
    access.require(by, Action.EDIT_BRAND, endpoint.brand)
    return endpoint


def _restore_query(url: str, kept: str) -> str:
    try:
        restored: str = fetching.restore_redacted_addresses({"url": url}, {"url": kept})["url"]
    except ValueError as error:
        raise Invalid(str(error), [Problem("url", str(error))]) from None
    return restored


def _in_order(events: Sequence[str]) -> list[str]:
    """Return the known types among the chosen ones, each once, in the order of WebhookEvent."""
    return [value for value in WebhookEvent.values if value in events]


def _ensure_valid(endpoint: WebhookEndpoint, events: Sequence[str] | None) -> None:
    problems = []
    if not endpoint.name:
        problems.append(Problem("name", _("Give it a name.")))
    if unknown := sorted(set(events or ()) - set(WebhookEvent.values)):
        known = ", ".join(WebhookEvent.values)
        message = _("There is no event %(unknown)s; the events are %(known)s.")
        problems.append(Problem("events", message % {"unknown": ", ".join(unknown), "known": known}))
    elif not endpoint.events:
        problems.append(Problem("events", _("Choose at least one event.")))
    try:
        fetching.parse(endpoint.url, http.policy(allow_private=settings.PROOFLINE["allow_private_webhooks"]))
    except fetching.Refused as refusal:
        problems.append(Problem("url", refusal.message))
    if problems:
        sentences = " ".join(problem.message for problem in problems)
        raise Invalid(_("The webhook cannot be saved: %(why)s") % {"why": sentences}, problems)


def _publish_saved(endpoint: WebhookEndpoint, by: User) -> None:
    payload = {
        "name": endpoint.name,
        "url": endpoint.redacted_url,
        "events": endpoint.events,
        "is_enabled": endpoint.is_enabled,
    }
    publish(WebhookSaved.of(endpoint, **payload), by=by)
