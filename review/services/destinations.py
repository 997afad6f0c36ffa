"""Create, change and disable the destinations of approved assets. The deliveries themselves are in deliveries.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from core import access, fetching
from core.access import Action
from core.errors import Conflict, Invalid, Problem
from core.events import publish
from core.models import Brand, User
from core.refusals import conflict_on_duplicate
from core.selectors.rows import first_or_refuse
from review.delivery import base
from review.delivery.hot_folder.bucket import split_secret
from review.events import DestinationDisabled, DestinationSaved
from review.models import Delivery, Destination
from review.services import brand_folders, delivery_dates, delivery_rules

#: Keys that must not be kept in `config`, where people can read them.
SECRET_WORDS = ("secret", "password", "token", "access_key")
DEFAULT_RULES = ({"effect": "never", "disclaimer": "with"},)
"""What a new destination does not get, unless it is told otherwise: images such as those of the demo model."""
MAX_SECRET = 10_000
"""Characters of a secret; each text that a destination answers is searched for it."""


@transaction.atomic
def create(
    *,
    brand: Brand,
    by: User,
    slug: str,
    name: str,
    kind: str,
    config: Mapping[str, Any] | None = None,
    secret: str = "",
    needs_release: bool = False,
    starts_with_campaign: bool = False,
    ends_with_campaign: bool = False,
    tells_prompt: bool = False,
    tells_prompt_writer: bool = False,
    rules: Any = DEFAULT_RULES,
) -> Destination:
    """Create a destination. It receives only images whose approval takes effect later. Raises Invalid, Conflict."""
    access.require(by, Action.EDIT_BRAND, brand)
    if Destination.objects.filter(brand=brand, slug=slug).exists():
        message = _("%(brand)s has a destination %(slug)r already.")
        raise Conflict(message % {"brand": brand.name, "slug": slug})
    destination = Destination(brand=brand, slug=slug, name=name, kind=kind, config=_read_config(config or {}, {}))
    destination.secret, destination.needs_release = secret, needs_release
    destination.starts_with_campaign, destination.ends_with_campaign = starts_with_campaign, ends_with_campaign
    destination.tells_prompt, destination.tells_prompt_writer = tells_prompt, tells_prompt_writer
    destination.rules = delivery_rules.read_rules(brand, rules)
    _ensure_valid(destination)
    with conflict_on_duplicate():
        destination.save()
    _publish_saved(destination, by, secret_changed=bool(secret))
    return destination


@transaction.atomic
def change(
    *,
    destination_id: int,
    by: User,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    secret: str | None = None,
    is_enabled: bool | None = None,
    needs_release: bool | None = None,
    starts_with_campaign: bool | None = None,
    ends_with_campaign: bool | None = None,
    tells_prompt: bool | None = None,
    tells_prompt_writer: bool | None = None,
    rules: Any = None,
) -> Destination:
    """Change the given values; None leaves a value as it is. Enabling makes unfinished deliveries due.

    needs_release and rules apply to what is approved from now on; delivery_rules.request_update applies the rules to
    what is there. starts_with_campaign and ends_with_campaign apply to all deliveries.

    A destination that may no longer be used can still be renamed and disabled. The stored keys of a bucket are not used
    for another bucket, prefix or server: a person who changes these enters the keys again.
    """
    rows = Destination.objects.visible_to(by).select_for_update().filter(pk=destination_id)
    destination = first_or_refuse(rows, _("There is no destination %(id)d.") % {"id": destination_id})
    access.require(by, Action.EDIT_BRAND, destination.brand)
    if name is not None:
        destination.name = name
    if config is not None:
        config = _read_config(config, destination.config)
        _ensure_keys_entered(destination, config, secret)
        destination.config = config
    if secret is not None:
        destination.secret = secret
    if rules is not None:
        destination.rules = delivery_rules.read_rules(destination.brand, rules, destination.rules)
    switches = {
        "needs_release": needs_release,
        "starts_with_campaign": starts_with_campaign,
        "ends_with_campaign": ends_with_campaign,
        "tells_prompt": tells_prompt,
        "tells_prompt_writer": tells_prompt_writer,
    }
    for switch, value in switches.items():
        if value is not None:
            setattr(destination, switch, value)
    if is_enabled is not None:
        destination.is_enabled = is_enabled
        destination.disabled_reason = "" if is_enabled else _("A person switched it off.")
    if config is not None or secret is not None or is_enabled:
        _ensure_valid(destination)
    destination.save()
    if starts_with_campaign is not None or ends_with_campaign is not None:
        delivery_dates.refresh(destination.brand, destination_id=destination.pk)
    if rules is not None:
        Delivery.objects.filter(destination=destination, needs=base.Need.RULES).update(needs=base.Need.NOTHING)
    if is_enabled:
        Delivery.objects.filter(destination=destination).exclude(desired=F("observed")).make_due()
    _publish_saved(destination, by, secret_changed=secret is not None)
    return destination


@transaction.atomic
def choose_product(*, destination_id: int, sku: str, product: str, by: User) -> Destination:
    """Set the destination's own product for one SKU, where it could not be found; without a product, forget it."""
    rows = Destination.objects.visible_to(by).select_for_update().filter(pk=destination_id)
    destination = first_or_refuse(rows, _("There is no destination %(id)d.") % {"id": destination_id})
    name = base.DESTINATIONS.get(destination.kind).product_setting
    if not name:
        raise Conflict(_("%(name)s finds its products by itself.") % {"name": destination.name})
    chosen = {**json.loads(destination.config.get(name) or "{}"), sku: product}
    if not product:
        del chosen[sku]
    config = {**destination.config, name: json.dumps(chosen, ensure_ascii=False)}
    return change(destination_id=destination.pk, by=by, config=config)


def _read_config(config: Any, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with the hidden queries of addresses restored from `kept`. Raises Invalid."""
    if not isinstance(config, Mapping):
        message = _('Give an object of settings, such as {"url": "https://example.com/images"}.')
        raise Invalid(_("The destination has mistakes."), [Problem("config", message, str(config)[:100])])
    try:
        return dict(fetching.restore_redacted_addresses(config, kept))
    except ValueError as error:
        raise Invalid(str(error), [Problem("config/url", str(error))]) from None


def _ensure_keys_entered(destination: Destination, config: Mapping[str, Any], secret: str | None) -> None:
    names = base.DESTINATIONS.get(destination.kind).receiver_settings
    changed = [name for name in names if config.get(name) != destination.config.get(name)]
    if changed and destination.secret and secret is None:
        message = _("Enter the keys again: %(names)s changed, and kept keys are not used elsewhere.")
        message %= {"names": ", ".join(changed)}
        raise Invalid(message, [Problem("secret", message)])


def disable(destination: Destination, *, reason: str) -> None:
    """Disable a destination because it asked for that or failed for days. Runs inside the caller's transaction."""
    changed = Destination.objects.filter(pk=destination.pk, is_enabled=True).update(
        is_enabled=False, disabled_reason=reason[:200]
    )
    if changed:
        payload = {"slug": destination.slug, "reason": reason}
        happened = DestinationDisabled.of(destination, **payload)
        publish(happened, label="delivery")


def list_prohibitions(destination: Destination, *, looks_up: bool = True) -> list[str]:
    """Return why a brand may not use this destination: the server's folders, network and buckets are protected.

    looks_up: whether the name of a host is looked up, which may take seconds. It is before anything is sent.
    """
    config, reach = destination.config, base.DESTINATIONS.get(destination.kind).reach
    if reach == base.Reach.FOLDER:
        problem = brand_folders.folder_problem(destination.brand, str(config.get("path", "")))
        return [f"path: {problem}"] if problem else []
    if reach != base.Reach.BUCKET:
        return []
    key, value, _purge = split_secret(destination.secret)
    has_own_keys = bool(key and value)
    if settings.PROOFLINE["allow_private_webhooks"]:
        problem = "" if has_own_keys else brand_folders.prefix_problem(destination.brand, config)
        return [f"prefix: {problem}"] if problem else []
    if not has_own_keys:
        return [_("secret: expected “access key id:secret access key”; the server lends nobody its own rights.")]
    if address := str(config.get("endpoint_url") or ""):
        public = fetching.Policy(schemes=frozenset({"https"}), ports=None)
        check = fetching.check if looks_up else fetching.parse
        try:
            check(address, public)
        except fetching.Refused as refusal:
            return [f"endpoint_url: {refusal.message}"]
    return []


def build_plugin(destination: Destination) -> base.Destination:
    """Return the plug-in of this destination. Private addresses need its config and the operator's setting."""
    config = dict(destination.config)
    if base.DESTINATIONS.get(destination.kind).reach == base.Reach.FOLDER:
        config["within"] = brand_folders.own_folder(destination.brand, str(config.get("path", "")))
    config["allow_private"] = bool(config.get("allow_private")) and settings.PROOFLINE["allow_private_webhooks"]
    return base.build(destination.kind, config, destination.secret)


def _ensure_valid(destination: Destination) -> None:
    if problems := _find_problems(destination):
        sentences = " ".join(problem.message for problem in problems)
        raise Invalid(_("This destination cannot be used: %(why)s") % {"why": sentences}, problems)


def _find_problems(destination: Destination) -> list[Problem]:
    """Return the problems of kind, settings and secret, each with its place."""
    try:
        config = base.DESTINATIONS.get(destination.kind).config
    except ValueError as error:
        return [Problem("kind", str(error), destination.kind)]
    if readable := [
        Problem(f"config/{key}", f"{key}: " + _("belongs into the secret, which nobody can read again"))
        for key in destination.config
        if any(secret_word in key.lower() for secret_word in SECRET_WORDS)
    ]:
        return readable
    if len(destination.secret) > MAX_SECRET:
        message = _("The secret has %(count)d characters; enter at most %(most)d.")
        return [Problem("secret", message % {"count": len(destination.secret), "most": MAX_SECRET})]
    sentences = list_prohibitions(destination, looks_up=False)
    sentences = sentences or [f"{name}: {sentence}" for name, sentence in config.problems(destination.config)]
    sentences = sentences or build_plugin(destination).validate()
    return [Problem(f"config/{sentence.partition(':')[0]}", sentence) for sentence in sentences]


def _publish_saved(destination: Destination, by: User, *, secret_changed: bool) -> None:
    payload = {
        "slug": destination.slug,
        "kind": destination.kind,
        "config": fetching.redact_settings(destination.config),
        "is_enabled": destination.is_enabled,
        "needs_release": destination.needs_release,
        "starts_with_campaign": destination.starts_with_campaign,
        "ends_with_campaign": destination.ends_with_campaign,
        "tells_prompt": destination.tells_prompt,
        "tells_prompt_writer": destination.tells_prompt_writer,
        "rules": destination.rules,
        "secret_changed": secret_changed,
    }
    happened = DestinationSaved.of(destination, **payload)
    publish(happened, by=by)
