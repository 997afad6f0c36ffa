"""The event types of this app: guides, briefs, styles, prompts, feeds, photos and subjects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from core.events import DomainEvent, declare


class CampaignsEvent(DomainEvent):
    """Base of the event types: each names its type and the kind of object that `object_id` means."""

    def __init_subclass__(cls, *, type: str, object_type: str) -> None:
        cls.type, cls.object_type = type, object_type
        declare(cls)

    @classmethod
    def of(cls, row: Any, **payload: Any) -> Self:
        """Return the event of a row that has a brand, or of a brand itself."""
        return cls(brand_id=getattr(row, "brand_id", row.pk), object_id=row.pk, payload=payload)


def set_changed(row: Any, values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Set those of the values that differ from the row's; return them as an event shows them: field -> [old, new]."""
    changes = {}
    for name, new in values.items():
        old = getattr(row, name)
        if new != old:
            changes[name] = [old, new]
            setattr(row, name, new)
    return changes


class GuideDrafted(CampaignsEvent, type="campaigns.guide.drafted", object_type="brand"):
    """A guide's draft was begun or changed. object_id is the brand's; payload: {"guide", "number", "fields"}."""


class GuidePublished(CampaignsEvent, type="campaigns.guide.published", object_type="brand"):
    """A guide version was published. object_id is the brand's; payload: {"guide", "number", "look_again"}.

    look_again: true if the approved images must be reviewed again.
    """


class GuideDiscarded(CampaignsEvent, type="campaigns.guide.discarded", object_type="brand"):
    """A draft was discarded. object_id is the brand's; payload: {"guide", "number"}."""


class CampaignCreated(CampaignsEvent, type="campaigns.campaign.created", object_type="campaign"):
    """A brief was created. payload: {"slug", "name"}."""


class CampaignChanged(CampaignsEvent, type="campaigns.campaign.changed", object_type="campaign"):
    """A brief was changed. payload: {"changes": {field: [old, new]}}."""


class BriefImagesChanged(CampaignsEvent, type="campaigns.campaign.images_changed", object_type="campaign"):
    """The images of a brief were changed. payload: {"images": {"added" | "changed" | "removed": [ids]}}."""


class OutputSpecsSet(CampaignsEvent, type="campaigns.campaign.output_specs_set", object_type="campaign"):
    """The output specs of a campaign were set. payload: {"added": [slug], "changed": [slug], "removed": [slug]}."""


class SubjectsAdded(CampaignsEvent, type="campaigns.campaign.subjects_added", object_type="campaign"):
    """Subjects were added to a campaign. payload: {"count", "subjects": the first 100 ids}."""


class StyleCreated(CampaignsEvent, type="campaigns.style.created", object_type="style"):
    """A style preset was created. payload: {"slug"}."""


class StyleChanged(CampaignsEvent, type="campaigns.style.changed", object_type="style"):
    """A style preset was changed; versions keep their words. payload: {"slug", "changes": {field: [old, new]}}."""


class StyleRetired(CampaignsEvent, type="campaigns.style.retired", object_type="style"):
    """A style preset was retired or restored. payload: {"slug", "is_active"}."""


class StudioOpened(CampaignsEvent, type="campaigns.studio.opened", object_type="studio"):
    """A person used the brand's studio for the first time. payload: {"subject", "template"}."""


class PromptTemplateCreated(CampaignsEvent, type="campaigns.prompt.created", object_type="prompt"):
    """A prompt template was created. payload: {"slug", "name"}."""


class PromptVersionAdded(CampaignsEvent, type="campaigns.prompt.version_added", object_type="prompt"):
    """A template got a new version. object_id is the template's; payload: {"version", "number"}."""


class PromptVersionChanged(CampaignsEvent, type="campaigns.prompt.version_changed", object_type="prompt"):
    """An unused version was changed. object_id is the template's; payload: {"version", "number", "fields"}."""


class PromptVersionApproved(CampaignsEvent, type="campaigns.prompt.version_approved", object_type="prompt"):
    """A lead approved a version. object_id is the template's; payload: {"version", "number", "asked_by"}."""


class PromptApprovalRequested(CampaignsEvent, type="campaigns.prompt.approval_asked", object_type="prompt"):
    """A person asked the leads to approve a version. object_id is the template's; payload: {"version", "number"}."""


class PromptVersionSentBack(CampaignsEvent, type="campaigns.prompt.version_sent_back", object_type="prompt"):
    """A lead sent a version back. object_id is the template's; payload: {"version", "number", "answer", "asked_by"}."""


class PromptVersionUsed(CampaignsEvent, type="campaigns.prompt.version_used", object_type="prompt"):
    """A run was planned with a version, which is frozen now. object_id is the template's; payload: {"version"}."""


class FeedImported(CampaignsEvent, type="campaigns.feed.imported", object_type="feed_import"):
    """A feed was applied in full.

    payload: {"import", "file_name", "file_sha256", "rows", "created", "updated", "unchanged", "variants_changed",
    "photos_changed"}. Except for rows and the last two, the counts are subjects.
    """


class FeedUndone(CampaignsEvent, type="campaigns.feed.undone", object_type="feed_import"):
    """An import was undone. payload: {"import", "file_name", "removed", "restored", "kept", "retired"}.

    The counts are subjects. retired: not removed, because they are still in use. kept: changed again since the import.
    """


class MappingSaved(CampaignsEvent, type="campaigns.mapping.remembered", object_type="feed_source"):
    """The mapping of columns to fields was saved for later files of this kind. object_id is the source's.

    payload: {"name", "mapping": {heading: field}}.
    """


class FeedSourceSaved(CampaignsEvent, type="campaigns.feed_source.saved", object_type="feed_source"):
    """A feed source was set up, changed, stopped, resumed or fetched on request.

    payload: {"slug", "name", "kind", "host", "subject_kind", "every_minutes", "is_enabled"}, without its address, which
    may contain a key.
    """


class FeedSourceFailing(CampaignsEvent, type="campaigns.feed_source.failing", object_type="feed_source"):
    """A feed source could not be read, even after retries. payload: {"name", "slug", "failures", "message"}."""


class PhotosAttached(CampaignsEvent, type="campaigns.photos.attached", object_type="brand"):
    """Photos got their files. object_id is the brand's.

    payload: {"ready", "refused": [{"file", "message"}], "photos": [{"photo", "subject", "sha256"}], "replaced": sha256
    of photos and cut-outs that are no longer used}.
    """


class PhotosRetried(CampaignsEvent, type="campaigns.photos.retried", object_type="brand"):
    """Photos are to be fetched again. object_id is the brand's; payload: {"count", "photos": the first 100 ids}."""


class CutoutAccepted(CampaignsEvent, type="campaigns.cutout.accepted", object_type="photo"):
    """A person chose the cut-out of a photo. payload: {"cutout", "before", "replaced"}.

    before: the previous cut-out or null. replaced: its sha256 in a list, empty if it stays.
    """


class CutoutRefused(CampaignsEvent, type="campaigns.cutout.refused", object_type="photo"):
    """A person refused a photo's cut-out, so that it has none. payload: as of CutoutAccepted, with "cutout" null."""


class PhotoChanged(CampaignsEvent, type="campaigns.photo.changed", object_type="photo"):
    """A person changed the details of a photo. payload: {"subject", "changes": {field: [old, new]}}."""


class PhotosArranged(CampaignsEvent, type="campaigns.photos.arranged", object_type="subject"):
    """The order of a subject's photos was changed. payload: {"photos", "before"}, ids in order."""


class PhotoRemoved(CampaignsEvent, type="campaigns.photo.removed", object_type="photo"):
    """A photo was removed; its file stays. payload: {"subject", "sha256"}."""


class PhotoRestored(CampaignsEvent, type="campaigns.photo.restored", object_type="photo"):
    """A removed photo was restored. payload: {"subject", "sha256"}."""


class SubjectsCreated(CampaignsEvent, type="campaigns.subjects.created", object_type="brand"):
    """Subjects were created by hand. object_id is the brand's; payload: {"kind", "count", "keys": the first 100}."""


class SubjectChanged(CampaignsEvent, type="campaigns.subject.changed", object_type="subject"):
    """A person changed a subject by hand. payload: {"changes": {"name" or attribute: [old, new]}}."""


class SubjectRetired(CampaignsEvent, type="campaigns.subject.retired", object_type="subject"):
    """A subject was retired: new runs do not include it. payload: {"key"}."""


class SubjectRestored(CampaignsEvent, type="campaigns.subject.returned", object_type="subject"):
    """A retired subject was restored. payload: {"key"}."""
