"""Publish events in the transaction that made the change, and let higher apps subscribe to them.

Each app declares its own event types in its events.py as subclasses of `Happening`; this app's are at the end.
`publish` inserts the row, so that no change is without its record. Logins and queries are removed from addresses in it.
Subscribers run in the same transaction, in the order in which they were registered; side effects belong after commit
and read the event table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from django.db import transaction

from campaigns import clock
from campaigns.fetching import plain
from campaigns.models import Event, User


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One kind of thing that happens. Subclasses set `type` and `object_type`; `payload` is plain JSON."""

    type: ClassVar[str]
    object_type: ClassVar[str]
    #: True if the line breaks when nobody hears it; a system check fails then.
    needs_subscriber: ClassVar[bool] = False

    brand_id: int
    object_id: int
    payload: dict[str, Any] = field(default_factory=dict)


Kind = TypeVar("Kind", bound=type[Happening])
TYPES: dict[str, type[Happening]] = {}
_subscribers: dict[str, list[Callable[[Any], None]]] = {}
_subscribers_to_all: dict[str, list[Callable[[Any], None]]] = {}
_doer: ContextVar[User | None] = ContextVar("doer", default=None)


def declare(cls: Kind) -> Kind:
    """Class decorator: register an event type, refusing a second one of the same name."""
    if cls.type in TYPES:
        raise ValueError(f"event type {cls.type} is declared twice")
    TYPES[cls.type] = cls
    return cls


def subscribe(kind: type[Happening]) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Decorator: call the function with each published event of `kind`, inside the publishing transaction."""

    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        _subscribers.setdefault(kind.type, []).append(function)
        return function

    return register


def subscribe_to_all(kind: type[Happening]) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Decorator: like `subscribe`, but the function gets the list of all events of `kind` that one call published."""

    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        _subscribers_to_all.setdefault(kind.type, []).append(function)
        return function

    return register


def unheard() -> list[str]:
    """Event types that need a subscriber and have none."""
    heard = _subscribers.keys() | _subscribers_to_all.keys()
    return sorted(name for name, kind in TYPES.items() if kind.needs_subscriber and name not in heard)


def doer() -> User | None:
    """Whose doing a subscriber hears of at this moment; None where a process did it."""
    return _doer.get()


def publish(*happenings: Happening, by: User | None = None, label: str = "") -> None:
    """Insert one row per happening and tell the subscribers. Must run inside the transaction that did it.

    `by` is the person; without one, `label` names the process ("worker gpu-1", "clock").
    """
    publish_all(happenings, by=by, label=label)


def publish_all(happenings: Iterable[Happening], *, by: User | None = None, label: str = "") -> None:
    """`publish` for many, one INSERT."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("publish() outside a transaction: the event could survive a change that did not happen")
    items = list(happenings)
    now = clock.now()
    Event.objects.bulk_create(
        Event(
            brand_id=item.brand_id,
            type=item.type,
            object_type=item.object_type,
            object_id=item.object_id,
            payload=plain(item.payload),  # a sealed event cannot be changed
            actor=by,
            actor_label=by.display_name if by else (label or "system"),
            at=now,
        )
        for item in items
    )
    token = _doer.set(by)
    try:
        for item in items:
            for subscriber in _subscribers.get(item.type, ()):
                subscriber(item)
        for kind, listeners in _subscribers_to_all.items():
            if published := [item for item in items if item.type == kind]:
                for listener in listeners:
                    listener(published)
    finally:
        _doer.reset(token)


@declare
class AuditRedacted(Happening):
    """An operator removed a secret from an earlier event.

    payload: {"seq", "event", "hash", "body_sha256", "places", "reason"}. seq and hash: number and hash of the event's
    link, which stay. body_sha256: of the event's body as it is now. places: how often the secret stood in it.
    """

    type = "campaigns.audit.redacted"
    object_type = "event"


@declare
class BrandCreated(Happening):
    """A brand was created. payload: {"slug", "name", "currency", "time_zone"}."""

    type = "campaigns.brand.created"
    object_type = "brand"


@declare
class BrandTimeZoneSet(Happening):
    """The time zone of a brand's dates was changed. payload: {"before", "after"}; "" means that of the installation."""

    type = "campaigns.brand.time_zone_set"
    object_type = "brand"


@declare
class BrandBudgetSet(Happening):
    """What a brand may spend in a month was changed. payload: {"before", "after"}, None for no limit."""

    type = "campaigns.brand.budget_set"
    object_type = "brand"


@declare
class BrandStaleUseSet(Happening):
    """A brand chose what happens to published images that go stale. payload: {"before", "after"}: "keep" or
    "withdraw"."""

    type = "campaigns.brand.stale_use_set"
    object_type = "brand"


@declare
class BrandBannedWordsSet(Happening):
    """A brand chose what happens when a prompt has a banned word. payload: {"before", "after"}: "warn" or "block"."""

    type = "campaigns.brand.banned_words_set"
    object_type = "brand"


@declare
class MemberAdded(Happening):
    """Somebody was given a role. object_id is the brand's; payload: {"user", "name", "role"}."""

    type = "campaigns.member.added"
    object_type = "brand"


@declare
class MemberRemoved(Happening):
    """Somebody lost a role. object_id is the brand's; payload: {"user", "name", "role"}."""

    type = "campaigns.member.removed"
    object_type = "brand"


@declare
class GuideDrafted(Happening):
    """A guide's draft was begun or changed. object_id is the brand's; payload: {"guide", "number", "fields": what
    changed}."""

    type = "campaigns.guide.drafted"
    object_type = "brand"


@declare
class GuidePublished(Happening):
    """A guide version counts from now on. object_id is the brand's; payload: {"guide", "number", "look_again"}.

    look_again: true if the approved images are to be reviewed again.
    """

    type = "campaigns.guide.published"
    object_type = "brand"


@declare
class GuideDiscarded(Happening):
    """A draft was thrown away. object_id is the brand's; payload: {"guide", "number"}."""

    type = "campaigns.guide.discarded"
    object_type = "brand"


@declare
class CampaignCreated(Happening):
    """A brief was written. payload: {"slug", "name"}."""

    type = "campaigns.campaign.created"
    object_type = "campaign"


@declare
class CampaignChanged(Happening):
    """A brief was changed. payload: {"changes": {field: [old, new]}}."""

    type = "campaigns.campaign.changed"
    object_type = "campaign"


@declare
class BriefPicturesChanged(Happening):
    """Pictures beside a brief. object_id is the campaign's; payload: {"pictures": {"added" | "changed" | "removed":
    [ids]}}."""

    type = "campaigns.campaign.pictures_changed"
    object_type = "campaign"


@declare
class OutputSpecsSet(Happening):
    """What the channels want was set. payload: {"added": [slug], "changed": [slug], "removed": [slug]}."""

    type = "campaigns.campaign.output_specs_set"
    object_type = "campaign"


@declare
class SubjectsAdded(Happening):
    """Subjects joined a campaign. payload: {"count", "subjects": the first 100 ids}."""

    type = "campaigns.campaign.subjects_added"
    object_type = "campaign"


@declare
class SubjectsRemoved(Happening):
    """Subjects left a campaign. payload: {"count", "subjects": the first 100 ids}."""

    type = "campaigns.campaign.subjects_removed"
    object_type = "campaign"


@declare
class StyleCreated(Happening):
    """A style preset was written. payload: {"slug"}."""

    type = "campaigns.style.created"
    object_type = "style"


@declare
class StyleChanged(Happening):
    """A style preset got other words; versions keep theirs. payload: {"slug", "changes": {field: [old, new]}}."""

    type = "campaigns.style.changed"
    object_type = "style"


@declare
class StyleRetired(Happening):
    """A style preset is offered no more, or again. payload: {"slug", "is_active"}."""

    type = "campaigns.style.retired"
    object_type = "style"


@declare
class StudioOpened(Happening):
    """Somebody of the brand tries free words for the first time. payload: {"subject", "template"}."""

    type = "campaigns.studio.opened"
    object_type = "studio"


@declare
class PromptTemplateCreated(Happening):
    """A prompt template begins. payload: {"slug", "name"}."""

    type = "campaigns.prompt.created"
    object_type = "prompt"


@declare
class PromptVersionAdded(Happening):
    """A template got a new version. object_id is the template's; payload: {"version", "number"}."""

    type = "campaigns.prompt.version_added"
    object_type = "prompt"


@declare
class PromptVersionChanged(Happening):
    """A version that was never used was changed. object_id is the template's; payload: {"version", "number",
    "fields"}."""

    type = "campaigns.prompt.version_changed"
    object_type = "prompt"


@declare
class PromptVersionApproved(Happening):
    """A lead approved a version. object_id is the template's; payload: {"version", "number", "asked_by"}."""

    type = "campaigns.prompt.version_approved"
    object_type = "prompt"


@declare
class PromptApprovalAsked(Happening):
    """Somebody asks the leads to approve a version. object_id is the template's; payload: {"version", "number"}."""

    type = "campaigns.prompt.approval_asked"
    object_type = "prompt"


@declare
class PromptVersionSentBack(Happening):
    """A lead wants something else first. object_id is the template's; payload: {"version", "number", "answer",
    "asked_by"}."""

    type = "campaigns.prompt.version_sent_back"
    object_type = "prompt"


@declare
class PromptVersionUsed(Happening):
    """The first run was planned with a version: frozen from now on. object_id is the template's; payload:
    {"version"}."""

    type = "campaigns.prompt.version_used"
    object_type = "prompt"


@declare
class FeedImported(Happening):
    """A feed was applied in full. payload: {"import", "file_name", "file_sha256", "rows", "created", "updated",
    "unchanged", "variants_changed", "photos_changed"}; counts are subjects, but for the last two."""

    type = "campaigns.feed.imported"
    object_type = "feed_import"


@declare
class FeedUndone(Happening):
    """An import was taken back. payload: {"import", "file_name", "removed", "restored", "kept", "retired"};
    subjects. Retired are those removed ones that something still shows; kept those that were changed again since."""

    type = "campaigns.feed.undone"
    object_type = "feed_import"


@declare
class MappingRemembered(Happening):
    """What the columns of a kind of file are was saved for the next one. object_id is the source's; payload:
    {"name", "mapping": {heading: field}}."""

    type = "campaigns.mapping.remembered"
    object_type = "feed_source"


@declare
class FeedSourceSaved(Happening):
    """A feed source was set up, changed, stopped, resumed or asked for anew. payload: {"slug", "name", "kind", "host",
    "subject_kind", "every_minutes", "is_enabled"}; not its address, which may carry a key."""

    type = "campaigns.feed_source.saved"
    object_type = "feed_source"


@declare
class FeedSourceFailing(Happening):
    """A feed source could not be read, and trying again has not helped. payload: {"name", "slug", "failures",
    "message"}."""

    type = "campaigns.feed_source.failing"
    object_type = "feed_source"


@declare
class PhotosAttached(Happening):
    """Photos got their files. object_id is the brand's; payload: {"ready", "refused": [{"file", "message"}],
    "photos": [{"photo", "subject", "sha256"}], "replaced": sha256 of photos and cut-outs that no longer count}."""

    type = "campaigns.photos.attached"
    object_type = "brand"


@declare
class PhotosRetried(Happening):
    """Photos by address are to be fetched anew. object_id is the brand's; payload: {"count", "photos": the first 100
    ids}."""

    type = "campaigns.photos.retried"
    object_type = "brand"


@declare
class CutoutAccepted(Happening):
    """A person chose the cut-out that a photo is used with. object_id is the photo's; payload: {"cutout", "before": the
    one until now or null, "replaced": its sha256 in a list, empty if it stays}."""

    type = "campaigns.cutout.accepted"
    object_type = "photo"


@declare
class CutoutRefused(Happening):
    """A person took a photo's cut-out out of use; it has none now. object_id is the photo's; payload as of
    CutoutAccepted, "cutout" null."""

    type = "campaigns.cutout.refused"
    object_type = "photo"


@declare
class PhotoChanged(Happening):
    """A person said what a photo shows. payload: {"subject", "changes": {field: [old, new]}}."""

    type = "campaigns.photo.changed"
    object_type = "photo"


@declare
class PhotosArranged(Happening):
    """A subject's photos were put in another order. payload: {"photos", "before"}, ids in order."""

    type = "campaigns.photos.arranged"
    object_type = "subject"


@declare
class PhotoRemoved(Happening):
    """A photo was taken out of use; its file stays. payload: {"subject", "sha256"}."""

    type = "campaigns.photo.removed"
    object_type = "photo"


@declare
class PhotoRestored(Happening):
    """A removed photo is back. payload: {"subject", "sha256"}."""

    type = "campaigns.photo.restored"
    object_type = "photo"


@declare
class SubjectsCreated(Happening):
    """A person wrote subjects by hand. object_id is the brand's; payload: {"kind", "count", "keys": the first 100}."""

    type = "campaigns.subjects.created"
    object_type = "brand"


@declare
class SubjectChanged(Happening):
    """A person changed a subject by hand. payload: {"changes": {"name" or attribute: [old, new]}}."""

    type = "campaigns.subject.changed"
    object_type = "subject"


@declare
class SubjectRetired(Happening):
    """A subject takes no part in new runs. payload: {"key"}."""

    type = "campaigns.subject.retired"
    object_type = "subject"


@declare
class SubjectReturned(Happening):
    """A retired subject takes part again. payload: {"key"}."""

    type = "campaigns.subject.returned"
    object_type = "subject"
