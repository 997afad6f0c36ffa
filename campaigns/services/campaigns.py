"""Campaigns: their brief, the output specs of each channel, and their subjects."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import ProtectedError
from django.utils.text import slugify

from campaigns import events, name_patterns
from campaigns.choices import ImageFormat
from campaigns.models import Campaign, OutputSpec, Subject
from campaigns.photos.colours import HEX
from core.access import Action, require
from core.errors import Conflict, Invalid, NotFound, Problem, Stale
from core.events import publish
from core.models import Brand, User

BRIEF_FIELDS = frozenset(
    {
        "name",
        "purpose",
        "audience",
        "channel",
        "starts_on",
        "ends_on",
        "budget",
        "patience_seconds",
        "pilot_decisions",
        "pilot_approval_percent",
        "review_owner",
    }
)
_EVENT_IDS = 100
SANDBOX_PX = 512


@dataclass(frozen=True)
class SpecInput:
    """A requested output spec. width and height in pixels; max_bytes None means no limit."""

    slug: str
    width: int
    height: int
    image_format: str = "jpeg"
    asset_type: str = "packshot"
    max_bytes: int | None = None
    background: str = ""
    name_pattern: str = "{brand}_{sku}_{asset_type}_{spec}_{date}_{variation}"


@transaction.atomic
def create_campaign(
    *, brand: Brand, slug: str, name: str, by: User, specs: Iterable[SpecInput] = (), **brief: Any
) -> Campaign:
    """Create a campaign, with output specs if given. Raises Invalid, or Conflict for a slug that is taken."""
    require(by, Action.EDIT_CAMPAIGN, brand)
    if slugify(slug) != slug or not slug:
        message = "Use lower-case letters, digits and hyphens, such as “autumn-launch”."
        raise Invalid("This campaign cannot be created as it is.", [Problem("slug", message, slug)])
    _ensure_brief({"name": name, **brief}, brand)
    campaign, is_new = Campaign.objects.get_or_create(
        brand=brand, slug=slug, defaults={"name": name.strip(), "owner": by, **brief}
    )
    if not is_new:
        raise Conflict(f"{brand.name} already has a campaign {slug!r}.", slug=slug, campaign=campaign.pk)
    payload = {"slug": slug, "name": campaign.name}
    publish(events.CampaignCreated(brand_id=brand.pk, object_id=campaign.pk, payload=payload), by=by)
    spec_inputs = list(specs)
    if spec_inputs:
        set_output_specs(campaign_id=campaign.pk, specs=spec_inputs, by=by)
    return campaign


@transaction.atomic
def get_or_create_sandbox(*, brand: Brand, by: User) -> Campaign:
    """Return the brand's sandbox campaign for trying prompts: one square output, no brief. Created at first need."""
    require(by, Action.RUN_SANDBOX, brand)
    Brand.objects.select_for_update().get(pk=brand.pk)  # two people may come at the same time
    existing: Campaign | None = Campaign.objects.filter(brand=brand, is_sandbox=True).first()
    if existing is not None:
        return existing
    taken = set(Campaign.objects.filter(brand=brand, slug__startswith="sandbox").values_list("slug", flat=True))
    slug = next(name for name in ("sandbox", *(f"sandbox-{n}" for n in range(2, len(taken) + 3))) if name not in taken)
    made = Campaign.objects.create(brand=brand, slug=slug, name="Sandbox", owner=by, is_sandbox=True)
    OutputSpec.objects.create(campaign=made, slug="try", width=SANDBOX_PX, height=SANDBOX_PX, asset_type="try")
    payload = {"slug": slug, "name": made.name, "is_sandbox": True}
    publish(events.CampaignCreated(brand_id=brand.pk, object_id=made.pk, payload=payload), by=by)
    return made


@transaction.atomic
def update_campaign(*, campaign_id: int, by: User, seen_at: datetime | None = None, **changes: Any) -> Campaign:
    """Change the brief. `seen_at`: the updated_at that the editor saw; Stale if somebody changed it meanwhile."""
    campaign = lock(campaign_id)
    require(by, Action.EDIT_CAMPAIGN, campaign.brand)
    if seen_at is not None and campaign.updated_at != seen_at:
        raise Stale(
            "Somebody changed this brief after you opened it; look at it again.", updated_at=campaign.updated_at
        )
    _ensure_brief({"starts_on": campaign.starts_on, "ends_on": campaign.ends_on, **changes}, campaign.brand)
    moved = {name: [getattr(campaign, name), value] for name, value in changes.items()}
    moved = {name: pair for name, pair in moved.items() if pair[0] != pair[1]}
    if not moved:
        return campaign
    for name, (_, new) in moved.items():
        setattr(campaign, name, new)
    campaign.save(update_fields=[*moved, "updated_at"])
    payload = {"changes": {name: [_plain(old), _plain(new)] for name, (old, new) in moved.items()}}
    publish(events.CampaignChanged(brand_id=campaign.brand_id, object_id=campaign.pk, payload=payload), by=by)
    return campaign


@transaction.atomic
def set_output_specs(*, campaign_id: int, specs: Iterable[SpecInput], by: User) -> list[OutputSpec]:
    """Give the campaign exactly these output specs, matched by slug.

    A spec for which files were made cannot be changed or removed (Conflict); add one with another slug instead.
    """
    campaign = lock(campaign_id)
    require(by, Action.EDIT_CAMPAIGN, campaign.brand)
    requested = {spec.slug: spec for spec in specs}
    there = {spec.slug: spec for spec in campaign.output_specs.all()}
    changed = [slug for slug, spec in requested.items() if slug in there and _as_input(there[slug]) != spec]
    _ensure_specs(list(requested.values()), kept=requested.keys() & there.keys() - set(changed))
    removed = [slug for slug in there if slug not in requested]
    added = [slug for slug in requested if slug not in there]
    for slug in [*removed, *changed]:
        _remove_spec(there[slug])
    OutputSpec.objects.bulk_create(
        OutputSpec(campaign=campaign, **asdict(requested[slug]))
        for slug in requested
        if slug in added or slug in changed
    )
    if added or changed or removed:
        payload = {"added": added, "changed": changed, "removed": removed}
        publish(events.OutputSpecsSet(brand_id=campaign.brand_id, object_id=campaign.pk, payload=payload), by=by)
    return list(campaign.output_specs.order_by("id"))


@transaction.atomic
def add_subjects(*, campaign_id: int, by: User, subject_ids: Iterable[int] | None = None) -> int:
    """Add subjects to the campaign (None: all active ones of the brand); return how many are new."""
    campaign = lock(campaign_id)
    require(by, Action.EDIT_CAMPAIGN, campaign.brand)
    subjects = Subject.objects.filter(brand=campaign.brand, is_active=True)
    if subject_ids is not None:
        requested_ids = set(subject_ids)
        subjects = subjects.filter(pk__in=requested_ids)
        unknown = requested_ids - set(subjects.values_list("pk", flat=True))
        if unknown:
            message = f"{campaign.brand.name} has no active subject with this id."
            raise Invalid(
                "Some subjects cannot be added.", [Problem("subject_ids", message, str(pk)) for pk in sorted(unknown)]
            )
    through = Campaign.subjects.through
    new = list(subjects.exclude(campaigns=campaign).order_by("pk").values_list("pk", flat=True))
    through.objects.bulk_create(
        (through(campaign_id=campaign.pk, subject_id=pk) for pk in new), batch_size=5000, ignore_conflicts=True
    )
    if new:
        payload = {"count": len(new), "subjects": new[:_EVENT_IDS]}
        publish(events.SubjectsAdded(brand_id=campaign.brand_id, object_id=campaign.pk, payload=payload), by=by)
    return len(new)


@transaction.atomic
def remove_subjects(*, campaign_id: int, by: User, subject_ids: Iterable[int]) -> int:
    """Remove subjects from the campaign; images made of them stay. Return how many were removed."""
    campaign = lock(campaign_id)
    require(by, Action.EDIT_CAMPAIGN, campaign.brand)
    through = Campaign.subjects.through
    rows = through.objects.filter(campaign_id=campaign.pk, subject_id__in=list(subject_ids))
    gone = sorted(rows.values_list("subject_id", flat=True))
    rows.delete()
    if gone:
        payload = {"count": len(gone), "subjects": gone[:_EVENT_IDS]}
        publish(events.SubjectsRemoved(brand_id=campaign.brand_id, object_id=campaign.pk, payload=payload), by=by)
    return len(gone)


def lock(campaign_id: int) -> Campaign:
    """Return the campaign with its brand, its row locked until the transaction ends. Raises NotFound."""
    rows = Campaign.objects.select_for_update(of=("self",)).select_related("brand")
    campaign: Campaign | None = rows.filter(pk=campaign_id).first()
    if campaign is None:
        raise NotFound(f"There is no campaign {campaign_id}.")
    return campaign


def _ensure_brief(fields: dict[str, Any], brand: Brand) -> None:
    problems = [Problem(name, "A brief has no such field.") for name in sorted(set(fields) - BRIEF_FIELDS)]
    if "name" in fields and not str(fields["name"]).strip():
        problems.append(Problem("name", "A campaign needs a name."))
    starts_on, ends_on = fields.get("starts_on"), fields.get("ends_on")
    if isinstance(starts_on, date) and isinstance(ends_on, date) and ends_on < starts_on:
        problems.append(Problem("ends_on", f"It ends before it starts ({starts_on}).", str(ends_on)))
    budget = fields.get("budget")
    if budget is not None and Decimal(str(budget)) < 0:
        problems.append(Problem("budget", "A budget cannot be negative; leave it empty for none.", str(budget)))
    percent = fields.get("pilot_approval_percent", 0)
    if not 0 <= int(percent) <= 100:
        problems.append(Problem("pilot_approval_percent", "Give a percentage from 0 to 100.", str(percent)))
    owner = fields.get("review_owner")
    if owner is not None and not owner.memberships.filter(brand=brand).exists():
        problems.append(Problem("review_owner", f"{owner.display_name} has no role in {brand.name}."))
    if problems:
        raise Invalid("The brief has mistakes.", problems)


def _ensure_specs(specs: list[SpecInput], *, kept: Set[str]) -> None:
    """Raise Invalid with every mistake.

    kept: slugs of specs that stay as they are. Their name patterns may be older than the check and are not checked.
    """
    problems = []
    for index, spec in enumerate(specs):
        if slugify(spec.slug) != spec.slug or not spec.slug:
            problems.append(Problem(f"specs/{index}/slug", "Use lower-case letters, digits and hyphens.", spec.slug))
        for name, value in (("width", spec.width), ("height", spec.height)):
            if not 16 <= value <= 8192:
                problems.append(Problem(f"specs/{index}/{name}", "Give 16 to 8192 pixels.", str(value)))
        if spec.image_format not in ImageFormat.values:
            formats = ", ".join(ImageFormat.values)
            problems.append(Problem(f"specs/{index}/image_format", f"Known are {formats}.", spec.image_format))
        if spec.background and not HEX.fullmatch(spec.background.lower()):
            message = "Write a colour as # and six hexadecimal digits, such as #ffffff, or leave it empty."
            problems.append(Problem(f"specs/{index}/background", message, spec.background))
        for sentence in name_patterns.lint(spec.name_pattern) if spec.slug not in kept else ():
            problems.append(Problem(f"specs/{index}/name_pattern", sentence, spec.name_pattern))
        if spec.max_bytes is not None and spec.max_bytes < 1000:
            problems.append(
                Problem(f"specs/{index}/max_bytes", "No image fits; give 1000 or more.", str(spec.max_bytes))
            )
    if problems:
        raise Invalid("The output specs have mistakes.", problems)


def _as_input(spec: OutputSpec) -> SpecInput:
    return SpecInput(**{name: getattr(spec, name) for name in SpecInput.__dataclass_fields__})


def _remove_spec(spec: OutputSpec) -> None:
    try:
        spec.delete()
    except ProtectedError:
        raise Conflict(
            f"Files were already made for {spec.slug}; leave it as it is and add a spec under another slug.",
            slug=spec.slug,
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, User):
        return value.display_name
    if isinstance(value, Decimal | date | datetime):
        return str(value)
    return value
