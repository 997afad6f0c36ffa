"""Subjects and their photos, feeds, campaigns, guides and prompts."""

from campaigns.models.campaigns import BriefImage, Campaign, OutputSpec
from campaigns.models.feeds import FeedImport, FeedSource, ImportChange, ImportIssue, StagedRow
from campaigns.models.guides import GuideImage, GuideVersion
from campaigns.models.prompts import PromptTemplate, PromptVersion, Studio, StylePreset
from campaigns.models.subjects import SEARCH_WORDS, Cutout, ReferencePhoto, Subject, Variant

__all__ = [
    "SEARCH_WORDS",
    "BriefImage", "Campaign", "Cutout", "FeedImport", "FeedSource", "GuideImage", "GuideVersion", "ImportChange",
    "ImportIssue", "OutputSpec", "PromptTemplate", "PromptVersion", "ReferencePhoto", "StagedRow", "Studio",
    "StylePreset", "Subject", "Variant",
]  # fmt: skip
