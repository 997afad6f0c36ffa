"""Compare two versions of a prompt: differences in words and settings, and the review results of each."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from campaigns.models import PromptTemplate, PromptVersion
from campaigns.prompts import pieces
from campaigns.prompts.pieces import Difference
from campaigns.selectors import prompts as selectors
from core.errors import NotFound
from core.pages import BrandRequest, brand_page, parse_row_id
from review.selectors.prompt_results import results


@require_safe
@brand_page()
def compare(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show two versions. `?a=` and `?b=` are their numbers; the default is the newest and the one before it."""
    template = selectors.get_template(request.user, request.brand, slug)
    versions = list(selectors.list_versions(request.user, template))
    if not versions:
        raise NotFound(_("%(template)s has no version yet.") % {"template": template.name})
    right = _find_version(template, versions, request.GET.get("b", "")) or versions[0]
    before = next((earlier for earlier in versions if earlier.number < right.number), None)
    left = _find_version(template, versions, request.GET.get("a", "")) or before or versions[-1]
    for version in (left, right):
        version.template = template
    results_by_version = results([left.pk, right.pk])
    sides = [{"version": version, "results": results_by_version[version.pk]} for version in (left, right)]
    context: dict[str, Any] = {
        "template": template,
        "versions": versions,
        "version": right,
        "left": sides[0],
        "right": sides[1],
        "sides": sides,
        "texts": _text_differences(left, right),
        "settings": _settings(left, right),
    }
    return render(request, "review/prompt_compare.html", context)


def _find_version(template: PromptTemplate, versions: list[PromptVersion], text: str) -> PromptVersion | None:
    if not text:
        return None
    version = next((candidate for candidate in versions if candidate.number == parse_row_id(text)), None)
    if version is None:
        raise NotFound(_("%(template)s has no version %(number)s.") % {"template": template.name, "number": text})
    return version


def _text_differences(left: PromptVersion, right: PromptVersion) -> list[Difference]:
    optional = [
        (_("Negative prompt"), left.negative, right.negative),
        (_("Style"), left.style_text, right.style_text),
        (_("Style, negative prompt"), left.style_negative, right.style_negative),
    ]
    given = [(_("Prompt"), left.text, right.text), *(texts for texts in optional if texts[1] or texts[2])]
    return [pieces.compare_words(*texts) for texts in given]


def _settings(left: PromptVersion, right: PromptVersion) -> list[tuple[str, list[Difference]]]:
    """Return groups of named settings, without the groups that neither version has."""
    groups = [
        (_("Axes"), pieces.compare_settings(left.axes, right.axes)),
        (_("Engine"), pieces.compare_settings(left.needs, right.needs)),
        (_("Parameters"), pieces.compare_settings(left.parameters, right.parameters)),
        (_("When a check fails"), pieces.compare_settings(left.policy, right.policy)),
        (_("Images"), pieces.compare_settings(_images(left), _images(right))),
    ]
    return [(name, rows) for name, rows in groups if rows]


def _images(version: PromptVersion) -> dict[str, Any]:
    plain = {_("candidates"): version.candidates, _("seed"): version.get_seed_strategy_display().lower()}
    return plain | ({_("seed number"): version.seed} if version.seed else {})
