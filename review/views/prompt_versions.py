"""Compare two versions of a prompt: differences in words and settings, and the review results of each."""

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
from core.pages import BrandRequest, brand_page, parse_row_id
from review.selectors.prompt_results import Results, results


@dataclass(frozen=True)
class VersionResults:
    version: PromptVersion
    results: Results


@require_safe
@brand_page()
def compare(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show two versions. `?a=` and `?b=` are their numbers; the default is the newest and the one before it."""
    template = selectors.get_template(request.user, request.brand, slug)
    versions = list(selectors.list_versions(request.user, template))
    if not versions:
        raise NotFound(f"{template.name} has no version yet.")
    right = _find_version(template, versions, request.GET.get("b", "")) or versions[0]
    before = next((earlier for earlier in versions if earlier.number < right.number), None)
    left = _find_version(template, versions, request.GET.get("a", "")) or before or versions[-1]
    for version in (left, right):
        version.template = template
    results_by_version = results([left.pk, right.pk])
    context: dict[str, Any] = {
        "template": template,
        "versions": versions,
        "version": right,
        "left": VersionResults(left, results_by_version[left.pk]),
        "right": VersionResults(right, results_by_version[right.pk]),
        "sides": [
            VersionResults(left, results_by_version[left.pk]),
            VersionResults(right, results_by_version[right.pk]),
        ],
        "texts": _text_differences(left, right),
        "settings": _settings(left, right),
    }
    return render(request, "review/prompt_compare.html", context)


def _find_version(template: PromptTemplate, versions: list[PromptVersion], text: str) -> PromptVersion | None:
    if not text:
        return None
    version = next((candidate for candidate in versions if candidate.number == parse_row_id(text)), None)
    if version is None:
        raise NotFound(f"{template.name} has no version {text}.")
    return version


def _text_differences(left: PromptVersion, right: PromptVersion) -> list[Difference]:
    differences = [comparing.compare_words("Prompt", left.text, right.text)]
    if left.negative or right.negative:
        differences.append(comparing.compare_words("Negative prompt", left.negative, right.negative))
    if left.style_text or right.style_text:
        differences.append(comparing.compare_words("Style", left.style_text, right.style_text))
    if left.style_negative or right.style_negative:
        differences.append(comparing.compare_words("Style, negative prompt", left.style_negative, right.style_negative))
    return differences


def _settings(left: PromptVersion, right: PromptVersion) -> list[tuple[str, list[Difference]]]:
    """Return groups of named settings, without the groups that neither version has."""
    groups = [
        ("Axes", comparing.compare_settings(left.axes, right.axes)),
        ("Engine", comparing.compare_settings(left.needs, right.needs)),
        ("Parameters", comparing.compare_settings(left.parameters, right.parameters)),
        ("When a check fails", comparing.compare_settings(left.policy, right.policy)),
        ("Images", comparing.compare_settings(_images(left), _images(right))),
    ]
    return [(name, rows) for name, rows in groups if rows]


def _images(version: PromptVersion) -> dict[str, Any]:
    plain = {"candidates": version.candidates, "seed": version.get_seed_strategy_display().lower()}
    return plain | ({"seed number": version.seed} if version.seed else {})
