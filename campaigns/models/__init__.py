"""What to make: brands, subjects, feeds, campaigns, prompts, and the events of the whole line."""

from campaigns.models.brands import Brand, GuideVersion, Membership, User
from campaigns.models.campaigns import Campaign, OutputSpec
from campaigns.models.events import Event, SealedEvent, StoredResponse
from campaigns.models.feeds import FeedImport, ImportIssue, StagedRow
from campaigns.models.prompts import PromptTemplate, PromptVersion, StylePreset
from campaigns.models.subjects import Cutout, ReferencePhoto, Subject, Variant

__all__ = [
    "Brand",
    "Campaign",
    "Cutout",
    "Event",
    "FeedImport",
    "GuideVersion",
    "ImportIssue",
    "Membership",
    "OutputSpec",
    "PromptTemplate",
    "PromptVersion",
    "ReferencePhoto",
    "SealedEvent",
    "StagedRow",
    "StoredResponse",
    "StylePreset",
    "Subject",
    "User",
    "Variant",
]
