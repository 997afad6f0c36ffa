"""Subjects and their photos, feeds, campaigns, guides and prompts."""

from campaigns.models.campaigns import BriefPicture, Campaign, OutputSpec
from campaigns.models.feeds import FeedImport, FeedSource, ImportChange, ImportIssue, StagedRow
from campaigns.models.guides import GuidePicture, GuideVersion
from campaigns.models.prompts import PromptTemplate, PromptVersion, StylePreset
from campaigns.models.studios import Studio
from campaigns.models.subjects import Cutout, ReferencePhoto, Subject, Variant

__all__ = [
    "BriefPicture",
    "Campaign",
    "Cutout",
    "FeedImport",
    "FeedSource",
    "GuidePicture",
    "GuideVersion",
    "ImportChange",
    "ImportIssue",
    "OutputSpec",
    "PromptTemplate",
    "PromptVersion",
    "ReferencePhoto",
    "StagedRow",
    "Studio",
    "StylePreset",
    "Subject",
    "Variant",
]
