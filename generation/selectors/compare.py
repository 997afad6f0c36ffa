"""Two runs side by side: the images that each made of the same subject and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator

from campaigns import prompts
from campaigns.models import PromptVersion, Subject
from campaigns.selectors import prompts as prompt_selectors
from generation.models import Asset, Run
from generation.selectors.runs import Card, funnels

ROWS = 24
_SHOWN = ("cell", "current_version__master", "current_version__job__endpoint")


@dataclass(frozen=True)
class Pair:
    """The assets of both runs with the same subject and values; an asset is None where its run has no such cell."""

    subject: Subject
    words: str
    one: Asset | None
    two: Asset | None


def compare_runs(first: Run, second: Run, *, page: int) -> dict[str, Any]:
    """Return both runs in numbers ("sides") and ROWS pairs of their images ("page", "pairs"). Five queries."""
    by_run = funnels([first.pk, second.pk])
    assets = Asset.objects.select_related(*_SHOWN)
    first_assets = assets.filter(cell__run=first).select_related("subject").order_by("cell__position")
    shown = Paginator(first_assets, ROWS).get_page(page)
    firsts: list[Asset] = list(shown)
    partners = assets.filter(cell__run=second, subject__in=[asset.subject_id for asset in firsts])
    by_cell = {_cell(asset): asset for asset in partners}
    pairs = [Pair(asset.subject, _words(asset), asset, by_cell.get(_cell(asset))) for asset in firsts]
    return {
        "sides": [Card(run, by_run[run.pk]) for run in (first, second)],
        "page": shown,
        "pairs": pairs,
    }


def placeholders(version: PromptVersion) -> list[str]:
    """Return the names of the placeholders in the version's text and negative prompt."""
    source = prompt_selectors.prompt_source(version)
    return [slot.name for text in (source.text, source.negative) for slot in prompts.placeholders(text)]


def _cell(asset: Asset) -> tuple[int, str, str]:
    return asset.subject_id, asset.cell.values_key, asset.cell.aspect


def _words(asset: Asset) -> str:
    values = [str(value) for name, value in asset.cell.axis_values.items() if name != "seed"]
    return ", ".join([*values, asset.cell.aspect])
