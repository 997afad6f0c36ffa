"""Prompt templates and their versions: written, approved by a lead, and frozen once a run uses them.

A brand's studio has one template. It is created when it is first needed, and free words become versions of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns import events, prompts
from campaigns.choices import PromptStatus, SeedStrategy, SubjectKind
from campaigns.models import PromptTemplate, PromptVersion, Studio, Subject
from campaigns.services.subjects import free_key
from campaigns.states import PROMPT
from core import clock
from core.access import Action, require
from core.errors import Conflict, Invalid, Problem
from core.events import DomainEvent, publish, set_changed
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

VERSION_FIELDS = frozenset({
    "text", "negative", "style", "axes", "parameters", "needs", "policy", "seed_strategy", "seed", "candidates",
    "note",
})  # fmt: skip
MAX_NOTE_LENGTH = 300
FAILURE_POLICIES = ("flag", "regenerate", "reject")
MAX_REGENERATIONS = 5
STUDIO_NAME = "Free words"
STUDIO_SLUG = "free-words"
#: Two versions of the studio that agree in these fields count as the same words.
WORDING_DEFAULTS: dict[str, Any] = {"text": "", "negative": "", "parameters": {}, "needs": {}}


@transaction.atomic
def create_template(*, brand: Brand, slug: str, name: str, by: User) -> PromptTemplate:
    """Create a template without any text yet. Raises Invalid, or Conflict for a slug that is taken."""
    require(by, Action.EDIT_PROMPT, brand)
    ensure_named(slug, name)
    template, is_new = PromptTemplate.objects.get_or_create(brand=brand, slug=slug, defaults={"name": name.strip()})
    if not is_new:
        message = _("%(brand)s already has a prompt %(slug)r.") % {"brand": brand.name, "slug": slug}
        raise Conflict(message, slug=slug, template=template.pk)
    publish(events.PromptTemplateCreated.of(template, slug=slug, name=template.name), by=by)
    return template


@transaction.atomic
def add_version(*, template_id: int, by: User, **fields: Any) -> PromptVersion:
    """Add the next numbered version to a template, with its style's words. `fields`: VERSION_FIELDS, at least `text`.

    Raises Invalid with the place of every mistake in text, parameters and axes.
    """
    rows = PromptTemplate.objects.select_for_update(of=("self",)).select_related("brand")
    template = first_or_refuse(rows.filter(pk=template_id), _("There is no prompt %(id)s.") % {"id": template_id})
    require(by, Action.EDIT_PROMPT, template.brand)
    ensure_fields({"text": "", **fields}, template.brand)
    number = (template.versions.aggregate(last=Max("number"))["last"] or 0) + 1
    version: PromptVersion = PromptVersion.objects.create(
        template=template, number=number, created_by=by, **fields, **_style_words(fields)
    )
    publish(events.PromptVersionAdded.of(template, version=version.pk, number=number), by=by)
    return version


@transaction.atomic
def edit_draft_version(*, version_id: int, by: User, **fields: Any) -> PromptVersion:
    """Change a draft that no run has used. Raises Conflict for any other: add a new version instead."""
    version = lock(version_id)
    require(by, Action.EDIT_PROMPT, version.template.brand)
    if version.used_at is not None or version.status != PromptStatus.DRAFT:
        message = _("%(version)s is %(status)s and never changes; add a new version instead.")
        if version.used_at:
            message = _("%(version)s was used and never changes; add a new version instead.")
        raise Conflict(message % {"version": version, "status": version.status}, version=version.pk)
    ensure_fields({**{name: getattr(version, name) for name in VERSION_FIELDS}, **fields}, version.template.brand)
    if changed := sorted(set_changed(version, fields)):
        words = set_changed(version, _style_words(fields)) if "style" in changed else {}
        version.save(update_fields=[*changed, *words])
        _publish(events.PromptVersionChanged, version, by, fields=changed)
    return version


@transaction.atomic
def request_approval(*, version_id: int, by: User) -> PromptVersion:
    """Request approval of a draft from the brand's leads, who are notified. Raises Conflict unless it is a draft."""
    version = lock(version_id)
    require(by, Action.EDIT_PROMPT, version.template.brand)
    _change_status(version, PromptStatus.REQUESTED, asked_by=by, asked_at=clock.now(), answer="")
    _publish(events.PromptApprovalRequested, version, by)
    return version


@transaction.atomic
def send_back(*, version_id: int, by: User, answer: str) -> PromptVersion:
    """Turn a version back into a draft with a lead's answer; the requester is notified. Raises Invalid, Conflict."""
    version = lock(version_id)
    require(by, Action.APPROVE_PROMPT, version.template.brand)
    if not answer.strip() or len(answer) > MAX_NOTE_LENGTH:
        message = _("Say in at most %(most)d characters what is missing.") % {"most": MAX_NOTE_LENGTH}
        raise Invalid(_("A version is sent back with a comment."), [Problem("answer", message)])
    _change_status(version, PromptStatus.DRAFT, answer=answer.strip())
    _publish(events.PromptVersionSentBack, version, by, answer=answer.strip(), asked_by=version.asked_by_id)
    return version


@transaction.atomic
def approve_version(*, version_id: int, by: User) -> PromptVersion:
    """Approve this version for production use. Raises Conflict when it is approved already."""
    version = lock(version_id)
    require(by, Action.APPROVE_PROMPT, version.template.brand)
    if version.status == PromptStatus.APPROVED:
        raise Conflict(_("%(version)s is approved already.") % {"version": version}, version=version.pk)
    _change_status(version, PromptStatus.APPROVED)
    _publish(events.PromptVersionApproved, version, by, asked_by=version.asked_by_id)
    return version


def mark_used(*, version: PromptVersion, by: User) -> None:
    """Freeze a version because a run was planned with it. Runs inside the planning transaction; idempotent."""
    moved = PromptVersion.objects.filter(pk=version.pk, used_at=None).update(used_at=clock.now())
    if moved:
        publish(events.PromptVersionUsed.of(version.template, version=version.pk), by=by)


@transaction.atomic
def ensure_studio(*, brand: Brand, by: User) -> Studio:
    """Return the brand's studio, created if there is none yet. Raises NotAllowed."""
    require(by, Action.RUN_SANDBOX, brand)
    Brand.objects.select_for_update().get(pk=brand.pk)  # two people may come at the same time
    rows = Studio.objects.select_related("brand", "subject", "template")
    existing: Studio | None = rows.filter(brand=brand).first()
    if existing is not None:
        return existing
    keys = set(Subject.objects.filter(brand=brand, kind=SubjectKind.CONCEPT).values_list("key", flat=True))
    slugs = set(PromptTemplate.objects.filter(brand=brand).values_list("slug", flat=True))
    subject = Subject.objects.create(
        brand=brand, kind=SubjectKind.CONCEPT, key=free_key(STUDIO_SLUG, keys), name=STUDIO_NAME, is_active=False
    )
    template = PromptTemplate.objects.create(brand=brand, slug=free_key(STUDIO_SLUG, slugs), name=STUDIO_NAME)
    made: Studio = Studio.objects.create(brand=brand, subject=subject, template=template)
    publish(events.StudioOpened.of(made, subject=subject.pk, template=template.pk), by=by)
    return made


@transaction.atomic
def find_or_add_version(*, studio: Studio, by: User, **fields: Any) -> PromptVersion:
    """Return the version with exactly these words, an existing one if possible. `fields` are those of `add_version`."""
    require(by, Action.RUN_SANDBOX, studio.brand)
    words = {**WORDING_DEFAULTS, **{name: fields[name] for name in WORDING_DEFAULTS if name in fields}}
    same = PromptVersion.objects.filter(
        template=studio.template, style=fields.get("style"), axes={}, **words, **_style_words(fields)
    )
    existing: PromptVersion | None = same.order_by("number").first()
    return existing or add_version(template_id=studio.template_id, by=by, **fields)


def _change_status(version: PromptVersion, to: str, **fields: Any) -> None:
    """Compare-and-set the status, with other columns. Raises Conflict."""
    old = version.status
    PROMPT.ensure(old, to)
    if not PromptVersion.objects.filter(pk=version.pk, status=old).update(status=to, **fields):
        message = _("%(version)s is no longer %(status)s.") % {"version": version, "status": old}
        raise Conflict(message, version=version.pk)
    for name, value in {"status": to, **fields}.items():
        setattr(version, name, value)


def _style_words(fields: dict[str, Any]) -> dict[str, str]:
    """Return the style's words, as the version stores them in its own columns."""
    style = fields.get("style")
    return {"style_text": style.text if style else "", "style_negative": style.negative if style else ""}


def lock(version_id: int) -> PromptVersion:
    """Return the version with template and brand, its row locked until the transaction ends. Raises NotFound."""
    rows = PromptVersion.objects.select_for_update(of=("self",)).select_related("template__brand")
    return first_or_refuse(rows.filter(pk=version_id), _("There is no prompt version %(id)s.") % {"id": version_id})


def ensure_fields(fields: dict[str, Any], brand: Brand) -> None:
    """Raise Invalid unless these fields make a version that can be rendered."""
    if problems := list(_problems(fields, brand)):
        raise Invalid(_("The prompt has mistakes."), problems)


def _problems(fields: dict[str, Any], brand: Brand) -> Iterator[Problem]:
    for name in sorted(set(fields) - VERSION_FIELDS):
        yield Problem(name, _("A prompt version has no such field."))
    for name in ("text", "negative"):
        yield from _syntax_problems(name, fields.get(name, ""))
    for name in ("axes", "parameters", "needs", "policy"):
        if not isinstance(fields.get(name, {}), dict):
            yield Problem(name, _("Give an object of names and values."), str(fields[name])[:100])
            return
    yield from _syntax_problems("parameters", fields.get("parameters", {}))
    try:
        prompts.expand_axes(fields.get("axes", {}))
    except prompts.AxisError as error:
        yield Problem(f"axes/{error.axis}", error.message)
    style = fields.get("style")
    if style is not None and style.brand_id != brand.pk:
        yield Problem("style", _("This style belongs to another brand."))
    if len(str(fields.get("note", ""))) > MAX_NOTE_LENGTH:
        yield Problem("note", _("Say it in at most %(most)d characters.") % {"most": MAX_NOTE_LENGTH})
    yield from _seed_problems(fields)
    yield from _policy_problems(fields.get("policy", {}))


def _syntax_problems(pointer: str, value: Any) -> Iterator[Problem]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _syntax_problems(f"{pointer}/{key}", inner)
    elif isinstance(value, str):
        try:
            prompts.parse(value)
        except prompts.PromptSyntaxError as error:
            place = prompts.describe_position(value, error.position)
            yield Problem(pointer, f"{error.message} ({place}).", value[error.position : error.position + 40])


def _seed_problems(fields: dict[str, Any]) -> Iterator[Problem]:
    candidates = fields.get("candidates", 1)
    if not isinstance(candidates, int) or not 1 <= candidates <= 8:
        yield Problem("candidates", _("Ask for 1 to 8 candidates per image."), str(candidates))
    seed = fields.get("seed", 0)
    if not isinstance(seed, int) or not 0 <= seed <= prompts.MAX_SEED:
        message = _("Give a whole number from 0 to %(most)d.") % {"most": prompts.MAX_SEED}
        yield Problem("seed", message, str(seed))
    strategy = fields.get("seed_strategy", SeedStrategy.PER_SUBJECT)
    if strategy not in SeedStrategy.values:
        message = _("Known are %(names)s.") % {"names": ", ".join(SeedStrategy.values)}
        yield Problem("seed_strategy", message, str(strategy))


def _policy_problems(policy: dict[str, Any]) -> Iterator[Problem]:
    on_fail = policy.get("on_fail", "flag")
    if on_fail not in FAILURE_POLICIES:
        message = _("Known are %(names)s.") % {"names": ", ".join(FAILURE_POLICIES)}
        yield Problem("policy/on_fail", message, str(on_fail))
    regenerations = policy.get("max_regenerations", 0)
    if not isinstance(regenerations, int) or not 0 <= regenerations <= MAX_REGENERATIONS:
        message = _("Give 0 to %(most)d.") % {"most": MAX_REGENERATIONS}
        yield Problem("policy/max_regenerations", message, str(regenerations))


def ensure_named(slug: str, name: str) -> None:
    problems = []
    if slugify(slug) != slug or not slug:
        problems.append(Problem("slug", _("Use lower-case letters, digits and hyphens, such as “studio-white”."), slug))
    if not name.strip():
        problems.append(Problem("name", _("Give it a name that people recognise.")))
    if problems:
        raise Invalid(_("This name cannot be used."), problems)


def _publish(kind: type[DomainEvent], version: PromptVersion, by: User, **more: Any) -> None:
    publish(kind.of(version.template, version=version.pk, number=version.number, **more), by=by)
