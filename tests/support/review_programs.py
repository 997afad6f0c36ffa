"""A brand with two images in review and five people, and what these people may do in a random program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from campaigns.models import Subject
from campaigns.services import subjects
from core import counts
from core.choices import Role
from core.errors import DomainError
from core.models import Brand, User
from core.services import audit
from generation.choices import AssetState, RunState
from generation.models import Asset, AssetVersion, Master, PinnedInputs, Run
from review import pins
from review.choices import TaskState
from review.models import Checklist, ChecklistVersion, Decision, ReviewTask
from review.services import checklists, consequences, decisions, queue, reasons
from tests.support import factories
from tests.support.images_in_review import create_image_in_review
from tests.support.table_cleanup import delete_rows

OWNER, LEAD = "owner", "lead"
REVIEWERS = ("first", "second", "third")
PEOPLE = (OWNER, LEAD, *REVIEWERS)
IMAGES = (0, 0, 1)
"""The numbers of the two images; the first is drawn more often, so that people meet there."""
COLOURS = ("sage", "teal", "rust")

# What an example writes, in an order in which it can be deleted; the triggers of the tasks write their counts.
WRITTEN = [
    "core_sealedevent",
    "core_event",
    "core_notice",
    "generation_staleasset",
    "generation_stalecandidate",
    "review_releasedversion",
    "review_decisionslot",
    "review_decision",
    "review_reviewtask",
    "review_taskcount",
    "review_checklistversion",
    "review_checklist",
]


# A claim has one holder only, so one that was taken away from a person cannot be seen in the rows afterwards.
_REFUSE_TAKEN_CLAIMS = """
CREATE FUNCTION refuse_taken_claim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'person % takes task % from person %, who has claimed it',
        NEW.claimed_by_id, NEW.id, OLD.claimed_by_id;
END $$;
CREATE TRIGGER refuse_taken_claim BEFORE UPDATE ON review_reviewtask FOR EACH ROW
    WHEN (OLD.claimed_until > now() AND NEW.claimed_by_id <> OLD.claimed_by_id) EXECUTE FUNCTION refuse_taken_claim();
"""
_ALLOW_TAKEN_CLAIMS = "DROP FUNCTION refuse_taken_claim() CASCADE"


@contextmanager
def refusing_taken_claims() -> Iterator[None]:
    """Let the database refuse every statement that gives one person's live claim to another person."""
    with connection.cursor() as cursor:
        cursor.execute(_REFUSE_TAKEN_CLAIMS)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(_ALLOW_TAKEN_CLAIMS)


@dataclass(frozen=True)
class Step:
    """One thing that a person does. image: its number. variant: which candidate, colour, stage or way."""

    name: str
    image: int = 0
    variant: int = 0


class ReviewScene:
    """The brand with its images and people. `reset` brings back how it began, for the next example."""

    def __init__(self, brand: Brand) -> None:
        self.brand = brand
        self.people = {name: self._create_person(name) for name in PEOPLE}
        reasons.add_defaults(brand=brand, by=self.people[LEAD])
        run = factories.RunFactory(campaign__brand=brand, campaign__owner=self.people[OWNER])
        spec = factories.OutputSpecFactory(campaign=run.campaign)
        tasks = [create_image_in_review(brand, run=run, specs=[spec], candidates=2) for _ in set(IMAGES)]
        self.images = [task.asset for task in tasks]
        self.versions = [list(image.versions.order_by("candidate")) for image in self.images]
        for image in self.images:
            PinnedInputs.objects.create(cell=image.cell, subject=image.subject)

    def _create_person(self, name: str) -> User:
        user: User = factories.UserFactory(first_name=name)
        for role in (Role.LEAD,) if name == LEAD else (Role.REVIEWER, Role.CAMPAIGN_MANAGER):
            factories.MembershipFactory(brand=self.brand, user=user, role=role)
        return user

    def reset(self, slots: Sequence[int]) -> None:
        """Open the images for review again, at one stage per number of slots."""
        with transaction.atomic():
            delete_rows(WRITTEN)
            Run.objects.filter(pk=self.images[0].cell.run_id).update(state=RunState.RUNNING)
            Master.objects.filter(brand=self.brand, was_rejected=True).update(was_rejected=False)
            Subject.objects.filter(brand=self.brand).update(attributes={"colour": COLOURS[0]})
            PinnedInputs.objects.update(feed_values={"colour": COLOURS[0]})
            for image, versions in zip(self.images, self.versions, strict=True):
                fresh = {"state": AssetState.IN_REVIEW, "current_version": versions[0], "round": 1}
                Asset.objects.filter(pk=image.pk).update(**fresh)
            self._create_stages(slots)
            for image in self.images:
                queue.open_task(asset=image)
        for model in counts.list_models():
            counts.fold(model)

    def _create_stages(self, slots: Sequence[int]) -> None:
        self.stages = [checklists.FIRST_STAGE, "legal", "market"][: len(slots)]
        for position, (stage, number) in enumerate(zip(self.stages, slots, strict=True), start=1):
            checklist = Checklist.objects.create(
                brand=self.brand, stage=stage, name=stage, position=position, slots=number
            )
            ChecklistVersion.objects.create(checklist=checklist, number=1)

    def approve_first(self, count: int) -> None:
        """Fill the first `count` slots of the first image, one approval after the other."""
        for number in range(count):
            try:
                self.do(REVIEWERS[number % len(REVIEWERS)], Step("approve"))
            except DomainError:
                return

    def do(self, person: str, step: Step) -> None:
        """Do one step as a person does it on a page: look, then act. Raises the refusal of the service."""
        getattr(self, f"_{step.name}")(self.people[person], step)

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _claim(self, by: User, step: Step) -> None:
        stage = self.stages[step.variant // 2 % len(self.stages)]  # the first one more often
        queue.claim_batch(brand=self.brand, by=by, size=1 + step.image, stage=stage)

    def _renew(self, by: User, step: Step) -> None:
        queue.renew_claims(brand=self.brand, by=by)

    def _release(self, by: User, step: Step) -> None:
        queue.release_claims(brand=self.brand, by=by)

    def _approve(self, by: User, step: Step) -> None:
        task, version, seen = self._look(step)
        decisions.approve(task_id=task, version_id=version, seen=seen, by=by)

    def _reject(self, by: User, step: Step) -> None:
        task, version, seen = self._look(step)
        decisions.reject(task_id=task, version_id=version, seen=seen, by=by, reason="artefact")

    def _request_revision(self, by: User, step: Step) -> None:
        task, version, seen = self._look(step)
        note = "Remove the dust."
        decisions.request_revision(task_id=task, version_id=version, seen=seen, by=by, needs_retouch=True, note=note)

    def _skip(self, by: User, step: Step) -> None:
        decisions.skip(task_id=self._find_task(step).pk, by=by)

    def _undo(self, by: User, step: Step) -> None:
        """Undo the newest decision about the image, or with the other variant one's own newest."""
        rows = Decision.objects.filter(task__asset=self.images[step.image], voids=None).order_by("-id")
        decision = (rows.filter(decided_by=by) if step.variant else rows).first()
        if decision is not None:
            decisions.undo(decision_id=decision.pk, by=by, withdraws=bool(step.variant))

    def _revoke(self, by: User, step: Step) -> None:
        decisions.revoke(asset_id=self.images[step.image].pk, by=by, note="the licence ended")

    def _reopen(self, by: User, step: Step) -> None:
        decisions.reopen(asset_id=self.images[step.image].pk, by=by)

    def _edit(self, by: User, step: Step) -> None:
        """Change an input of the image, or bring it back."""
        colour = COLOURS[step.variant % len(COLOURS)]
        subjects.edit(subject_id=self.images[step.image].subject_id, by=by, attributes=[("colour", colour)])

    def _carry_out(self, by: User, step: Step) -> None:
        """Do what housekeeping does half a minute later."""
        consequences.carry_out_due(now=timezone.now() + timedelta(minutes=1))

    def _fold(self, by: User, step: Step) -> None:
        for model in counts.list_models():
            counts.fold(model)

    def _seal(self, by: User, step: Step) -> None:
        audit.seal(self.brand.pk)

    def _look(self, step: Step) -> tuple[int, int, str]:
        """Return the task, the version and the token of what a page shows of the image now."""
        task, version = self._find_task(step), self.versions[step.image][step.variant > 2]
        loaded = AssetVersion.objects.select_related("asset", "master").get(pk=version.pk)
        return task.pk, version.pk, pins.current_state(loaded, task).token

    def _find_task(self, step: Step) -> ReviewTask:
        """Return the open task of the image, or its newest one if none is open."""
        tasks = ReviewTask.objects.filter(asset=self.images[step.image]).order_by("-id")
        return tasks.filter(state=TaskState.OPEN).first() or tasks[0]
