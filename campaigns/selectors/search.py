"""Find campaigns, products and prompts of a brand by name."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from campaigns.models import Campaign, PromptTemplate, Subject
from core.models import Brand, User

MATCHES_PER_KIND = 6


@dataclass(frozen=True)
class Matches:
    """The first EACH of each kind."""

    campaigns: list[Campaign]
    subjects: list[Subject]
    templates: list[PromptTemplate]


def find_matches(user: User, brand: Brand, words: str) -> Matches:
    """Find rows with the words in their name, and subjects also by their key. Three queries."""
    campaigns = Campaign.objects.visible_to(user).filter(brand=brand, name__icontains=words)
    subjects = Subject.objects.visible_to(user).filter(brand=brand, studio=None)
    subjects = subjects.filter(Q(key__icontains=words) | Q(name__icontains=words)).order_by("key")
    templates = PromptTemplate.objects.visible_to(user).filter(brand=brand, studio=None, name__icontains=words)
    return Matches(
        list(campaigns[:MATCHES_PER_KIND]), list(subjects[:MATCHES_PER_KIND]), list(templates[:MATCHES_PER_KIND])
    )
