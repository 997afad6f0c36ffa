"""What to make: brands, subjects, feeds, campaigns, prompts, and the events of the whole line."""

from campaigns.models.brands import Brand, GuidePicture, GuideVersion, Membership, User
from campaigns.models.campaigns import BriefPicture, Campaign, OutputSpec
from campaigns.models.events import Event, SealedEvent, StoredResponse
from campaigns.models.feeds import FeedImport, FeedSource, ImportChange, ImportIssue, StagedRow
from campaigns.models.notices import Notice
from campaigns.models.prompts import PromptTemplate, PromptVersion, StylePreset
from campaigns.models.studios import Studio
from campaigns.models.subjects import Cutout, ReferencePhoto, Subject, Variant

__all__ = [
    "Brand",
    "BriefPicture",
    "Campaign",
    "Cutout",
    "Event",
    "FeedImport",
    "FeedSource",
    "GuidePicture",
    "GuideVersion",
    "ImportChange",
    "ImportIssue",
    "Membership",
    "Notice",
    "OutputSpec",
    "PromptTemplate",
    "PromptVersion",
    "ReferencePhoto",
    "SealedEvent",
    "StagedRow",
    "StoredResponse",
    "Studio",
    "StylePreset",
    "Subject",
    "User",
    "Variant",
]
