"""The form of a new run: its initial values (a template, an earlier run, the address) and how its input is read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from campaigns.choices import SubjectKind
from campaigns.models import Campaign, PromptVersion
from campaigns.prompts import listing
from core.errors import Invalid, Problem
from core.pages import parse_row_id
from generation.choices import RunShape, Stage
from generation.models import Run
from generation.selectors import subjects
from generation.services.planning import job_templates
from generation.services.planning.job_templates import JobTemplate
from generation.services.planning.plan_requests import PlanArguments

ALL, MISSING, SOME, NAMED = "all", "missing", "some", "named"
PICKS = (
    (ALL, gettext_lazy("All of the campaign")),
    (MISSING, gettext_lazy("Only what is missing")),
    (SOME, gettext_lazy("Some, by words, kind or attribute")),
    (NAMED, gettext_lazy("A list of SKUs")),
)
LIST_ROWS_SHOWN = 5
MAX_FILE_BYTES = 10 * 1024 * 1024
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
MAX_NUMBER_LENGTH = 18
"""In characters. A longer number is an article number, not a quantity."""


@dataclass(frozen=True)
class RunForm:
    """The values of the form. axes: rows of (name, values as text), None to take the prompt's axes; aspects: the ticked
    ones, None for all; alternates: keys of the ticked endpoints; release: "hand" or "at"."""

    template: str = ""
    clone: str = ""
    stage: str = Stage.PILOT
    prompt: str = ""
    other: str = ""
    endpoint: str = ""
    alternates: Sequence[str] = ()
    shape: str = RunShape.MATRIX
    pick: str = ALL
    words: str = ""
    kind: str = ""
    attribute: str = ""
    value: str = ""
    skus: str = ""
    sample: str = str(job_templates.PILOT_SAMPLE)
    axes: Sequence[tuple[str, str]] | None = None
    aspects: Sequence[str] | None = None
    table: str = ""
    name: str = ""
    release: str = "hand"
    release_at: str = ""
    zone: str = "UTC"
    listing: listing.Listing | None = field(default=None, compare=False)

    @property
    def is_pair(self) -> bool:
        return self.template in job_templates.BY_SLUG and job_templates.BY_SLUG[self.template].is_pair

    @property
    def list_columns(self) -> list[str]:
        shown = self.listing.rows[:LIST_ROWS_SHOWN] if self.listing else ()
        return list(dict.fromkeys(name for row in shown for name in row))

    @property
    def list_rows(self) -> list[tuple[int, list[Any]]]:
        """The first rows, each with its number in the file."""
        if not self.listing:
            return []
        pairs = zip(self.listing.numbers, self.listing.rows[:LIST_ROWS_SHOWN], strict=False)
        return [(at, [row.get(name, "") for name in self.list_columns]) for at, row in pairs]


TEXT_FIELDS = tuple(named.name for named in fields(RunForm) if named.type == "str")


def initial_form(given: QueryDict, copy: tuple[Run, PlanArguments] | None) -> RunForm:
    """Return the initial form: from an earlier run, else from a template, else from the address."""
    if copy is not None:
        return _form_of_copy(*copy)
    template = job_templates.BY_SLUG.get(given.get("template", ""))
    form = _form_of_template(template) if template else RunForm()
    stage = given.get("stage", "")
    if stage in Stage.values:
        sample = form.sample if stage in (Stage.SANDBOX, Stage.PILOT) else "0"
        form = replace(form, stage=stage, sample=sample if form.template != "missing" else "0")
    if skus := "\n".join(given.getlist("sku")):
        form = replace(form, pick=NAMED, skus=skus, sample="0")
    return replace(form, prompt=given.get("prompt", ""), other=given.get("other", ""))


def submitted_form(given: QueryDict, files: Any = None) -> RunForm:
    texts: dict[str, Any] = {name: given.get(name, "").strip() for name in TEXT_FIELDS}
    axes = None
    # If the prompt was changed after the axes were shown, the new prompt's axes apply.
    if "axes_shown" in given and given.get("axes_of", "") in ("", texts["prompt"]):
        axes = [
            (name.strip(), values)
            for name, values in zip(given.getlist("axis"), given.getlist("values"), strict=False)
            if name.strip() or values.strip()
        ]
    aspects = given.getlist("aspect") if "aspects_shown" in given else None
    form = RunForm(axes=axes, aspects=aspects, alternates=given.getlist("alternate"), **texts)
    file = files.get("file") if files else None
    if form.shape != RunShape.LIST:
        return form
    if file is not None:
        if file.size > MAX_FILE_BYTES:
            message = _("%(name)s is larger than %(size)d MB; make two lists.")
            message %= {"name": file.name, "size": MAX_FILE_BYTES // 2**20}
            raise Invalid(_("This list is too large."), [Problem("file", message)])
        read = listing.read_listing(file.read())
        return replace(form, listing=read, table=_as_table(read.rows) if read.is_valid else form.table)
    return replace(form, listing=listing.read_listing(form.table))


def plan_arguments(form: RunForm, campaign: Campaign, version: PromptVersion) -> dict[str, Any]:
    """Return the arguments of planning, without campaign, prompt, endpoint and person. Raises Invalid."""
    plain: dict[str, Any] = {"stage": form.stage, "aspects": None if form.aspects is None else list(form.aspects)}
    if form.shape == RunShape.LIST:
        read = form.listing or listing.read_listing(form.table)
        if not read.is_valid:
            raise _list_error(read)
        return plain | {"shape": RunShape.LIST, "rows": read.rows}
    # A full run takes all chosen subjects, not a sample.
    if form.stage != Stage.FULL and form.sample:
        plain["sample"] = parse_row_id(form.sample) or None
        if plain["sample"] is None and form.sample.strip("0"):
            message = _("Give a whole number; 0 means all of them.")
            raise Invalid(_("The number of products cannot be used."), [Problem("sample", message, form.sample)])
    if form.axes is not None:
        plain["axes"] = parse_axes(form.axes, version.axes)
    if form.pick == MISSING:
        plain["missing_only"] = True
    elif form.pick == NAMED:
        plain["subjects"] = subjects.find_listed_ids(campaign, form.skus)
    elif form.pick == SOME:
        matches = subjects.search_subjects(
            campaign, words=form.words, kind=form.kind, attribute=form.attribute, value=form.value
        )
        plain["subjects"] = list(matches.values_list("pk", flat=True))
        if not plain["subjects"]:
            raise Invalid(_("No product of the campaign matches."), [Problem("pick", _("Choose others."))])
    return plain


def release_at(form: RunForm) -> datetime | None:
    """Return the time of the release, from the person's time zone; None for a release by hand. Raises Invalid."""
    return parse_local_time(form.release_at, form.zone) if form.release == "at" else None


def parse_local_time(text: str, zone: str) -> datetime:
    """Return a browser's time ("2026-11-24T08:00") of a zone ("Europe/Berlin") in UTC. Raises Invalid."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone or "UTC")).astimezone(UTC)
    except (ValueError, OverflowError, ZoneInfoNotFoundError, OSError):
        message = _("Give a date and a time, such as 2026-11-24 08:00.") if zone else _("Say in which time zone.")
        raise Invalid(_("The run cannot be scheduled like this."), [Problem("release_at", message, text)]) from None


def axis_rows(form: RunForm, version: PromptVersion | None) -> list[tuple[str, str]]:
    """Return the rows of the axis editor, with an empty row for a new axis."""
    shown = form.axes
    if shown is None:
        shown = [(name, format_axis_values(values)) for name, values in version.axes.items()] if version else []
    return [*shown, ("", "")]


def format_axis_values(values: Sequence[Any]) -> str:
    """Return axis values as one line: "white, clay"; with semicolons if a value contains a comma."""
    texts = [_text(value) for value in values]
    return ("; " if any("," in text for text in texts) else ", ").join(texts)


def parse_axes(rows: Sequence[tuple[str, str]], own: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return axis name -> values. A value that the prompt's axis has too keeps its type. Raises Invalid."""
    axes: dict[str, list[Any]] = {}
    problems = []
    for name, text in rows:
        values = [part.strip() for part in text.split(";" if ";" in text else ",") if part.strip()]
        if not name:
            problems.append(Problem("axes", _("Name the axis of “%(values)s”.") % {"values": text.strip()[:40]}))
        elif name in axes:
            problems.append(Problem("axes", _("The axis “%(name)s” stands here twice.") % {"name": name}, name))
        else:
            typed_values = {_text(value): value for value in own.get(name, ())}
            are_texts = bool(typed_values) and all(isinstance(value, str) for value in typed_values.values())
            axes[name] = [typed_values.get(part, part if are_texts else _parse_value(part)) for part in values]
    if problems:
        raise Invalid(_("The axes cannot be read."), problems)
    return axes


def _parse_value(text: str) -> Any:
    if not _NUMBER.fullmatch(text) or len(text) > MAX_NUMBER_LENGTH:
        return text
    return float(text) if "." in text else int(text)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _form_of_template(template: JobTemplate) -> RunForm:
    return RunForm(
        template=template.slug,
        stage=template.stage,
        pick=MISSING if template.missing_only else ALL if template.kind == SubjectKind.PRODUCT else SOME,
        kind="" if template.kind == SubjectKind.PRODUCT else template.kind,
        sample=str(template.sample or 0),
        axes=[(name, format_axis_values(values)) for name, values in template.axes.items()] or None,
        aspects=job_templates.aspects(template) or None,
        name="" if template.missing_only or template.is_pair else str(template.name),
    )


def _form_of_copy(run: Run, copy: PlanArguments) -> RunForm:
    subjects = list(copy.subjects or ())
    return RunForm(
        template=run.job_template if run.job_template in job_templates.BY_SLUG else "",
        clone=str(run.pk),
        stage=run.stage,
        prompt=str(run.prompt_version_id),
        endpoint=str(run.endpoint_id),
        alternates=[str(pk) for pk in run.alternates.values_list("pk", flat=True)],
        shape=run.shape,
        pick=MISSING if copy.missing_only else NAMED if copy.subjects is not None else ALL,
        skus="\n".join(subject.key for subject in subjects),
        sample=str(copy.sample or 0),
        axes=None if copy.axes is None else [(name, format_axis_values(values)) for name, values in copy.axes.items()],
        aspects=copy.aspects,
        table=_as_table(list(copy.rows)) if copy.rows else "",
        name=run.name,
    )


def _as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of a list run as the text that a person would paste."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = io.StringIO()
    table = csv.writer(lines, delimiter="\t", lineterminator="\n")
    table.writerow(["sku" if name == "subject" else name for name in names])
    table.writerows([row.get(name, "") for name in names] for row in rows)
    return lines.getvalue()


def _list_error(read: listing.Listing) -> Invalid:
    problems = [
        Problem(issue.cell or (f"row {issue.row}" if issue.row else ""), issue.message, issue.value)
        for issue in read.issues
    ]
    if read.issue_count == 1 and not read.rows:
        return Invalid(_("The list cannot be read yet."), problems)
    sentence = ngettext(
        "%(count)d of the list's cells cannot be used.",
        "%(count)d of the list's cells cannot be used.",
        read.issue_count,
    )
    return Invalid(sentence % {"count": read.issue_count}, problems)
