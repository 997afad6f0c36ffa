"""The event types of this app: guides, briefs, styles, prompts, feeds, photos and subjects."""

from __future__ import annotations

from core.events import DomainEvent


class GuideDrafted(DomainEvent, type="campaigns.guide.drafted", object_type="brand"):
    """A guide's draft was begun or changed. object_id is the brand's; payload: {"guide", "number", "fields"}."""


class GuidePublished(DomainEvent, type="campaigns.guide.published", object_type="brand"):
    """A guide version was published. object_id is the brand's; payload: {"guide", "number", "look_again"}.

    look_again: true if the approved images must be reviewed again.
    """


class GuideDiscarded(DomainEvent, type="campaigns.guide.discarded", object_type="brand"):
    """A draft was discarded. object_id is the brand's; payload: {"guide", "number"}."""


class CampaignCreated(DomainEvent, type="campaigns.campaign.created"):
    """A brief was created. payload: {"slug", "name"}."""


class CampaignChanged(DomainEvent, type="campaigns.campaign.changed"):
    """A brief was changed. payload: {"changes": {field: [old, new]}}."""


class BriefImagesChanged(DomainEvent, type="campaigns.campaign.images_changed"):
    """The images of a brief were changed. payload: {"images": {"added" | "changed" | "removed": [ids]}}."""


class OutputSpecsSet(DomainEvent, type="campaigns.campaign.output_specs_set"):
    """The output specs of a campaign were set. payload: {"added": [slug], "changed": [slug], "removed": [slug]}."""


class SubjectsAdded(DomainEvent, type="campaigns.campaign.subjects_added"):
    """Subjects were added to a campaign. payload: {"count", "subjects": the first 100 ids}."""


class StyleCreated(DomainEvent, type="campaigns.style.created"):
    """A style preset was created. payload: {"slug"}."""


class StyleChanged(DomainEvent, type="campaigns.style.changed"):
    """A style preset was changed; versions keep their words. payload: {"slug", "changes": {field: [old, new]}}."""


class StyleRetired(DomainEvent, type="campaigns.style.retired"):
    """A style preset was retired or restored. payload: {"slug", "is_active"}."""


class StudioOpened(DomainEvent, type="campaigns.studio.opened"):
    """A person used the brand's studio for the first time. payload: {"subject", "template"}."""


class PromptTemplateCreated(DomainEvent, type="campaigns.prompt.created"):
    """A prompt template was created. payload: {"slug", "name"}."""


class PromptVersionAdded(DomainEvent, type="campaigns.prompt.version_added"):
    """A template got a new version. object_id is the template's; payload: {"version", "number"}."""


class PromptVersionChanged(DomainEvent, type="campaigns.prompt.version_changed"):
    """An unused version was changed. object_id is the template's; payload: {"version", "number", "fields"}."""


class PromptVersionApproved(DomainEvent, type="campaigns.prompt.version_approved"):
    """A lead approved a version. object_id is the template's; payload: {"version", "number", "asked_by"}."""


class PromptApprovalRequested(DomainEvent, type="campaigns.prompt.approval_asked"):
    """A person asked the leads to approve a version. object_id is the template's; payload: {"version", "number"}."""


class PromptVersionSentBack(DomainEvent, type="campaigns.prompt.version_sent_back"):
    """A lead sent a version back. object_id is the template's; payload: {"version", "number", "answer", "asked_by"}."""


class PromptVersionUsed(DomainEvent, type="campaigns.prompt.version_used"):
    """A run was planned with a version, which is frozen now. object_id is the template's; payload: {"version"}."""


class FeedImported(DomainEvent, type="campaigns.feed.imported", object_type="feed_import"):
    """A feed was applied in full.

    payload: {"import", "file_name", "file_sha256", "rows", "created", "updated", "unchanged", "variants_changed",
    "photos_changed"}. Except for rows and the last two, the counts are subjects.
    """


class FeedRefused(DomainEvent, type="campaigns.feed.refused", object_type="feed_import"):
    """A feed that was to be applied has mistakes, so nothing of it was applied.

    payload: {"import", "file_name", "file_sha256", "rows", "errors", "causes": {cause: how many mistakes}}.
    """


class FeedUndone(DomainEvent, type="campaigns.feed.undone", object_type="feed_import"):
    """An import was undone. payload: {"import", "file_name", "removed", "restored", "kept", "retired"}.

    The counts are subjects. retired: not removed, because they are still in use. kept: changed again since the import.
    """


class MappingSaved(DomainEvent, type="campaigns.mapping.remembered", object_type="feed_source"):
    """The mapping of columns to fields was saved for later files of this kind. object_id is the source's.

    payload: {"name", "mapping": {heading: field}}.
    """


class FeedSourceSaved(DomainEvent, type="campaigns.feed_source.saved"):
    """A feed source was set up, changed, stopped, resumed or fetched on request.

    payload: {"slug", "name", "kind", "host", "subject_kind", "every_minutes", "is_enabled"}, without its address, which
    may contain a key.
    """


class FeedSourceFailing(DomainEvent, type="campaigns.feed_source.failing"):
    """A feed source could not be read, even after retries. payload: {"name", "slug", "failures", "message"}."""


class PhotosAttached(DomainEvent, type="campaigns.photos.attached", object_type="brand"):
    """Photos got their files. object_id is the brand's.

    payload: {"ready", "refused": [{"file", "message"}], "photos": [{"photo", "subject", "sha256"}], "replaced": sha256
    of photos and cut-outs that are no longer used}.
    """


class PhotosRetried(DomainEvent, type="campaigns.photos.retried", object_type="brand"):
    """Photos are to be fetched again. object_id is the brand's; payload: {"count", "photos": the first 100 ids}."""


class CutoutAccepted(DomainEvent, type="campaigns.cutout.accepted", object_type="photo"):
    """A person chose the cut-out of a photo. payload: {"cutout", "before", "replaced"}.

    before: the previous cut-out or null. replaced: its sha256 in a list, empty if it stays.
    """


class CutoutRefused(DomainEvent, type="campaigns.cutout.refused", object_type="photo"):
    """A person refused a photo's cut-out, so that it has none. payload: as of CutoutAccepted, with "cutout" null."""


class PhotoChanged(DomainEvent, type="campaigns.photo.changed"):
    """A person changed the details of a photo. payload: {"subject", "changes": {field: [old, new]}}."""


class PhotosArranged(DomainEvent, type="campaigns.photos.arranged", object_type="subject"):
    """The order of a subject's photos was changed. payload: {"photos", "before"}, ids in order."""


class PhotoRemoved(DomainEvent, type="campaigns.photo.removed"):
    """A photo was removed; its file stays. payload: {"subject", "sha256"}."""


class PhotoRestored(DomainEvent, type="campaigns.photo.restored"):
    """A removed photo was restored. payload: {"subject", "sha256"}."""


class SubjectsCreated(DomainEvent, type="campaigns.subjects.created", object_type="brand"):
    """Subjects were created by hand. object_id is the brand's; payload: {"kind", "count", "keys": the first 100}."""


class SubjectChanged(DomainEvent, type="campaigns.subject.changed"):
    """A person changed a subject by hand. payload: {"changes": {"name" or attribute: [old, new]}}."""


class SubjectRetired(DomainEvent, type="campaigns.subject.retired"):
    """A subject was retired: new runs do not include it. payload: {"key"}."""


class SubjectRestored(DomainEvent, type="campaigns.subject.returned"):
    """A retired subject was restored. payload: {"key"}."""
