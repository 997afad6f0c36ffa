"""Data of the asset detail page: the summary sentence, the timeline, and every record behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Prefetch
from django.utils import dateformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.models import Event, User
from core.selectors.events import timeline
from core.selectors.rows import first_or_refuse
from generation.choices import AssetState
from generation.models import Asset, AssetVersion, Finding, Rendition
from review.choices import DecisionKind, DesiredState, ObservedState
from review.models import Decision, Delivery
from review.selectors import staleness
from review.selectors.lineage import lineage
from review.selectors.staleness import Staleness

_DECIDED_SENTENCES = {
    AssetState.APPROVED: gettext_lazy("Approved by %(person)s on %(day)s%(live)s."),
    AssetState.REJECTED: gettext_lazy("Rejected by %(person)s on %(day)s%(reason)s."),
    AssetState.REVOKED: gettext_lazy("Approval revoked by %(person)s on %(day)s: %(note)s"),
    AssetState.REVISING: gettext_lazy("Sent back by %(person)s on %(day)s; round %(round)s of it."),
}
_SENTENCES = {
    AssetState.MAKING: gettext_lazy("Being made."),
    AssetState.FAILED: gettext_lazy("Could not be made; the run says why."),
    AssetState.IN_REVIEW: gettext_lazy("Waits for review, round %(round)s."),
    AssetState.STALE: gettext_lazy("Was approved; waits for another look because something changed%(live)s."),
    AssetState.SUPERSEDED: gettext_lazy("Replaced by another image."),
}


@dataclass(frozen=True)
class AssetDetail:
    """Everything that the asset detail page shows.

    status: one sentence. versions: newest round first, with master, findings and renditions. deliveries: with
    destination and attempts. record: the technical record as plain JSON.
    """

    asset: Asset
    status: str
    versions: Sequence[AssetVersion]
    decisions: Sequence[Decision]
    deliveries: Sequence[Delivery]
    events: Sequence[Event]
    record: dict[str, Any]
    staleness: Staleness | None = None


def asset_detail(*, user: User, asset_id: int) -> AssetDetail:
    """Return everything about one image. Raises NotFound outside the user's brands."""
    rows = Asset.objects.visible_to(user).select_related(
        *("brand", "campaign", "subject", "cell__run__prompt_version__template", "cell__run__endpoint"),
        *("current_version__master", "current_version__job__endpoint", "current_version__made_by"),
    )
    asset = first_or_refuse(rows.filter(pk=asset_id), _("There is no image %(number)s.") % {"number": asset_id})
    decision_rows = Decision.objects.filter(task__asset=asset).order_by("id")
    decisions = list(decision_rows.select_related("decided_by", "reason", "version", "task", "voids"))
    delivery_rows = Delivery.objects.filter(asset=asset).order_by("id")
    deliveries = list(delivery_rows.select_related("destination").prefetch_related("attempt_rows"))
    version = asset.current_version
    return AssetDetail(
        asset=asset,
        status=status_sentence(asset, decisions, deliveries),
        versions=_versions(asset),
        decisions=decisions,
        deliveries=deliveries,
        events=list(timeline(user=user, object_type="asset", object_id=asset.pk)),
        record=lineage(version, staleness.valid_approvals([version.pk]).get(version.pk)) if version else {},
        staleness=staleness.get_staleness(asset),
    )


def _versions(asset: Asset) -> list[AssetVersion]:
    rows = AssetVersion.objects.filter(asset=asset).select_related("master", "made_by", "job__endpoint")
    files = Rendition.objects.select_related("output_spec").order_by("output_spec_id")
    findings = Finding.objects.select_related("duplicate__asset__subject").order_by("id")
    rows = rows.prefetch_related(Prefetch("renditions", files), Prefetch("findings", findings))
    return list(rows.order_by("-round", "candidate"))


def status_sentence(asset: Asset, decisions: Sequence[Decision], deliveries: Sequence[Delivery]) -> str:
    """Return the summary, such as "Approved by Ana Lopes on 14 Nov, live on Shopify since 15 Nov."."""
    valid = [decision for decision in decisions if decision.kind != DecisionKind.UNDONE]
    state = AssetState(asset.state)
    facts: dict[str, Any] = {"round": asset.round, "live": _live_text(deliveries)}
    if valid and state in _DECIDED_SENTENCES:
        last = valid[-1]
        facts |= {"person": last.decided_by.display_name, "day": _day(last.decided_at), "note": last.note}
        facts["reason"] = f" ({last.reason.label})" if last.reason else ""
        return _DECIDED_SENTENCES[state] % facts
    return _SENTENCES[state] % facts if state in _SENTENCES else f"{state.label}."


def _live_text(deliveries: Sequence[Delivery]) -> str:
    desired = [delivery for delivery in deliveries if delivery.desired == DesiredState.PRESENT]
    live = [delivery for delivery in desired if delivery.observed == ObservedState.PRESENT]
    if live:
        places = [
            _("%(destination)s since %(day)s")
            % {"destination": delivery.destination.name, "day": _day(delivery.changed_at)}
            for delivery in live
        ]
        return _(", live on %(places)s") % {"places": _(" and ").join(places)}
    failed = [delivery for delivery in deliveries if delivery.observed == ObservedState.FAILED]
    if failed:
        facts = {"destination": failed[0].destination.name, "error": failed[0].error}
        return _("; delivery to %(destination)s failed: %(error)s") % facts
    return _(", on its way") if desired else ""


def _day(at: datetime) -> str:
    return dateformat.format(at, "j M")
