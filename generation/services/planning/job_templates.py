"""Job templates for common jobs: initial values and the outputs that each needs. A template only prefills a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from campaigns.choices import SubjectKind
from campaigns.models import OutputSpec
from campaigns.services import campaigns
from campaigns.services.campaigns import SpecInput
from campaigns.services.subjects import free_key
from core.errors import Conflict, NotFound
from core.models import User
from generation.choices import Stage

PILOT_SAMPLE = 10


@dataclass(frozen=True)
class JobTemplate:
    """A common job. specs: outputs that it needs and makes; empty for all of the campaign. axes: values that it varies,
    where the prompt or the engine obeys them. sample: the number of subjects to begin with, None for all."""

    slug: str
    name: Promise
    text: Promise
    icon: str = "image"
    kind: str = SubjectKind.PRODUCT
    stage: str = Stage.PILOT
    sample: int | None = PILOT_SAMPLE
    specs: tuple[SpecInput, ...] = ()
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing_only: bool = False
    is_pair: bool = False


MISSING = JobTemplate(
    "missing",
    _("What is missing"),
    _("Exactly the products and outputs of which nothing is there or on its way."),
    "check",
    stage=Stage.FULL,
    sample=None,
    missing_only=True,
)
ALL: tuple[JobTemplate, ...] = (
    MISSING,
    JobTemplate(
        "packshots",
        _("Catalogue packshots"),
        _("Each product alone on its backdrop, square, for shop and marketplace."),
        "product",
        specs=(SpecInput("shop", 1600, 1600, asset_type="packshot"),),
    ),
    JobTemplate(
        "seasonal",
        _("Seasonal scenes"),
        _("Each product in spring, summer, autumn and winter; the prompt names {season}."),
        "sun",
        specs=(SpecInput("scene", 1600, 1200, asset_type="scene"),),
        axes={"season": ("spring", "summer", "autumn", "winter")},
    ),
    JobTemplate(
        "social",
        _("Social set in four aspects"),
        _("Square, portrait, story and wide from one prompt."),
        "context",
        specs=(
            SpecInput("social-square", 1080, 1080, asset_type="social"),
            SpecInput("social-portrait", 1080, 1350, asset_type="social"),
            SpecInput("social-story", 1080, 1920, asset_type="social"),
            SpecInput("social-wide", 1920, 1080, asset_type="social"),
        ),
    ),
    JobTemplate(
        "blog",
        _("Blog headers"),
        _("One wide image per article, made from its title."),
        "file",
        kind=SubjectKind.ARTICLE,
        specs=(SpecInput("blog-header", 1200, 630, asset_type="blog"),),
    ),
    JobTemplate(
        "ads",
        _("Ad concepts"),
        _("Every concept in the aspects that ads are booked in."),
        "campaign",
        kind=SubjectKind.CONCEPT,
        specs=(
            SpecInput("ad-square", 1080, 1080, asset_type="ad"),
            SpecInput("ad-portrait", 1080, 1350, asset_type="ad"),
            SpecInput("ad-wide", 1200, 628, asset_type="ad"),
        ),
    ),
    JobTemplate(
        "ab",
        _("A/B of two prompts"),
        _("Two versions on the same products and seeds, then side by side."),
        "compare",
        is_pair=True,
    ),
)
BY_SLUG: Mapping[str, JobTemplate] = {template.slug: template for template in ALL}


def find_missing_outputs(template: JobTemplate, specs: Collection[OutputSpec]) -> list[SpecInput]:
    """Return the outputs that the template needs and the campaign lacks: it has none of the aspect that is as wide."""
    return [
        needed
        for needed in template.specs
        if not any(
            spec.width * needed.height == needed.width * spec.height and spec.width >= needed.width for spec in specs
        )
    ]


def aspects(template: JobTemplate) -> list[str]:
    """Return the aspects that the template makes; empty for all of the campaign."""
    return list(dict.fromkeys(OutputSpec(width=spec.width, height=spec.height).aspect for spec in template.specs))


@transaction.atomic
def add_outputs(*, campaign_id: int, slug: str, by: User) -> list[OutputSpec]:
    """Add the outputs that the campaign lacks for a template; returns all. Raises NotAllowed, NotFound, Conflict."""
    if (template := BY_SLUG.get(slug)) is None:
        message = gettext("There is no job template %(slug)r; known are %(names)s.")
        raise NotFound(message % {"slug": slug, "names": ", ".join(BY_SLUG)})
    campaign = campaigns.lock(campaign_id)
    existing = list(campaign.output_specs.order_by("id"))
    if not (new := find_missing_outputs(template, existing)):
        message = gettext("%(campaign)s has all outputs of %(template)s already.")
        raise Conflict(message % {"campaign": campaign.name, "template": template.name})
    specs = [SpecInput.of(spec) for spec in existing]
    for spec in new:
        specs.append(replace(spec, slug=free_key(spec.slug, {used.slug for used in specs})))
    return campaigns.set_output_specs(campaign_id=campaign.pk, specs=specs, by=by)
