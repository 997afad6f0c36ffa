"""Checklists of review stages, their numbered versions, and the check that answers are complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from core import access
from core.access import Action
from core.errors import Conflict, Invalid, NotFound, Problem
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.selectors import inputs
from generation.services.images import staleness
from review.choices import ItemMode
from review.events import ChecklistPublished
from review.models import Checklist, ChecklistVersion

ANSWERS = ("yes", "no", "n/a")
CONFIRMED_ON_APPROVE = "confirmed on approve"
FIRST_STAGE = "brand"
MAX_QUESTIONS = 2

Answers = Mapping[str, str]


@transaction.atomic
def create(
    *,
    brand: Brand,
    by: User,
    stage: str,
    name: str,
    items: Sequence[Mapping[str, str]],
    position: int = 1,
    slots: int = 1,
    due_hours: int = 24,
) -> ChecklistVersion:
    """Create a stage with its first version. Raises NotAllowed, Invalid, or Conflict when the brand has that stage."""
    access.require(by, Action.EDIT_CHECKLIST, brand)
    _ensure_items(items)
    if slots < 1:
        raise Invalid(_("A stage needs at least one approval."), [Problem("slots", _("at least 1"), str(slots))])
    if Checklist.objects.filter(brand=brand, stage=stage).exists():
        message = _("%(brand)s has a checklist for the stage %(stage)r already; add a version to it.")
        raise Conflict(message % {"brand": brand.name, "stage": stage})
    checklist = Checklist.objects.create(
        brand=brand, stage=stage, name=name, position=position, slots=slots, due_hours=due_hours
    )
    return _add_version(checklist, items, by)


@transaction.atomic
def publish_version(
    *, checklist_id: int, by: User, items: Sequence[Mapping[str, str]], look_again: bool = False
) -> ChecklistVersion:
    """Publish the next version; open tasks keep theirs. look_again: send the brand's approved images back to review."""
    rows = Checklist.objects.visible_to(by).select_for_update().filter(pk=checklist_id)
    checklist = first_or_refuse(rows, _("There is no checklist %(id)d.") % {"id": checklist_id})
    access.require(by, Action.EDIT_CHECKLIST, checklist.brand)
    _ensure_items(items)
    version = _add_version(checklist, items, by)
    if look_again:
        cause = {"kind": inputs.CHECKLIST, "number": version.number, "name": checklist.name}
        staleness.check_brand(brand_id=checklist.brand_id, cause=cause, by=by)
    return version


def get_or_create_version(*, brand_id: int, stage: str | None = None) -> ChecklistVersion:
    """Return the newest version of a stage's checklist, by default of the first stage, which is made if need be."""
    versions = ChecklistVersion.objects.filter(checklist__brand_id=brand_id).select_related("checklist")
    if stage is not None:
        versions = versions.filter(checklist__stage=stage)
    if newest := versions.order_by("checklist__position", "checklist_id", "-number").first():
        return newest
    if stage not in {None, FIRST_STAGE}:
        raise NotFound(_("This brand has no stage %(stage)r.") % {"stage": stage})
    checklist, _is_new = Checklist.objects.get_or_create(
        brand_id=brand_id, stage=FIRST_STAGE, defaults={"name": "Brand review"}
    )
    version, _is_new = ChecklistVersion.objects.get_or_create(checklist=checklist, number=1, defaults={"items": []})
    return version


def list_stages(*, brand_id: int) -> list[str]:
    """Return the brand's stages in the order in which an asset passes them; at least one."""
    rows = Checklist.objects.filter(brand_id=brand_id).order_by("position", "id")
    return list(rows.values_list("stage", flat=True)) or [FIRST_STAGE]


def next_stage(*, brand_id: int, stage: str) -> str | None:
    """Return the next stage, or None when `stage` is the last."""
    names = list_stages(brand_id=brand_id)
    place = names.index(stage) if stage in names else len(names) - 1
    return names[place + 1] if place + 1 < len(names) else None


def ensure_complete(version: ChecklistVersion, answers: Answers) -> dict[str, str]:
    """Return the answers to record with an approval. Raises Invalid if one is missing, "no", or of no item."""
    items = {item["code"]: item for item in version.items}
    problems = [
        Problem(f"answers/{code}", _("this checklist has no such item"), value)
        for code, value in answers.items()
        if code not in items
    ]
    complete: dict[str, str] = {}
    for code, item in items.items():
        answer = answers.get(code, "")
        if not answer and item["mode"] == ItemMode.BY_EXCEPTION:
            answer = CONFIRMED_ON_APPROVE
        message = ""
        if not answer:
            message = _("still open: %(sentence)s") % {"sentence": item["sentence"]}
        elif answer == "no":
            message = _("answered no, so this cannot be approved: %(sentence)s") % {"sentence": item["sentence"]}
        elif answer not in ANSWERS and (answer != CONFIRMED_ON_APPROVE or item["mode"] == ItemMode.ASK):
            message = _("expected one of %(answers)s") % {"answers": ", ".join(ANSWERS)}
        if message:
            problems.append(Problem(f"answers/{code}", message, answer))
        complete[code] = answer
    if problems:
        raise Invalid(_("The checklist does not allow approval yet."), problems)
    return complete


def _add_version(checklist: Checklist, items: Sequence[Mapping[str, str]], by: User) -> ChecklistVersion:
    last = checklist.versions.aggregate(last=Max("number"))["last"] or 0
    plain = [
        {"code": item["code"], "sentence": item["sentence"], "mode": item.get("mode", ItemMode.BY_EXCEPTION)}
        for item in items
    ]
    version = ChecklistVersion.objects.create(checklist=checklist, number=last + 1, items=plain, created_by=by)
    publish(ChecklistPublished.of(checklist, stage=checklist.stage, number=version.number, items=plain), by=by)
    return version


def _ensure_items(items: Sequence[Mapping[str, Any]]) -> None:
    problems, codes = list[Problem](), set[str]()
    for index, item in enumerate(items):
        code, mode = item.get("code", ""), item.get("mode", ItemMode.BY_EXCEPTION)
        if not code or code in codes:
            problems.append(Problem(f"items/{index}/code", _("each item needs a code of its own"), code))
        if not item.get("sentence"):
            problems.append(Problem(f"items/{index}/sentence", _("each item needs a sentence that can be confirmed")))
        if mode not in ItemMode.values:
            message = _("expected %(modes)s") % {"modes": _(" or ").join(ItemMode.values)}
            problems.append(Problem(f"items/{index}/mode", message, str(mode)))
        codes.add(code)
    count = sum(item.get("mode") == ItemMode.ASK for item in items)
    if count > MAX_QUESTIONS:
        message = _("at most %(most)d items may be asked per image; make the others by exception")
        problems.append(Problem("items", message % {"most": MAX_QUESTIONS}, str(count)))
    if problems:
        raise Invalid(_("This checklist cannot be published."), problems)
