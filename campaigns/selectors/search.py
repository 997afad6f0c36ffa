"""Find campaigns, products and prompts of a brand by name."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from campaigns.models import Campaign, PromptTemplate, Subject
from core.models import Brand, User

MATCHES_PER_KIND = 6


def find_matches(
    user: User, brand: Brand, words: str
) -> tuple[QuerySet[Campaign], QuerySet[Subject], QuerySet[PromptTemplate]]:
    """Find rows with the words in their name, and subjects also by their key; the first MATCHES_PER_KIND of each."""
    campaigns = Campaign.objects.visible_to(user).filter(brand=brand, name__icontains=words)
    subjects = Subject.objects.visible_to(user).filter(brand=brand, studio=None)
    subjects = subjects.filter(Q(key__icontains=words) | Q(name__icontains=words)).order_by("key")
    templates = PromptTemplate.objects.visible_to(user).filter(brand=brand, studio=None, name__icontains=words)
    return campaigns[:MATCHES_PER_KIND], subjects[:MATCHES_PER_KIND], templates[:MATCHES_PER_KIND]
