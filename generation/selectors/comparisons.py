"""Reading contact sheets: rows as one person may see them, and what the votes say. Blindness is kept here: before a
person's row is revealed, nothing that tells its columns apart leaves this module but the pictures themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from django.db.models import Count, Prefetch, Q, QuerySet
from django.utils.crypto import salted_hmac

from campaigns.models import PromptVersion
from core.errors import NotFound
from core.models import Brand, User
from generation.axes import WORDS_AXIS
from generation.choices import AssetState, AttemptOutcome, JobState, LedgerKind
from generation.models import (
    Asset,
    AssetVersion,
    Attempt,
    Comparison,
    ComparisonColumn,
    ComparisonVote,
    Job,
    LedgerEntry,
)
from generation.selectors import significance

ROWS: Final = 8
LETTERS: Final = "ABCDEF"
MISSING: Final = (AssetState.FAILED, AssetState.SUPERSEDED)


@dataclass(frozen=True)
class Told:
    """The facts of a revealed cell. seconds, cost: of this picture, None where it was made before or nobody
    counted."""

    column: ComparisonColumn
    seconds: float | None
    cost: Any
    problem: str
    asset_id: int | None
    votes: int


@dataclass(frozen=True)
class Square:
    """One picture of a row under its letter. told: None until the row is revealed to the person."""

    letter: str
    is_made: bool
    is_missing: bool
    is_mine: bool
    told: Told | None = None


@dataclass(frozen=True)
class Row:
    """One row as one person sees it. words: the free prompt, or what the product's picture was asked with. voted: this
    person did; is_open: votes are taken. cautions: what must stand beside pictures of the row, of whichever."""

    number: int
    subject: Any
    words: str
    squares: Sequence[Square]
    made: int
    is_settled: bool
    is_voted: bool
    is_revealed: bool
    is_for_none: bool
    cautions: Sequence[str]

    @property
    def place(self) -> int:
        return self.number + 1


@dataclass(frozen=True)
class Tally:
    """One column in numbers. share: of the votes that named a picture, 0–1; low, high: where it lies in 95 of 100 such
    samples. seconds, cost: medians over `measured` pictures that were made for this sheet."""

    column: ComparisonColumn
    wins: int
    share: float | None
    low: float
    high: float
    seconds: float | None
    cost: Any
    measured: int
    failed: int
    total_cost: Any

    @property
    def name(self) -> str:
        """The prompt version, or what free words are called."""
        version = self.column.run.prompt_version
        return "free prompts" if is_free(version) else str(version)


@dataclass(frozen=True)
class Results:
    """tallies: the most wins first. votes: all; undecided: of those without a favourite. verdict: what may be
    concluded, as a sentence; is_sure: it is more than chance."""

    tallies: Sequence[Tally]
    votes: int
    undecided: int
    voters: int
    rows: int
    verdict: str
    is_sure: bool

    @property
    def named(self) -> int:
        return self.votes - self.undecided


def visible(user: User, brand: Brand) -> QuerySet[Any]:
    """The brand's sheets, newest first, with author, `column_count`, `vote_count` and `my_votes`."""
    rows = Comparison.objects.visible_to(user).filter(brand=brand).select_related("created_by")
    return rows.annotate(
        column_count=Count("columns", distinct=True),
        vote_count=Count("votes", distinct=True),
        my_votes=Count("votes", filter=Q(votes__voter=user), distinct=True),
    ).order_by("-id")


def get(user: User, brand: Brand, pk: int) -> Comparison:
    """With its columns, their runs, endpoints and versions. Raises NotFound."""
    columns = ComparisonColumn.objects.select_related("run__endpoint", "run__prompt_version__template")
    rows = Comparison.objects.visible_to(user).filter(brand=brand).select_related("created_by")
    found: Comparison | None = rows.prefetch_related(Prefetch("columns", columns)).filter(pk=pk).first()
    if found is None:
        raise NotFound(f"There is no comparison {pk} in {brand.name}.")
    return found


def shuffled(comparison: Comparison, row: int, user: User) -> list[ComparisonColumn]:
    """The columns in the order of their letters: another one in each row and for each person, always the same, and
    known only to this server."""

    def place(column: ComparisonColumn) -> str:
        told = f"{comparison.pk} {row} {user.pk} {column.pk}"
        return salted_hmac("proofline.comparison", told, algorithm="sha256").hexdigest()

    return sorted(comparison.columns.all(), key=place)


def column_of(comparison: Comparison, row: int, letter: str, user: User) -> ComparisonColumn:
    """Raises NotFound for a letter or a row that the sheet does not have."""
    columns = shuffled(comparison, row, user)
    place = LETTERS.find(letter) if len(letter) == 1 else -1
    if not 0 <= place < len(columns) or not 0 <= row < comparison.row_count:
        raise NotFound(f"{comparison.name} has no picture {letter[:10]!r} in row {row + 1}.")
    return columns[place]


def picture(column: ComparisonColumn, row: int) -> AssetVersion:
    """The first picture of a cell. Raises NotFound while there is none."""
    made = AssetVersion.objects.filter(asset__cell__run=column.run_id, asset__cell__position=row)
    found: AssetVersion | None = made.select_related("master").order_by("round", "candidate").first()
    if found is None:
        raise NotFound("This picture is not made yet.")
    return found


def rows(comparison: Comparison, user: User, numbers: Sequence[int]) -> list[Row]:
    """These rows as the person may see them; six queries for any number of rows."""
    runs = [column.run_id for column in comparison.columns.all()]
    cells = Asset.objects.filter(cell__run__in=runs, cell__position__in=numbers)
    assets = {
        (one.cell.run_id, one.cell.position): one for one in cells.select_related("cell", "subject", "current_version")
    }
    votes = list(ComparisonVote.objects.filter(comparison=comparison, row__in=numbers))
    mine = {one.row: one for one in votes if one.voter_id == user.pk}
    opened = [row for row, vote in mine.items() if vote.revealed_at]
    told = [one.cell_id for (_, row), one in assets.items() if row in opened]
    first = Job.objects.filter(cell__in=told, frozen__round=1, frozen__candidate=1)
    made = {one.cell_id: one for one in _made(first)} if told else {}
    return [_row(comparison, user, number, assets, votes, mine.get(number), made) for number in numbers]


def open_rows(comparison: Comparison, user: User) -> dict[str, int]:
    """Return how many rows the person "voted" on, how many of those are "closed" (not revealed yet), and how many are
    "left". One query."""
    mine = ComparisonVote.objects.filter(comparison=comparison, voter=user)
    found: dict[str, int] = mine.aggregate(voted=Count("pk"), closed=Count("pk", filter=Q(revealed_at=None)))
    return found | {"left": comparison.row_count - found["voted"]}


def progress(comparison: Comparison) -> dict[str, int]:
    """Of all the sheet's pictures: "made", "failed", "all"; nothing of which column is how far. One query."""
    runs = [column.run_id for column in comparison.columns.all()]
    gone = Q(status__in=(JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED))
    found: dict[str, int] = Job.objects.filter(run__in=runs).aggregate(
        all=Count("pk"), made=Count("pk", filter=Q(status=JobState.SUCCEEDED)), failed=Count("pk", filter=gone)
    )
    return found


def results(comparison: Comparison) -> Results:
    """Return what the votes of all people say, and what the pictures took. Four queries."""
    columns = list(comparison.columns.all())
    votes = list(ComparisonVote.objects.filter(comparison=comparison).values_list("column_id", "row", "voter_id"))
    named = [column for column, _, _ in votes if column is not None]
    made = _made(Job.objects.filter(run__in=[column.run_id for column in columns]))
    tallies = [_tally(column, named, [one for one in made if one.run_id == column.run_id]) for column in columns]
    tallies.sort(key=lambda one: (-one.wins, one.column.position))
    names = [name_of(one.column) for one in tallies]
    verdict, is_sure = significance.verdict([one.wins for one in tallies], names)
    return Results(
        tallies=tallies,
        votes=len(votes),
        undecided=len(votes) - len(named),
        voters=len({voter for _, _, voter in votes}),
        rows=len({row for _, row, _ in votes}),
        verdict=verdict,
        is_sure=is_sure,
    )


def name_of(column: ComparisonColumn) -> str:
    """Return what tells a column of its sheet apart, for people."""
    version = column.run.prompt_version
    return column.run.endpoint.name if is_free(version) else f"{column.run.endpoint.name}, {version}"


def is_free(version: PromptVersion) -> bool:
    """A column of free prompts: each row brings its own words."""
    return version.text == f"{{{WORDS_AXIS}}}"


# -- the parts -----------------------------------------------------------------------------------------------------


def _row(
    comparison: Comparison,
    user: User,
    number: int,
    assets: Mapping[tuple[int, int], Asset],
    votes: Sequence[ComparisonVote],
    mine: ComparisonVote | None,
    made: Mapping[int, Made],
) -> Row:
    order = shuffled(comparison, number, user)
    there = [assets.get((column.run_id, number)) for column in order]
    is_settled = all(one is not None and one.state != AssetState.MAKING for one in there)
    is_revealed = mine is not None and mine.revealed_at is not None
    squares = []
    for letter, column, asset in zip(LETTERS, order, there, strict=False):
        is_missing = asset is None or asset.state in MISSING
        told = None
        if is_revealed:
            wins = sum(one.row == number and one.column_id == column.pk for one in votes)
            told = _told(column, asset, made.get(asset.cell_id) if asset else None, wins)
        is_mine = mine is not None and mine.column_id == column.pk
        squares.append(Square(letter, is_settled and not is_missing, is_settled and is_missing, is_mine, told))
    first = next(one for one in there if one is not None)
    values = first.cell.axis_values
    return Row(
        number=number,
        subject=None if WORDS_AXIS in values else first.subject,
        words=str(values.get(WORDS_AXIS, "")),
        squares=squares,
        made=sum(one is not None and one.state != AssetState.MAKING for one in there),
        is_settled=is_settled,
        is_voted=mine is not None,
        is_revealed=is_revealed,
        is_for_none=mine is not None and mine.column_id is None,
        cautions=sorted({column.run.endpoint.caution for column in order} - {""}),
    )


def _told(column: ComparisonColumn, asset: Asset | None, made: Made | None, votes: int) -> Told:
    return Told(
        column=column,
        seconds=made.seconds if made else None,
        cost=made.cost if made else None,
        problem=made.problem if made and asset and asset.state in MISSING else "",
        asset_id=asset.pk if asset else None,
        votes=votes,
    )


@dataclass(frozen=True)
class Made:
    """The cost of one job. is_fresh: made for this sheet, not taken from what the brand had already."""

    run_id: int
    cell_id: int
    is_fresh: bool
    is_failed: bool
    seconds: float | None
    cost: Any
    problem: str


def _made(jobs: QuerySet[Any]) -> list[Made]:
    """Three queries."""
    shown = Attempt.objects.filter(outcome=AttemptOutcome.SUCCEEDED).order_by("-number")
    listed = list(jobs.prefetch_related(Prefetch("attempt_rows", shown, to_attr="shown")))
    money = LedgerEntry.objects.filter(job__in=listed, kind=LedgerKind.SETTLE)
    paid = dict(money.values_list("job_id", "amount"))
    found = []
    for job in listed:
        details = job.shown[0].details if job.shown else {}
        is_fresh = bool(job.shown) and "reused_master" not in details
        seconds, cost = (details.get("seconds"), paid.get(job.pk)) if is_fresh else (None, None)
        is_failed = job.status in (JobState.FAILED, JobState.QUARANTINED)
        found.append(Made(job.run_id, job.cell_id, is_fresh, is_failed, seconds, cost, job.error))
    return found


def _tally(column: ComparisonColumn, named: Sequence[int], made: Sequence[Made]) -> Tally:
    wins = sum(one == column.pk for one in named)
    seconds = [one.seconds for one in made if one.seconds is not None]
    costs = [one.cost for one in made if one.cost is not None]
    low, high = significance.interval(wins, len(named))
    return Tally(
        column=column,
        wins=wins,
        share=wins / len(named) if named else None,
        low=low,
        high=high,
        seconds=median(seconds) if seconds else None,
        cost=median(costs) if costs else None,
        measured=sum(one.is_fresh for one in made),
        failed=sum(one.is_failed for one in made),
        total_cost=sum(costs),
    )
