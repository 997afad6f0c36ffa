"""Find the inputs of an image that changed since it was made or last approved, and say so in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from django.utils import formats, timezone
from django.utils.translation import gettext as _

from campaigns import prompts
from campaigns.prompts import PromptSource
from campaigns.selectors import guides
from core import sql
from core.models import Brand, User
from generation.choices import AssetState
from generation.models import Asset

VALUE, PHOTO, CUTOUT, GUIDE, CHECKLIST = "value", "photo", "cutout", "guide", "checklist"
#: Causes that are an input of the image itself; the others are rules that it was judged by.
INPUTS: Final = frozenset({VALUE, PHOTO, CUTOUT})
REPLACED, REMOVED = "replaced", "removed"
SHOWN_LENGTH = 200
"""Characters of a feed value that a cause keeps."""
_NO_FEED_VALUE: Final = frozenset({"campaign"})

# The comparison is by hand, because the ORM cannot join the rows of jsonb_each_text. staleness.py and
# planning/inputs.py use its parts.
#: The value that placeholder `e.key` reads from subject `s` now; equal to
#: campaigns.selectors.campaigns.placeholder_values.
CURRENT: Final = """CASE WHEN e.key IN ('key', 'sku') THEN s.key ELSE coalesce(nullif(s.attributes ->> e.key, ''),
    CASE e.key WHEN 'name' THEN s.name WHEN 'kind' THEN s.kind ELSE '' END) END"""
#: The photo and the cut-out that count now, for pinned inputs `p`.
JOINS: Final = """
    LEFT JOIN campaigns_referencephoto f ON f.id = p.photo_pk AND f.status = 'ready'
    LEFT JOIN campaigns_cutout k ON k.photo_id = f.id AND k.is_accepted
"""
_PHOTO_MOVED = "p.photo_pk IS NOT NULL AND coalesce(f.sha256, '') <> p.photo_sha256"
_CUTOUT_MOVED = (
    "p.photo_pk IS NOT NULL AND coalesce(f.sha256, '') = p.photo_sha256 AND p.cutout_sha256 <> ''"
    " AND coalesce(k.sha256, '') <> p.cutout_sha256"
)
# White space around a value is ignored, because it is not rendered.
_BLANK = "E' \\t\\n\\r\\f\\v\\u00a0'"
_VALUE_MOVED = f"btrim(e.value, {_BLANK}) <> btrim({CURRENT}, {_BLANK})"
#: True where any input of `p` has moved; needs `s` and JOINS.
HAS_MOVED: Final = f"""(
    ({_PHOTO_MOVED}) OR ({_CUTOUT_MOVED})
    OR EXISTS (SELECT 1 FROM jsonb_each_text(p.feed_values) AS e (key, value) WHERE {_VALUE_MOVED})
)"""  # noqa: S608 (our own text only)

_MOVED = f"""
SELECT p.cell_id, 'value', e.key, e.value, {CURRENT}
FROM generation_pinnedinputs p JOIN campaigns_subject s ON s.id = p.subject_id
CROSS JOIN LATERAL jsonb_each_text(p.feed_values) AS e (key, value)
WHERE p.cell_id = ANY(%(cells)s) AND {_VALUE_MOVED}
UNION ALL
SELECT p.cell_id, CASE WHEN {_PHOTO_MOVED} THEN 'photo' ELSE 'cutout' END, '',
       CASE WHEN {_PHOTO_MOVED} THEN p.photo_sha256 ELSE p.cutout_sha256 END,
       CASE WHEN {_PHOTO_MOVED} THEN coalesce(f.sha256, '') ELSE coalesce(k.sha256, '') END
FROM generation_pinnedinputs p {JOINS}
WHERE p.cell_id = ANY(%(cells)s) AND (({_PHOTO_MOVED}) OR ({_CUTOUT_MOVED}))
ORDER BY 1, 2, 3
"""  # noqa: S608 (our own text only)


def used_names(source: PromptSource) -> frozenset[str]:
    """Return the placeholders of a prompt that read a value of the subject, where no axis fills them."""
    return frozenset({slot.name for slot in prompts.placeholders(source)} - _NO_FEED_VALUE)


def find_changes(cell_ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    """Return, by cell id, what has changed since the image was made or last approved, in the form of
    `StaleAsset.causes` but without "at". Cells without a change are left out. One query for any number of cells."""
    if not (ids := list(cell_ids)):
        return {}
    by_cell: dict[int, list[dict[str, Any]]] = {}
    for cell_id, kind, name, before, now in sql.rows(_MOVED, {"cells": ids}):
        by_cell.setdefault(cell_id, []).append(_cause(kind, name, before, now))
    return by_cell


@guides.register_counter
def count_approved(user: User, brand: Brand) -> int:
    """Return how many approved images of the brand a new guide or checklist could send back to review."""
    rows = Asset.objects.visible_to(user).filter(brand=brand, state=AssetState.APPROVED, is_sandbox=False)
    return int(rows.count())


def sentences(causes: Iterable[Mapping[str, Any]]) -> list[str]:
    return [_sentence(cause) for cause in causes]


def _cause(kind: str, name: str, before: str, now: str) -> dict[str, Any]:
    if kind == VALUE:
        return {"kind": kind, "name": name, "from": before.strip()[:SHOWN_LENGTH], "to": now.strip()[:SHOWN_LENGTH]}
    return {"kind": kind, "change": REPLACED if now else REMOVED, "sha256": now}


def _sentence(cause: Mapping[str, Any]) -> str:
    kind, at = cause["kind"], cause.get("at")
    if kind == VALUE:
        name = str(cause["name"]).replace("_", " ")
        before, now = cause["from"], cause["to"]
        if not before:
            return _("%(name)s is now %(now)s; it was empty.") % {"name": name, "now": now}
        if not now:
            return _("%(name)s is now empty; it was %(before)s.") % {"name": name, "before": before}
        return _("%(name)s changed from %(before)s to %(now)s.") % {"name": name, "before": before, "now": now}
    is_new = cause.get("change") == REPLACED
    if kind == PHOTO:
        text = _("The product photo was replaced") if is_new else _("The product photo was removed")
    elif kind == CUTOUT:
        text = _("The product’s cut-out was replaced") if is_new else _("The product’s cut-out was taken out of use")
    elif kind == GUIDE:
        text = _("Version %(number)s of the brand guide was published") % cause
    else:
        text = _("Version %(number)s of the checklist “%(name)s” was published") % cause
    if not at:
        return f"{text}."
    day = formats.date_format(timezone.localtime(datetime.fromisoformat(at)), "j M Y")
    return _("%(text)s on %(day)s.") % {"text": text, "day": day}
