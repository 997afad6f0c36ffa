"""Two runs side by side: what each made of the same subject and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator

from campaigns import prompts
from campaigns.models import PromptVersion, Subject
from campaigns.selectors import prompts as prompt_selectors
from generation.models import Asset, Run
from generation.selectors import cards
from generation.selectors.runs import Funnel

ROWS = 24
_SHOWN = ("cell", "current_version__master", "current_version__job__endpoint")


@dataclass(frozen=True)
class Side:
    """One run of the two in numbers. percent: of the decided pictures that were approved, None before any decision."""

    run: Run
    funnel: Funnel

    @property
    def percent(self) -> float | None:
        return 100.0 * self.funnel.approved / self.funnel.decided if self.funnel.decided else None


@dataclass(frozen=True)
class Pair:
    """The same subject and values in both runs; an asset is None where its run has no such cell."""

    subject: Subject
    words: str
    one: Asset | None
    two: Asset | None


def sides(one: Run, two: Run, *, page: int) -> dict[str, Any]:
    """ "sides": both runs in numbers, "page" and "pairs": ROWS cells of the first with their partner. Five queries."""
    funnels = cards.funnels([one.pk, two.pk])
    of_one = Asset.objects.filter(cell__run=one).select_related("subject", *_SHOWN)
    shown = Paginator(of_one.order_by("cell__position"), ROWS).get_page(page)
    firsts: Sequence[Asset] = list(shown)
    partners = Asset.objects.filter(cell__run=two, subject_id__in=[asset.subject_id for asset in firsts])
    by_cell = {_cell(asset): asset for asset in partners.select_related(*_SHOWN)}
    pairs = [Pair(asset.subject, _words(asset), asset, by_cell.get(_cell(asset))) for asset in firsts]
    return {"sides": [Side(one, funnels[one.pk]), Side(two, funnels[two.pk])], "page": shown, "pairs": pairs}


def placeholders(version: PromptVersion) -> list[str]:
    """Names that the version's text leaves open."""
    source = prompt_selectors.source(version)
    return [slot.name for text in (source.text, source.negative) for slot in prompts.placeholders(text)]


def _cell(asset: Asset) -> tuple[int, str, str]:
    return asset.subject_id, asset.cell.values_key, asset.cell.aspect


def _words(asset: Asset) -> str:
    values = [f"{value}" for name, value in asset.cell.axis_values.items() if name != "seed"]
    return ", ".join([*values, asset.cell.aspect])
