"""Campaigns: their brief, the output specs of each channel, and their subjects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import ProtectedError
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns import events, name_patterns
from campaigns.channels import Preset
from campaigns.choices import ImageFormat, LabelCorner
from campaigns.models import Campaign, OutputSpec, Subject
from campaigns.photos.colours import HEX
from campaigns.services.spec_labels import find_label_mistakes
from campaigns.services.subjects import free_key
from campaigns.visible_labels import USUAL_PERCENT, Label
from core.access import Action, require
from core.errors import Conflict, Invalid, Problem, Stale
from core.events import publish, set_changed
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

BRIEF_FIELDS = frozenset({
    "name", "purpose", "audience", "channel", "starts_on", "ends_on", "budget", "patience_seconds", "pilot_decisions",
    "pilot_approval_percent", "review_owner",
})  # fmt: skip
SANDBOX_PX = 512


@dataclass(frozen=True)
class SpecInput:
    """A requested output spec. width and height in pixels; max_bytes None means no limit, label_text "" no label."""

    slug: str
    width: int
    height: int
    image_format: str = "jpeg"
    asset_type: str = "packshot"
    max_bytes: int | None = None
    background: str = ""
    name_pattern: str = "{brand}_{sku}_{asset_type}_{spec}_{date}_{variation}"
    label_text: str = ""
    label_corner: str = LabelCorner.BOTTOM_RIGHT.value
    label_percent: int = USUAL_PERCENT

    @property
    def label(self) -> Label:
        return Label(self.label_text, self.label_corner, self.label_percent)

    @classmethod
    def of(cls, spec: OutputSpec | Preset) -> SpecInput:
        return cls(**{field.name: getattr(spec, field.name) for field in fields(cls) if hasattr(spec, field.name)})


@transaction.atomic
def create_campaign(
    *, brand: Brand, slug: str, name: str, by: User, specs: Iterable[SpecInput] = (), **brief: Any
) -> Campaign:
    """Create a campaign, with output specs if given. Raises Invalid, or Conflict for a slug that is taken."""
    require(by, Action.EDIT_CAMPAIGN, brand)
    problems = find_brief_problems({"name": name, **brief}, brand)
    if slugify(slug) != slug or not slug:
        message = _("Use lower-case letters, digits and hyphens, such as “autumn-launch”.")
        raise Invalid(_("This campaign cannot be created as it is."), [Problem("slug", message, slug), *problems])
    if problems:
        raise Invalid(_("The brief has mistakes."), problems)
    campaign, is_new = Campaign.objects.get_or_create(
        brand=brand, slug=slug, defaults={"name": name.strip(), "owner": by, **brief}
    )
    if not is_new:
        message = _("%(brand)s already has a campaign %(slug)r.") % {"brand": brand.name, "slug": slug}
        raise Conflict(message, slug=slug, campaign=campaign.pk)
    publish(events.CampaignCreated.of(campaign, slug=slug, name=campaign.name), by=by)
    if spec_inputs := list(specs):
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
    slug = free_key("sandbox", taken)
    made = Campaign.objects.create(brand=brand, slug=slug, name="Sandbox", owner=by, is_sandbox=True)
    OutputSpec.objects.create(campaign=made, slug="try", width=SANDBOX_PX, height=SANDBOX_PX, asset_type="try")
    publish(events.CampaignCreated.of(made, slug=slug, name=made.name, is_sandbox=True), by=by)
    return made


@transaction.atomic
def update_campaign(*, campaign_id: int, by: User, seen_at: datetime | None = None, **changes: Any) -> Campaign:
    """Change the brief. `seen_at`: the updated_at that the editor saw; Stale if somebody changed it meanwhile."""
    campaign = lock(campaign_id)
    require(by, Action.EDIT_CAMPAIGN, campaign.brand)
    if seen_at is not None and campaign.updated_at != seen_at:
        message = _("Somebody changed this brief after you opened it; look at it again.")
        raise Stale(message, updated_at=campaign.updated_at)
    whole = {"starts_on": campaign.starts_on, "ends_on": campaign.ends_on, **changes}
    if problems := find_brief_problems(whole, campaign.brand):
        raise Invalid(_("The brief has mistakes."), problems)
    if moved := set_changed(campaign, changes):
        campaign.save(update_fields=[*moved, "updated_at"])
        plain = {name: [_plain(value) for value in pair] for name, pair in moved.items()}
        publish(events.CampaignChanged.of(campaign, changes=plain), by=by)
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
    changed = [slug for slug, spec in requested.items() if slug in there and SpecInput.of(there[slug]) != spec]
    # The name patterns of specs that stay as they are may be older than the check and are not checked.
    kept = requested.keys() & there.keys() - set(changed)
    problems = [
        Problem(f"specs/{index}/{name}", sentence, str(getattr(spec, name)))
        for index, spec in enumerate(requested.values())
        for name, sentence in find_spec_mistakes(spec, is_kept=spec.slug in kept)
    ]
    if problems:
        raise Invalid(_("The output specs have mistakes."), problems)
    removed = [slug for slug in there if slug not in requested]
    added = [slug for slug in requested if slug not in there]
    for slug in [*removed, *changed]:
        try:
            there[slug].delete()
        except ProtectedError:
            message = _("Files were already made for %(spec)s; leave it as it is and add a spec under another slug.")
            raise Conflict(message % {"spec": slug}, slug=slug) from None
    new = [spec for slug, spec in requested.items() if slug in added or slug in changed]
    OutputSpec.objects.bulk_create(OutputSpec(campaign=campaign, **asdict(spec)) for spec in new)
    if new or removed:
        publish(events.OutputSpecsSet.of(campaign, added=added, changed=changed, removed=removed), by=by)
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
            message = _("%(brand)s has no active subject with this id.") % {"brand": campaign.brand.name}
            problems = [Problem("subject_ids", message, str(pk)) for pk in sorted(unknown)]
            raise Invalid(_("Some subjects cannot be added."), problems)
    through = Campaign.subjects.through
    new = list(subjects.exclude(campaigns=campaign).order_by("pk").values_list("pk", flat=True))
    through.objects.bulk_create(
        (through(campaign_id=campaign.pk, subject_id=pk) for pk in new), batch_size=5000, ignore_conflicts=True
    )
    if new:
        publish(events.SubjectsAdded.of(campaign, count=len(new), subjects=new[:100]), by=by)
    return len(new)


def lock(campaign_id: int) -> Campaign:
    """Return the campaign with its brand, its row locked until the transaction ends. Raises NotFound."""
    rows = Campaign.objects.select_for_update(of=("self",)).select_related("brand")
    return first_or_refuse(rows.filter(pk=campaign_id), _("There is no campaign %(id)s.") % {"id": campaign_id})


def find_brief_problems(fields: dict[str, Any], brand: Brand) -> list[Problem]:
    """Return every mistake in the given fields of a brief."""
    problems = [Problem(name, _("A brief has no such field.")) for name in sorted(set(fields) - BRIEF_FIELDS)]
    if "name" in fields and not str(fields["name"]).strip():
        problems.append(Problem("name", _("A campaign needs a name.")))
    starts_on, ends_on = fields.get("starts_on"), fields.get("ends_on")
    if isinstance(starts_on, date) and isinstance(ends_on, date) and ends_on < starts_on:
        message = _("It ends before it starts (%(start)s).") % {"start": starts_on}
        problems.append(Problem("ends_on", message, str(ends_on)))
    budget = fields.get("budget")
    if budget is not None and Decimal(str(budget)) < 0:
        problems.append(Problem("budget", _("A budget cannot be negative; leave it empty for none."), str(budget)))
    percent = fields.get("pilot_approval_percent", 0)
    if not 0 <= int(percent) <= 100:
        problems.append(Problem("pilot_approval_percent", _("Give a percentage from 0 to 100."), str(percent)))
    owner = fields.get("review_owner")
    if owner is not None and not owner.memberships.filter(brand=brand).exists():
        names = {"person": owner.display_name, "brand": brand.name}
        problems.append(Problem("review_owner", _("%(person)s has no role in %(brand)s.") % names))
    return problems


def find_spec_mistakes(spec: SpecInput, *, is_kept: bool) -> Iterator[tuple[str, str]]:
    """Yield (field, sentence) of each mistake."""
    if slugify(spec.slug) != spec.slug or not spec.slug:
        yield "slug", _("Use lower-case letters, digits and hyphens.")
    for name in ("width", "height"):
        if not 16 <= getattr(spec, name) <= 8192:
            yield name, _("Give 16 to 8192 pixels.")
    if spec.image_format not in ImageFormat.values:
        yield "image_format", _("Known are %(names)s.") % {"names": ", ".join(ImageFormat.values)}
    if spec.background and not HEX.fullmatch(spec.background.lower()):
        yield "background", _("Write a colour as # and six hexadecimal digits, such as #ffffff, or leave it empty.")
    if not is_kept:
        yield from (("name_pattern", sentence) for sentence in name_patterns.lint(spec.name_pattern))
    if spec.max_bytes is not None and spec.max_bytes < 1000:
        yield "max_bytes", _("No image fits; give 1000 or more.")
    if all(16 <= side <= 8192 for side in (spec.width, spec.height)):
        yield from find_label_mistakes(spec.label, spec.width, spec.height)


def _plain(value: Any) -> Any:
    if isinstance(value, User):
        return value.display_name
    return str(value) if isinstance(value, Decimal | date) else value
