"""Checklists of review stages, their numbered versions, and the check that answers are complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max

from core import access
from core.access import Action
from core.errors import Conflict, Invalid, NotFound, Problem
from core.events import publish
from core.models import Brand, User
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
    """Create a stage with the first version of its checklist.

    items: [{"code", "sentence", "mode": "ask" | "by_exception"}]. Raises NotAllowed, Invalid, or Conflict when the
    brand has that stage already.
    """
    access.require(by, Action.EDIT_CHECKLIST, brand)
    _ensure_items(items)
    if slots < 1:
        raise Invalid("A stage needs at least one approval.", [Problem("slots", "at least 1", str(slots))])
    if Checklist.objects.filter(brand=brand, stage=stage).exists():
        raise Conflict(f"{brand.name} has a checklist for the stage {stage!r} already; add a version to it.")
    checklist = Checklist.objects.create(
        brand=brand, stage=stage, name=name, position=position, slots=slots, due_hours=due_hours
    )
    return _add_version(checklist, items, by)


@transaction.atomic
def publish_version(
    *, checklist_id: int, by: User, items: Sequence[Mapping[str, str]], look_again: bool = False
) -> ChecklistVersion:
    """Publish the next numbered version. Tasks that are open already keep their version.

    look_again: also send the brand's approved images back to review.
    """
    checklist = Checklist.objects.visible_to(by).select_for_update().filter(pk=checklist_id).first()
    if checklist is None:
        raise NotFound(f"There is no checklist {checklist_id}.")
    access.require(by, Action.EDIT_CHECKLIST, checklist.brand)
    _ensure_items(items)
    version = _add_version(checklist, items, by)
    if look_again:
        cause = {"kind": inputs.CHECKLIST, "number": version.number, "name": checklist.name}
        staleness.check_brand(brand_id=checklist.brand_id, cause=cause, by=by)
    return version


def current_version(*, brand_id: int, stage: str | None = None) -> ChecklistVersion:
    """Return the newest version of a stage's checklist; without `stage`, that of the brand's first stage.

    A brand without a checklist gets an empty one for its first stage.
    """
    versions = ChecklistVersion.objects.filter(checklist__brand_id=brand_id).select_related("checklist")
    if stage is not None:
        versions = versions.filter(checklist__stage=stage)
    if newest := versions.order_by("checklist__position", "checklist_id", "-number").first():
        return newest
    if stage not in {None, FIRST_STAGE}:
        raise NotFound(f"This brand has no stage {stage!r}.")
    checklist, _ = Checklist.objects.get_or_create(
        brand_id=brand_id, stage=FIRST_STAGE, defaults={"name": "Brand review"}
    )
    version, _ = ChecklistVersion.objects.get_or_create(checklist=checklist, number=1, defaults={"items": []})
    return version


def stages(*, brand_id: int) -> list[Checklist]:
    """Return the brand's stages in the order in which an asset passes them; at least one."""
    checklists = list(Checklist.objects.filter(brand_id=brand_id).order_by("position", "id"))
    return checklists or [current_version(brand_id=brand_id).checklist]


def next_stage(*, brand_id: int, stage: str) -> str | None:
    """Return the next stage, or None when `stage` is the last."""
    names = [checklist.stage for checklist in stages(brand_id=brand_id)]
    place = names.index(stage) if stage in names else len(names) - 1
    return names[place + 1] if place + 1 < len(names) else None


def ensure_complete(version: ChecklistVersion, answers: Answers) -> dict[str, str]:
    """Return the answers to record with an approval. Items by exception get "confirmed on approve".

    Raises Invalid when an item to answer is open or answered "no", or when an answer belongs to no item.
    """
    items = {item["code"]: item for item in version.items}
    problems = [
        Problem(f"answers/{code}", "this checklist has no such item", value)
        for code, value in answers.items()
        if code not in items
    ]
    complete: dict[str, str] = {}
    for code, item in items.items():
        answer = answers.get(code, "")
        if not answer and item["mode"] == ItemMode.BY_EXCEPTION:
            answer = CONFIRMED_ON_APPROVE
        if not answer:
            problems.append(Problem(f"answers/{code}", f"still open: {item['sentence']}"))
        elif answer == "no":
            problems.append(
                Problem(f"answers/{code}", f"answered no, so this cannot be approved: {item['sentence']}", "no")
            )
        elif answer not in ANSWERS and (answer != CONFIRMED_ON_APPROVE or item["mode"] == ItemMode.ASK):
            problems.append(Problem(f"answers/{code}", f"expected one of {', '.join(ANSWERS)}", answer))
        complete[code] = answer
    if problems:
        raise Invalid("The checklist does not allow approval yet.", problems)
    return complete


def _add_version(checklist: Checklist, items: Sequence[Mapping[str, str]], by: User) -> ChecklistVersion:
    last = checklist.versions.aggregate(last=Max("number"))["last"] or 0
    plain = [
        {"code": i["code"], "sentence": i["sentence"], "mode": i.get("mode", ItemMode.BY_EXCEPTION)} for i in items
    ]
    version = ChecklistVersion.objects.create(checklist=checklist, number=last + 1, items=plain, created_by=by)
    publish(
        ChecklistPublished(
            brand_id=checklist.brand_id,
            object_id=checklist.pk,
            payload={"stage": checklist.stage, "number": version.number, "items": plain},
        ),
        by=by,
    )
    return version


def _ensure_items(items: Sequence[Mapping[str, Any]]) -> None:
    problems: list[Problem] = []
    codes: set[str] = set()
    for index, item in enumerate(items):
        code, sentence = item.get("code", ""), item.get("sentence", "")
        if not code or code in codes:
            problems.append(Problem(f"items/{index}/code", "each item needs a code of its own", code))
        if not sentence:
            problems.append(Problem(f"items/{index}/sentence", "each item needs a sentence that can be confirmed"))
        if item.get("mode", ItemMode.BY_EXCEPTION) not in ItemMode.values:
            problems.append(
                Problem(f"items/{index}/mode", f"expected {' or '.join(ItemMode.values)}", str(item.get("mode")))
            )
        codes.add(code)
    count = sum(1 for item in items if item.get("mode") == ItemMode.ASK)
    if count > MAX_QUESTIONS:
        problems.append(
            Problem(
                "items",
                f"at most {MAX_QUESTIONS} items may be asked per image; make the others by exception",
                str(count),
            )
        )
    if problems:
        raise Invalid("This checklist cannot be published.", problems)
