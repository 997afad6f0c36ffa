"""Feed rows that another system sends by API, read by the same import and with the same error messages."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.choices import ImportStatus, SourceKind
from campaigns.models import FeedImport, FeedSource, ImportIssue
from campaigns.services import imports
from core import access, clock
from core.access import Action
from core.errors import Conflict, Invalid, Problem
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

MAX_ROWS = 10_000
SHOWN_PROBLEMS = 200


def push(*, brand: Brand, source_slug: str, rows: Sequence[Any], by: User, dry_run: bool = False) -> FeedImport:
    """Import up to 10,000 rows, objects of column and value, through a source of kind push: all of them or none.

    Raises NotFound, NotAllowed, Conflict (fetched or stopped source), and Invalid with row and column of the mistakes;
    its `import` is the id of the refused import, which has all mistakes.
    """
    message = _("There is no feed source %(slug)r in %(brand)s.") % {"slug": source_slug, "brand": brand.name}
    sources = FeedSource.objects.visible_to(by).select_related("brand")
    source = first_or_refuse(sources.filter(brand=brand, slug=source_slug), message)
    access.require(by, Action.IMPORT_FEED, brand)
    if source.kind != SourceKind.PUSH:
        message = _("%(source)s is not one that rows are pushed to.") % {"source": source.name}
        raise Conflict(message, kind=source.kind)
    if not source.is_enabled:
        raise Conflict(_("%(source)s is stopped.") % {"source": source.name})
    _ensure_rows(rows)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    done = imports.import_feed(
        brand=brand, file=io.BytesIO(lines.encode("utf-8", "surrogatepass")), by=by, dry_run=dry_run,
        file_name=f"{source.slug}-{clock.now():%Y%m%d-%H%M%S}.jsonl", kind=source.subject_kind,
        mapping=source.mapping or None, source=source,
    )  # fmt: skip
    mistakes = _mistakes_message(done)
    FeedSource.objects.filter(pk=source.pk).update(fetched_at=clock.now(), error=mistakes[:500])
    if mistakes:
        raise Invalid(mistakes, _problems(done), error_count=done.error_count, **{"import": done.pk})
    return done


def _ensure_rows(rows: Sequence[Any]) -> None:
    if not rows:
        raise Invalid(_("There are no rows."), [Problem("/", _("Send at least one row."))])
    if len(rows) > MAX_ROWS:
        message = _("There are %(count)s rows; at most %(most)s at once. Send them in parts.")
        message %= {"count": f"{len(rows):,}", "most": f"{MAX_ROWS:,}"}
        raise Invalid(message, [Problem("/", _("too many rows"), str(len(rows)))])
    wrong = [
        Problem(f"/{place}", _("A row is an object: {“sku”: “…”, “title”: “…”}."), str(row)[:100])
        for place, row in enumerate(rows)
        if not isinstance(row, Mapping) or not row
    ]
    if wrong:
        message = ngettext("%(count)s row is no object.", "%(count)s rows are no objects.", len(wrong))
        raise Invalid(message % {"count": f"{len(wrong):,}"}, wrong[:SHOWN_PROBLEMS])


def _mistakes_message(done: FeedImport) -> str:
    count = done.error_count
    if not count:
        return ""
    message = ngettext(
        "The rows have %(count)s mistake; they cannot be taken over.",
        "The rows have %(count)s mistakes; they cannot be taken over.",
        count,
    )
    if done.status == ImportStatus.REFUSED:
        message = ngettext(
            "The rows have %(count)s mistake; nothing of them was taken over.",
            "The rows have %(count)s mistakes; nothing of them was taken over.",
            count,
        )
    return message % {"count": f"{count:,}"}


def _problems(done: FeedImport) -> list[Problem]:
    """Return the import's issues as problems. Issues count rows from 1, as lines; JSON pointers count from 0."""
    problems = []
    for issue in ImportIssue.objects.filter(feed_import=done).order_by("row", "id")[:SHOWN_PROBLEMS]:
        # The heading of a nested value is "price.value".
        place = issue.column.replace("~", "~0").replace("/", "~1").replace(".", "/")
        problems.append(Problem(f"/{issue.row - 1}/{place}" if issue.row else "/", issue.message, issue.value))
    return problems
