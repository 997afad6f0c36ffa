"""The page "Rules for AI images": what each rule asks for, what Proofline does, and the state of this installation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.http import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from core.pages import BrandRequest, brand_page
from review.selectors import ai_rules as selectors
from review.services import signing
from review.views import ai_findings
from review.views.ai_findings import Finding, Situation


@dataclass(frozen=True)
class Rule:
    """One rule as docs/compliance.md has it; `find` returns the state here. The texts are translated when shown."""

    slug: str
    name: object
    asks: object
    does: object
    remains: object
    find: Callable[[Situation], Sequence[Finding]]


RULES = (
    Rule(
        "marking",
        _("EU AI Act, Article 50(2): marking by providers"),
        _(
            "Outputs are marked in a machine-readable way and can be detected as made by AI. It applies since 2 August"
            " 2026; systems that were on the market before have until 2 December 2026."
        ),
        _("Every delivered file has IPTC’s digital source type and AI fields, and signed Content Credentials."),
        _(
            "To know whether you are the provider of the system; a certificate of an authority on the C2PA trust list."
            " The provider of your model may mark its output, too."
        ),
        ai_findings.find_signer,
    ),
    Rule(
        "time-stamp",
        _("EU Code of Practice, measure 1.1: signed metadata and a watermark"),
        _("Signed metadata with a time stamp and an imperceptible watermark, both as far as is feasible."),
        _("Signed metadata, with a time stamp where one is set up, and a record of every delivered file."),
        _("A watermark: if you follow the code, add one in your engine or after delivery."),
        ai_findings.find_time_stamps,
    ),
    Rule(
        "kept",
        _("EU Code of Practice, measure 1.2: marks are not removed"),
        _("Recognisable marks of what you transform are kept."),
        _(
            "The marks of a product photo’s file stay in the manifest. After publishing, what a destination serves is"
            " fetched, and its marks are read."
        ),
        _("Switch off the features of your site that remove metadata; the page of the destination says which."),
        ai_findings.find_kept_marks,
    ),
    Rule(
        "private",
        _("EU Code of Practice: no private data in metadata"),
        _("Metadata carries nothing that is private or sensitive for the business."),
        _("Prompt and writer are written into files only where a destination is set to do so."),
        _("To decide it for each destination, and that prompts name no person."),
        ai_findings.find_private_data,
    ),
    Rule(
        "disclosure",
        _("EU AI Act, Article 50(4): disclosure by deployers, for deep fakes"),
        _(
            "People are told that realistic images of existing persons, objects or places are AI-made. There is no"
            " grace period."
        ),
        _(
            "An output spec may draw a visible label, such as “AI-generated”, into its files. An endpoint’s disclaimer"
            " stands beside its images on every page, in the API, in archives and in the file. Rules keep such images"
            " from destinations, as those of a new one do."
        ),
        _(
            "To know whether your images are deep fakes, which a real product in a realistic generated scene may be;"
            " then to switch the label on, or to show one in your shop."
        ),
        ai_findings.find_disclaimers,
    ),
    Rule(
        "google-field",
        _("Google Merchant Center: images by AI"),
        _("Product images made by AI have IPTC’s DigitalSourceType, which must not be removed."),
        _(
            "It is in every generated image. If a real product photo is in the image, it has the value for composites"
            " with what a model made."
        ),
        _("Your shop or CDN must serve the file with its metadata."),
        ai_findings.find_labels_for_google,
    ),
    Rule(
        "google-size",
        _("Google Merchant Center, from 31 January 2027: size"),
        _("Images have at least 500 × 500 px."),
        _("Output specs say the size of every file, and image feeds warn of smaller ones."),
        _("Choose output specs of 1500 × 1500 px, which Google recommends."),
        ai_findings.find_small_specs,
    ),
    Rule(
        "marketplaces",
        _("Marketplaces"),
        _("Each has rules of its own, for example on main images."),
        _("Approval checklists name them; rules and disclaimers keep images from a destination."),
        _("The checklist of each channel, and the rules of each destination."),
        ai_findings.find_channel_rules,
    ),
    Rule(
        "shopify",
        _("Shopify"),
        _("No statement of Shopify is known on whether its CDN keeps metadata."),
        _("Each file is fetched from its address after publishing, and its marks are read."),
        _("To check what your theme shows: other sizes and formats are other files."),
        ai_findings.find_shopify,
    ),
)


_ORDER = {"bad": 0, "warn": 1}


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Show the rules with the state of this installation. Whoever may see the brand may see it: it has no secrets."""
    facts = selectors.read_facts(request.user, request.brand)
    situation = Situation(request.brand, facts, signing.inspect_signer())
    rows = [(rule, sorted(rule.find(situation), key=lambda found: _ORDER.get(found.tone, 2))) for rule in RULES]
    attention = sum(found.needs_look for _rule, findings in rows for found in findings)
    return render(request, "review/ai_rules.html", {"rows": rows, "attention": attention})
