"""Two versions of a prompt side by side: what differs in words and settings, and how each fares with reviewers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from campaigns.models import PromptTemplate, PromptVersion
from campaigns.prompts import comparing
from campaigns.prompts.comparing import Difference
from campaigns.selectors import prompts as selectors
from core.errors import NotFound
from core.pages import BrandRequest, brand_page, number
from review.selectors.prompt_results import Results, results


@dataclass(frozen=True)
class Side:
    version: PromptVersion
    results: Results


@require_safe
@brand_page()
def compare(request: BrandRequest, slug: str) -> HttpResponseBase:
    """`?a=` and `?b=` are version numbers; without them the newest and the one before it."""
    template = selectors.template(request.user, request.brand, slug)
    versions = list(selectors.versions(request.user, template))
    if not versions:
        raise NotFound(f"{template.name} has no version yet.")
    right = _numbered(template, versions, request.GET.get("b", "")) or versions[0]
    before = next((one for one in versions if one.number < right.number), None)
    left = _numbered(template, versions, request.GET.get("a", "")) or before or versions[-1]
    for one in (left, right):
        one.template = template
    fare = results([left.pk, right.pk])
    context: dict[str, Any] = {
        "template": template,
        "versions": versions,
        "version": right,
        "left": Side(left, fare[left.pk]),
        "right": Side(right, fare[right.pk]),
        "sides": [Side(left, fare[left.pk]), Side(right, fare[right.pk])],
        "texts": _texts(left, right),
        "settings": _settings(left, right),
    }
    return render(request, "review/prompt_compare.html", context)


def _numbered(template: PromptTemplate, versions: list[PromptVersion], text: str) -> PromptVersion | None:
    if not text:
        return None
    found = next((one for one in versions if one.number == number(text)), None)
    if found is None:
        raise NotFound(f"{template.name} has no version {text}.")
    return found


def _texts(left: PromptVersion, right: PromptVersion) -> list[Difference]:
    found = [comparing.words("Prompt", left.text, right.text)]
    if left.negative or right.negative:
        found.append(comparing.words("Not in the picture", left.negative, right.negative))
    if left.style_text or right.style_text:
        found.append(comparing.words("Style", left.style_text, right.style_text))
    if left.style_negative or right.style_negative:
        found.append(comparing.words("Style, not in the picture", left.style_negative, right.style_negative))
    return found


def _settings(left: PromptVersion, right: PromptVersion) -> list[tuple[str, list[Difference]]]:
    """Groups of named settings, without those that neither has."""
    groups = [
        ("Axes", comparing.settings(left.axes, right.axes)),
        ("Engine", comparing.settings(left.needs, right.needs)),
        ("Parameters", comparing.settings(left.parameters, right.parameters)),
        ("When a check fails", comparing.settings(left.policy, right.policy)),
        ("Pictures", comparing.settings(_pictures(left), _pictures(right))),
    ]
    return [(name, rows) for name, rows in groups if rows]


def _pictures(version: PromptVersion) -> dict[str, Any]:
    plain = {"candidates": version.candidates, "seed": version.get_seed_strategy_display().lower()}
    return plain | ({"seed number": version.seed} if version.seed else {})
