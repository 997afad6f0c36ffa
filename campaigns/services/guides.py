"""Versions of the brand guide: one open draft per brand, changed in place, published once and then frozen."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns import events, thresholds
from campaigns.choices import GuideStatus, Light
from campaigns.models import GuideImage, GuideVersion
from campaigns.photos import colours
from core import clock
from core import events as core_events
from core.access import Action, require
from core.errors import Conflict, Invalid, Problem, Stale
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

COLOURS: Final = ("palette", "backdrops")
WORDING: Final = ("required_wording", "approved_wording", "banned_wording")
#: Shares of the image's height with which each of our engines works.
RANGES: Final = {"fill_ratio": (0.1, 1.0), "baseline": (0.2, 1.0)}
FIELDS: Final = frozenset({*COLOURS, *WORDING, *RANGES, "backdrop", "light", "thresholds"})
MAX_COLOURS: Final = 40
MAX_PHRASES: Final = 300
MAX_PHRASE_LENGTH: Final = 120
MAX_NAME_LENGTH: Final = 40
MAX_NOTE_LENGTH: Final = 2000
#: The value of a form field that was emptied.
_EMPTY: Final[dict[str, Any]] = {**{name: [] for name in (*COLOURS, *WORDING)}, "thresholds": {}}
_RANGE_MISTAKES: Final = {
    "fill_ratio": gettext_lazy("Give the fill as a share of the image's height, from %(low)s to %(high)s."),
    "baseline": gettext_lazy("Give the baseline as a share of the image's height, from %(low)s to %(high)s."),
}


def draft_token(guide: GuideVersion, names: Iterable[str] = FIELDS) -> str:
    """Return a short hash of these fields: a form carries it, so that nobody overwrites what they have not seen."""
    content = json.dumps({name: getattr(guide, name) for name in sorted(names)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@transaction.atomic
def edit_draft(*, brand: Brand, by: User, seen: str = "", **fields: Any) -> GuideVersion:
    """Change fields of the brand's open draft, creating it as a copy of the newest version if there is none.

    seen: `draft_token` of the same fields as the editor saw them; Stale when somebody changed one meanwhile.
    Raises NotAllowed, and Invalid with every mistake.
    """
    require(by, Action.EDIT_BRAND, brand)
    # The lock keeps version numbers unique. no_key, because events refer to the brand: with a full lock, drafting and
    # publishing at the same time would wait for each other.
    Brand.objects.select_for_update(no_key=True).get(pk=brand.pk)
    # Locked, because somebody may be publishing it: then it is no draft any more, and the next one is created.
    drafts = GuideVersion.objects.select_for_update().filter(brand=brand, status=GuideStatus.DRAFT)
    guide = drafts.order_by("-number").first()
    is_new = guide is None
    if guide is None:
        guide = _create_draft(brand, by)
    elif seen and seen != draft_token(guide, fields):
        raise Stale(_("Somebody changed this part of the draft after you opened it; look at it again."))
    cleaned = _clean_fields(fields, beside={name: getattr(guide, name) for name in FIELDS})
    if cleaned.get("backdrop", "").casefold() == guide.backdrop.casefold():
        cleaned.pop("backdrop", None)  # capitals do not matter in the name of a backdrop, so nothing has changed
    moved = sorted(core_events.set_changed(guide, cleaned))
    if moved:
        guide.save(update_fields=moved)
    if moved or is_new:
        publish_event(guide, events.GuideDrafted, by, fields=moved)
    return guide


@transaction.atomic
def publish(*, guide_id: int, by: User, note: str = "", look_again: bool = False) -> GuideVersion:
    """Publish a draft: it and its images never change again. Runs planned before keep their version.

    note: what changed and why, for the reviewers. look_again: also send the brand's approved images back to review.
    Raises NotFound, NotAllowed, Invalid, and Conflict when it is published already.
    """
    guide = _lock(guide_id, by)
    note = note.strip()
    if len(note) > MAX_NOTE_LENGTH:
        message = _("Say it in %(most)d characters.") % {"most": MAX_NOTE_LENGTH}
        raise Invalid(_("The note is too long."), [Problem("note", message)])
    moved = GuideVersion.objects.filter(pk=guide_id, status=GuideStatus.DRAFT).update(
        status=GuideStatus.PUBLISHED, note=note or guide.note, published_by=by, published_at=clock.now()
    )
    if not moved:
        raise Conflict(_("%(guide)s is published already.") % {"guide": guide}, guide_status=guide.status)
    guide.refresh_from_db()
    publish_event(guide, events.GuidePublished, by, look_again=look_again)
    return guide


@transaction.atomic
def discard(*, guide_id: int, by: User) -> None:
    """Delete a draft with its images; the published version stays. Conflict for a published one."""
    guide = lock_draft(guide_id, by)
    publish_event(guide, events.GuideDiscarded, by)
    guide.delete()


def lock_draft(guide_id: int, by: User) -> GuideVersion:
    """Lock a draft that `by` may change until the transaction ends. Raises NotFound, NotAllowed, Conflict."""
    guide = _lock(guide_id, by)
    if guide.status != GuideStatus.DRAFT:
        message = _("%(guide)s is published and frozen; change the next draft instead.") % {"guide": guide}
        raise Conflict(message, guide_status=guide.status)
    return guide


def _create_draft(brand: Brand, by: User) -> GuideVersion:
    """Create the next numbered draft as a copy of the newest version; its images are the same files."""
    newest = GuideVersion.objects.filter(brand=brand).order_by("-number").first()
    kept = {name: getattr(newest, name) for name in FIELDS} if newest else {}
    number = newest.number + 1 if newest else 1
    guide: GuideVersion = GuideVersion.objects.create(brand=brand, number=number, created_by=by, **kept)
    if newest is not None:
        images = list(newest.images.order_by("id"))
        for image in images:
            image.pk, image.guide = None, guide
        GuideImage.objects.bulk_create(images)
    return guide


def _lock(guide_id: int, by: User) -> GuideVersion:
    rows = GuideVersion.objects.select_for_update(of=("self",)).select_related("brand")
    guide = first_or_refuse(rows.filter(pk=guide_id), _("There is no guide version %(id)s.") % {"id": guide_id})
    require(by, Action.EDIT_BRAND, guide.brand)
    return guide


def publish_event(guide: GuideVersion, kind: type[core_events.DomainEvent], by: User, **more: Any) -> None:
    core_events.publish(kind.of(guide.brand, guide=guide.pk, number=guide.number, **more), by=by)


def _clean_fields(fields: Mapping[str, Any], *, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as they are stored: colours in lower-case hex, wording without repeats, numbers in range.

    beside: the guide's other fields, for rules about two fields. Raises Invalid with every problem. A problem's pointer
    is the field, or "palette/2/hex" inside a list.
    """
    problems = [Problem(name, _("The guide has no such field.")) for name in sorted(set(fields) - FIELDS)]
    cleaned: dict[str, Any] = {}
    for name in sorted(set(fields) & FIELDS):
        given = _EMPTY.get(name, "") if fields[name] is None else fields[name]
        cleaned[name] = _CLEANERS[name](name, given, problems)
    if not problems:
        problems += _check_combinations({**beside, **cleaned}, cleaned)
    if problems:
        raise Invalid(_("The guide has mistakes."), problems)
    return cleaned


def _colours(name: str, given: Any, problems: list[Problem]) -> list[dict[str, str]]:
    if not isinstance(given, list) or len(given) > MAX_COLOURS:
        message = _("Give a list of at most %(most)d colours.") % {"most": MAX_COLOURS}
        problems.append(Problem(name, message, str(given)[:100]))
        return []
    cleaned: list[dict[str, str]] = []
    for index, colour in enumerate(given):
        if not isinstance(colour, Mapping) or set(colour) - {"name", "hex"}:
            message = _('Each colour is {"name": "Clay", "hex": "#b5651d"}.')
            problems.append(Problem(f"{name}/{index}", message, str(colour)[:100]))
            continue
        label = " ".join(str(colour.get("name", "")).split())
        if problem := _name_problem(label, cleaned):
            problems.append(Problem(f"{name}/{index}/name", problem, label[:100]))
        try:
            cleaned.append({"name": label, "hex": colours.normalise_hex(str(colour.get("hex", "")))})
        except ValueError as error:
            problems.append(Problem(f"{name}/{index}/hex", str(error), str(colour.get("hex", ""))[:100]))
    return cleaned


def _name_problem(label: str, before: list[dict[str, str]]) -> str:
    if not label or len(label) > MAX_NAME_LENGTH:
        message = _("A colour needs a name of at most %(most)d letters that people can say, such as Clay.")
        return message % {"most": MAX_NAME_LENGTH}
    if not re.search(r"[^\W\d_]", label) or any(not char.isprintable() for char in label):
        return _("“%(name)s” is no name that people can say; write a word, such as Clay.") % {"name": label}
    if any(colour["name"].casefold() == label.casefold() for colour in before):
        return _("There are two colours called %(name)s; give each a name of its own.") % {"name": label}
    return ""


def _wording(name: str, given: Any, problems: list[Problem]) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(word, str) and word.strip() for word in given):
        problems.append(Problem(name, _("Give a list of words or phrases, none of them empty."), str(given)[:100]))
        return []
    phrases: dict[str, str] = {}
    for word in given:
        plain = " ".join(word.split())
        if len(plain) > MAX_PHRASE_LENGTH:
            message = _("A phrase has at most %(most)d characters; this one has %(count)d.")
            values = {"most": MAX_PHRASE_LENGTH, "count": len(plain)}
            problems.append(Problem(name, message % values, plain[:100]))
        phrases.setdefault(plain.casefold(), plain)
    if len(phrases) > MAX_PHRASES:
        problems.append(Problem(name, _("Give at most %(most)d phrases.") % {"most": MAX_PHRASES}))
    return list(phrases.values())


def _share(name: str, given: Any, problems: list[Problem]) -> float:
    low, high = RANGES[name]
    if not isinstance(given, int | float) or isinstance(given, bool) or not low <= given <= high:
        message = _RANGE_MISTAKES[name] % {"low": f"{low:.0%}", "high": f"{high:.0%}"}
        problems.append(Problem(name, message, str(given)[:100]))
        return high
    return round(float(given), 4)


def _thresholds(pointer: str, given: Any, problems: list[Problem]) -> dict[str, dict[str, float]]:
    if not isinstance(given, Mapping):
        problems.append(Problem(pointer, _('Give {"check": {"limit": number}}.'), str(given)[:100]))
        return {}
    known_limits = thresholds.thresholds_by_check()
    changed: dict[str, dict[str, float]] = {}
    for check, numbers in given.items():
        there = {limit.name: limit for limit in known_limits.get(check, ())}
        if not there or not isinstance(numbers, Mapping):
            message = _("Checks with limits are %(names)s; each holds {limit: number}.")
            message %= {"names": ", ".join(known_limits)}
            problems.append(Problem(f"{pointer}/{check}", message, str(check)[:100]))
            continue
        for name, number in numbers.items():
            place, limit = f"{pointer}/{check}/{name}", there.get(name)
            if limit is None:
                message = _("This check's limits are %(names)s.") % {"names": ", ".join(there)}
                problems.append(Problem(place, message, str(name)[:100]))
            elif not isinstance(number, int | float) or not limit.minimum <= number <= limit.maximum:
                values = {"low": f"{limit.minimum:g}", "high": f"{limit.maximum:g}"}
                message = _("Give a number from %(low)s to %(high)s.") % values
                problems.append(Problem(place, message, str(number)[:100]))
            elif float(number) != limit.default:  # a limit at the default follows the default
                changed.setdefault(check, {})[name] = float(number)
    return changed


def _word(name: str, given: Any, problems: list[Problem]) -> str:
    text = " ".join(str(given).split())
    if name == "light" and text and text not in Light.values:
        message = _("The light comes from one of: %(names)s.") % {"names": ", ".join(Light.values)}
        problems.append(Problem(name, message, text[:100]))
    if name == "backdrop" and len(text) > 60:
        problems.append(Problem(name, _("The name of the default backdrop has at most 60 characters."), text[:100]))
    return text


_CLEANERS: Final[dict[str, Callable[[str, Any, list[Problem]], Any]]] = {
    **dict.fromkeys(COLOURS, _colours),
    **dict.fromkeys(WORDING, _wording),
    **dict.fromkeys(RANGES, _share),
    "thresholds": _thresholds, "backdrop": _word, "light": _word,
}  # fmt: skip


def _check_combinations(whole: Mapping[str, Any], changed: Mapping[str, Any]) -> list[Problem]:
    """Check the rules about two fields; each problem points at the field that was changed."""
    problems = []
    backdrops, default = whole.get("backdrops") or [], whole.get("backdrop") or ""
    names = [backdrop["name"] for backdrop in backdrops]
    if names and default and default.casefold() not in {name.casefold() for name in names}:
        message = _("The default backdrop “%(name)s” is not among the backdrops: %(names)s.")
        message %= {"name": default, "names": ", ".join(names)}
        problems.append(Problem("backdrop" if "backdrop" in changed else "backdrops", message, default))
    banned = {word.casefold() for word in whole.get("banned_wording") or []}
    for name, message in (
        ("required_wording", _("“%(word)s” is required and banned at once; take one away.")),
        ("approved_wording", _("“%(word)s” is approved and banned at once; take one away.")),
    ):
        both = [word for word in whole.get(name) or [] if word.casefold() in banned]
        if both:
            at = name if name in changed else "banned_wording"
            problems.append(Problem(at, message % {"word": both[0]}, both[0]))
    return problems
