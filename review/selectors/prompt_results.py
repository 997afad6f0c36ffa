"""Results of prompt versions: images made, share approved at first look, reasons of refusals, and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, Sum

from generation.choices import LedgerKind
from generation.models import Asset, AssetVersion, LedgerEntry
from generation.selectors import images
from review.models import Decision

MAX_IMAGES = 12


@dataclass(frozen=True)
class Results:
    """The results of one prompt version.

    decided, approved_at_first_look: images decided, and of these approved at first look, without the sandbox. reasons:
    the most frequent first. made, sandbox_images: images outside and inside the sandbox. cost: in the brand's currency.
    """

    decided: int = 0
    approved_at_first_look: int = 0
    reasons: tuple[tuple[str, int], ...] = ()
    made: int = 0
    sandbox_images: int = 0
    cost: Decimal = Decimal(0)
    images: Sequence[dict[str, Any]] = ()

    @property
    def approval_percent(self) -> int | None:
        """Return the share of approved images, or None before the first decision."""
        return round(100 * self.approved_at_first_look / self.decided) if self.decided else None


def results(version_ids: Sequence[int]) -> dict[int, Results]:
    """Return version id -> results. Three queries and one per version for images. The caller checks permissions."""
    ids = list(version_ids)
    decisions = _count_first_decisions(ids)
    versions = AssetVersion.objects.filter(asset__cell__run__prompt_version__in=ids).order_by()
    made_by_version = versions.values_list("asset__cell__run__prompt_version").annotate(
        made=Count("pk", filter=Q(asset__is_sandbox=False)), sandbox=Count("pk", filter=Q(asset__is_sandbox=True))
    )
    counts = {version_id: (made, sandbox) for version_id, made, sandbox in made_by_version}
    spent = LedgerEntry.objects.filter(run__prompt_version__in=ids, kind=LedgerKind.SETTLE).order_by()
    costs = dict(spent.values_list("run__prompt_version").annotate(Sum("amount")))
    by_version = {}
    for version_id in ids:
        own = [(kind, reason, count) for pk, kind, reason, count in decisions if pk == version_id]
        reasons = sorted(((reason, count) for _, reason, count in own if reason), key=lambda pair: (-pair[1], pair[0]))
        made, sandbox_images = counts.get(version_id, (0, 0))
        by_version[version_id] = Results(
            decided=sum(count for _, _, count in own),
            approved_at_first_look=sum(count for kind, _, count in own if kind == "approved"),
            reasons=tuple(reasons[:4]),
            made=made,
            sandbox_images=sandbox_images,
            cost=costs.get(version_id, Decimal(0)),
            images=_newest_images(version_id),
        )
    return by_version


def _count_first_decisions(version_ids: Sequence[int]) -> list[tuple[int, str, str | None, int]]:
    """Return (version id, kind, reason, count) of the first decision about each image's first round."""
    decisions = Decision.objects.not_undone().filter(task__asset__is_sandbox=False, version__round=1)
    of_versions = decisions.filter(task__asset__cell__run__prompt_version__in=version_ids)
    first = of_versions.order_by("task__asset_id", "pk").distinct("task__asset_id")
    rows = Decision.objects.filter(pk__in=first.values("pk")).order_by()
    return list(
        rows.values_list("task__asset__cell__run__prompt_version", "kind", "reason__label").annotate(count=Count("pk"))
    )


def _newest_images(version_id: int) -> list[dict[str, Any]]:
    assets = Asset.objects.filter(cell__run__prompt_version=version_id, current_version__isnull=False)
    named = {"version_id": F("current_version_id"), "asset_id": F("pk"), "disclaimer": images.DISCLAIMER_OF_ASSET}
    rows: Any = assets.order_by("is_sandbox", "-pk").values("state", **named)
    return list(rows[:MAX_IMAGES])
