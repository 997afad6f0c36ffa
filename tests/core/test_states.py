"""Tests of every transition of every state machine, allowed or not, against the design's tables."""

from __future__ import annotations

from itertools import product

import pytest
from django.db.models import TextChoices

from campaigns.choices import PromptStatus
from campaigns.states import PROMPT
from core.errors import Conflict
from core.states import Machine, machine
from generation import choices as generation_choices
from generation import states as generation_states
from review import choices as review_choices
from review import states as review_states

COLUMNS = [
    (PROMPT, PromptStatus),
    (generation_states.RUN, generation_choices.RunState),
    (generation_states.JOB, generation_choices.JobState),
    (generation_states.ASSET, generation_choices.AssetState),
    (review_states.TASK, review_choices.TaskState),
    (review_states.DELIVERY, review_choices.ObservedState),
]
MACHINES = [table for table, _ in COLUMNS]
# A second, independent copy of the design's tables: a mistake in one of the two fails here.
ALLOWED = {
    "prompt version": "draft>requested draft>approved requested>approved requested>draft",
    "run": "draft>planned draft>cancelled planned>running planned>cancelled running>paused running>finished "
    "running>cancelled paused>running paused>cancelled finished>running",
    "job": "queued>running queued>held queued>cancelled queued>succeeded running>succeeded running>failed "
    "running>cancelled running>waiting running>queued running>held running>quarantined waiting>running "
    "waiting>cancelled waiting>failed waiting>held held>queued held>cancelled failed>queued quarantined>queued "
    "quarantined>cancelled",
    "asset": "making>in_review making>failed making>superseded making>rejected failed>making failed>superseded "
    "in_review>approved in_review>rejected in_review>revising in_review>superseded revising>in_review "
    "revising>superseded revising>failed revising>stale rejected>stale stale>approved stale>rejected stale>revising "
    "stale>revoked "
    "approved>in_review approved>stale approved>revoked approved>superseded rejected>in_review "
    "rejected>superseded stale>in_review stale>superseded revoked>in_review revoked>superseded",
    "review task": "open>awaiting_version open>decided open>withdrawn awaiting_version>open "
    "awaiting_version>withdrawn decided>open",
    "delivery": "absent>sending absent>removing sending>present sending>failed sending>uncertain sending>absent "
    "present>sending present>removing removing>absent removing>failed removing>uncertain removing>present "
    "failed>sending failed>removing failed>absent uncertain>sending uncertain>removing uncertain>absent",
}
MOVES = [(table, old, new) for table in MACHINES for old, new in product(table.transitions, repeat=2)]


@pytest.mark.parametrize(("table", "old", "new"), MOVES, ids=lambda item: getattr(item, "name", item))
def test_each_move_is_allowed_exactly_where_the_design_says_so(table: Machine, old: str, new: str) -> None:
    allowed = f"{old}>{new}" in ALLOWED[table.name].split()
    assert table.allows(old, new) is allowed
    assert (old in table.sources(new)) is allowed
    if allowed:
        table.ensure(old, new)
    else:
        with pytest.raises(Conflict, match=f"This {table.name} is {old}; it cannot become {new}."):
            table.ensure(old, new)


@pytest.mark.parametrize(("table", "choices"), COLUMNS, ids=lambda item: getattr(item, "name", ""))
def test_a_machine_knows_exactly_the_states_of_its_column(table: Machine, choices: type[TextChoices]) -> None:
    assert set(table.transitions) == set(choices.values)


@pytest.mark.parametrize("table", MACHINES, ids=lambda table: table.name)
def test_every_state_can_be_reached_from_the_first(table: Machine) -> None:
    reached, frontier = set(), {next(iter(table.transitions))}
    while frontier:
        reached |= frontier
        frontier = {new for old in frontier for new in table.transitions[old]} - reached
    assert reached == set(table.transitions)


@pytest.mark.parametrize("table", MACHINES, ids=lambda table: table.name)
def test_no_state_may_follow_itself(table: Machine) -> None:
    assert [state for state in table.transitions if table.allows(state, state)] == []


def test_a_table_that_names_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="no row for"):
        machine("thing", {"new": "gone"})
