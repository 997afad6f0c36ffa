"""The event types of this app: guides, briefs, styles, prompts, feeds, photos and subjects."""

from __future__ import annotations

from core.events import DomainEvent, declare


@declare
class GuideDrafted(DomainEvent):
    """A guide's draft was begun or changed. object_id is the brand's; payload: {"guide", "number", "fields"}.

    fields: the changed fields.
    """

    type = "campaigns.guide.drafted"
    object_type = "brand"


@declare
class GuidePublished(DomainEvent):
    """A guide version was published. object_id is the brand's; payload: {"guide", "number", "look_again"}.

    look_again: true if the approved images must be reviewed again.
    """

    type = "campaigns.guide.published"
    object_type = "brand"


@declare
class GuideDiscarded(DomainEvent):
    """A draft was discarded. object_id is the brand's; payload: {"guide", "number"}."""

    type = "campaigns.guide.discarded"
    object_type = "brand"


@declare
class CampaignCreated(DomainEvent):
    """A brief was created. payload: {"slug", "name"}."""

    type = "campaigns.campaign.created"
    object_type = "campaign"


@declare
class CampaignChanged(DomainEvent):
    """A brief was changed. payload: {"changes": {field: [old, new]}}."""

    type = "campaigns.campaign.changed"
    object_type = "campaign"


@declare
class BriefImagesChanged(DomainEvent):
    """The images of a brief were changed. object_id is the campaign's.

    payload: {"images": {"added" | "changed" | "removed": [ids]}}.
    """

    type = "campaigns.campaign.images_changed"
    object_type = "campaign"


@declare
class OutputSpecsSet(DomainEvent):
    """The output specs of a campaign were set. payload: {"added": [slug], "changed": [slug], "removed": [slug]}."""

    type = "campaigns.campaign.output_specs_set"
    object_type = "campaign"


@declare
class SubjectsAdded(DomainEvent):
    """Subjects were added to a campaign. payload: {"count", "subjects": the first 100 ids}."""

    type = "campaigns.campaign.subjects_added"
    object_type = "campaign"


@declare
class SubjectsRemoved(DomainEvent):
    """Subjects were removed from a campaign. payload: {"count", "subjects": the first 100 ids}."""

    type = "campaigns.campaign.subjects_removed"
    object_type = "campaign"


@declare
class StyleCreated(DomainEvent):
    """A style preset was created. payload: {"slug"}."""

    type = "campaigns.style.created"
    object_type = "style"


@declare
class StyleChanged(DomainEvent):
    """A style preset was changed; versions keep their words. payload: {"slug", "changes": {field: [old, new]}}."""

    type = "campaigns.style.changed"
    object_type = "style"


@declare
class StyleRetired(DomainEvent):
    """A style preset was retired or restored. payload: {"slug", "is_active"}."""

    type = "campaigns.style.retired"
    object_type = "style"


@declare
class StudioOpened(DomainEvent):
    """A person used the brand's studio for the first time. payload: {"subject", "template"}."""

    type = "campaigns.studio.opened"
    object_type = "studio"


@declare
class PromptTemplateCreated(DomainEvent):
    """A prompt template was created. payload: {"slug", "name"}."""

    type = "campaigns.prompt.created"
    object_type = "prompt"


@declare
class PromptVersionAdded(DomainEvent):
    """A template got a new version. object_id is the template's; payload: {"version", "number"}."""

    type = "campaigns.prompt.version_added"
    object_type = "prompt"


@declare
class PromptVersionChanged(DomainEvent):
    """An unused version was changed. object_id is the template's; payload: {"version", "number", "fields"}."""

    type = "campaigns.prompt.version_changed"
    object_type = "prompt"


@declare
class PromptVersionApproved(DomainEvent):
    """A lead approved a version. object_id is the template's; payload: {"version", "number", "asked_by"}."""

    type = "campaigns.prompt.version_approved"
    object_type = "prompt"


@declare
class PromptApprovalRequested(DomainEvent):
    """A person asked the leads to approve a version. object_id is the template's; payload: {"version", "number"}."""

    type = "campaigns.prompt.approval_asked"
    object_type = "prompt"


@declare
class PromptVersionSentBack(DomainEvent):
    """A lead sent a version back for changes. object_id is the template's.

    payload: {"version", "number", "answer", "asked_by"}.
    """

    type = "campaigns.prompt.version_sent_back"
    object_type = "prompt"


@declare
class PromptVersionUsed(DomainEvent):
    """The first run was planned with a version, which is frozen from now on. object_id is the template's.

    payload: {"version"}.
    """

    type = "campaigns.prompt.version_used"
    object_type = "prompt"


@declare
class FeedImported(DomainEvent):
    """A feed was applied in full.

    payload: {"import", "file_name", "file_sha256", "rows", "created", "updated", "unchanged", "variants_changed",
    "photos_changed"}. Except for rows and the last two, the counts are subjects.
    """

    type = "campaigns.feed.imported"
    object_type = "feed_import"


@declare
class FeedUndone(DomainEvent):
    """An import was undone. payload: {"import", "file_name", "removed", "restored", "kept", "retired"}.

    The counts are subjects. retired: not removed, because they are still in use. kept: changed again since the import.
    """

    type = "campaigns.feed.undone"
    object_type = "feed_import"


@declare
class MappingSaved(DomainEvent):
    """The mapping of columns to fields was saved for later files of this kind. object_id is the source's.

    payload: {"name", "mapping": {heading: field}}.
    """

    type = "campaigns.mapping.remembered"
    object_type = "feed_source"


@declare
class FeedSourceSaved(DomainEvent):
    """A feed source was set up, changed, stopped, resumed or fetched on request.

    payload: {"slug", "name", "kind", "host", "subject_kind", "every_minutes", "is_enabled"}, without its address, which
    may contain a key.
    """

    type = "campaigns.feed_source.saved"
    object_type = "feed_source"


@declare
class FeedSourceFailing(DomainEvent):
    """A feed source could not be read, even after retries. payload: {"name", "slug", "failures", "message"}."""

    type = "campaigns.feed_source.failing"
    object_type = "feed_source"


@declare
class PhotosAttached(DomainEvent):
    """Photos got their files. object_id is the brand's.

    payload: {"ready", "refused": [{"file", "message"}], "photos": [{"photo", "subject", "sha256"}], "replaced": sha256
    of photos and cut-outs that are no longer used}.
    """

    type = "campaigns.photos.attached"
    object_type = "brand"


@declare
class PhotosRetried(DomainEvent):
    """Photos are to be fetched from their addresses again. object_id is the brand's.

    payload: {"count", "photos": the first 100 ids}.
    """

    type = "campaigns.photos.retried"
    object_type = "brand"


@declare
class CutoutAccepted(DomainEvent):
    """A person chose the cut-out of a photo. object_id is the photo's; payload: {"cutout", "before", "replaced"}.

    before: the previous cut-out or null. replaced: its sha256 in a list, empty if it stays.
    """

    type = "campaigns.cutout.accepted"
    object_type = "photo"


@declare
class CutoutRefused(DomainEvent):
    """A person refused a photo's cut-out, so that the photo has none. object_id is the photo's.

    payload: as that of CutoutAccepted, with "cutout" null.
    """

    type = "campaigns.cutout.refused"
    object_type = "photo"


@declare
class PhotoChanged(DomainEvent):
    """A person changed the details of a photo. payload: {"subject", "changes": {field: [old, new]}}."""

    type = "campaigns.photo.changed"
    object_type = "photo"


@declare
class PhotosArranged(DomainEvent):
    """The order of a subject's photos was changed. payload: {"photos", "before"}, ids in order."""

    type = "campaigns.photos.arranged"
    object_type = "subject"


@declare
class PhotoRemoved(DomainEvent):
    """A photo was removed; its file stays. payload: {"subject", "sha256"}."""

    type = "campaigns.photo.removed"
    object_type = "photo"


@declare
class PhotoRestored(DomainEvent):
    """A removed photo was restored. payload: {"subject", "sha256"}."""

    type = "campaigns.photo.restored"
    object_type = "photo"


@declare
class SubjectsCreated(DomainEvent):
    """Subjects were created by hand. object_id is the brand's; payload: {"kind", "count", "keys": the first 100}."""

    type = "campaigns.subjects.created"
    object_type = "brand"


@declare
class SubjectChanged(DomainEvent):
    """A person changed a subject by hand. payload: {"changes": {"name" or attribute: [old, new]}}."""

    type = "campaigns.subject.changed"
    object_type = "subject"


@declare
class SubjectRetired(DomainEvent):
    """A subject was retired: new runs do not include it. payload: {"key"}."""

    type = "campaigns.subject.retired"
    object_type = "subject"


@declare
class SubjectRestored(DomainEvent):
    """A retired subject was restored. payload: {"key"}."""

    type = "campaigns.subject.returned"
    object_type = "subject"
