"""Whom this app tells, in the same transaction, when something happened to its prompts and feeds."""

from __future__ import annotations

from django.urls import reverse

from campaigns.choices import Role
from campaigns.events import (
    FeedSourceFailing,
    PromptApprovalAsked,
    PromptVersionApproved,
    PromptVersionSentBack,
    doer,
    subscribe,
)
from campaigns.models import Brand, FeedSource, PromptTemplate, User
from campaigns.services import notices


@subscribe(PromptApprovalAsked)
def tell_the_leads(happening: PromptApprovalAsked) -> None:
    """A version waits for a yes; the leads give it, and not to themselves."""
    template = PromptTemplate.objects.select_related("brand").get(pk=happening.object_id)
    number = happening.payload["number"]
    asking = doer()
    who = asking.display_name if asking else "The line"
    notices.tell(
        brand=template.brand,
        users=[lead for lead in notices.people(template.brand, Role.LEAD) if lead != asking],
        kind="prompt_approval_asked",
        sentence=f"{who} asks you to approve {template.name} v{number}.",
        href=reverse("prompt_compare", args=[template.brand.slug, template.slug]) + f"?b={number}",
    )


@subscribe(PromptVersionApproved)
@subscribe(PromptVersionSentBack)
def tell_who_asked(happening: PromptVersionApproved | PromptVersionSentBack) -> None:
    """The answer goes to whoever asked for the approval."""
    asking = User.objects.filter(pk=happening.payload.get("asked_by") or 0).first()
    if asking is None or asking == doer():
        return
    template = PromptTemplate.objects.select_related("brand").get(pk=happening.object_id)
    number, answer = happening.payload["number"], happening.payload.get("answer", "")
    lead = doer()
    who = lead.display_name if lead else "A lead"
    said = f"sent {template.name} v{number} back: {answer}" if answer else f"approved {template.name} v{number}."
    notices.tell(
        brand=template.brand,
        users=[asking],
        kind="prompt_answered",
        sentence=f"{who} {said}",
        href=reverse("prompt_version", args=[template.brand.slug, template.slug, number]),
    )


@subscribe(FeedSourceFailing)
def tell_who_feeds_us(happening: FeedSourceFailing) -> None:
    """A feed could not be read: whoever set it up, and the leads."""
    brand = Brand.objects.get(pk=happening.brand_id)
    source = FeedSource.objects.select_related("created_by").get(pk=happening.object_id)
    told = {source.created_by, *notices.people(brand, Role.LEAD)}
    notices.tell(
        brand=brand,
        users=[user for user in told if user != doer()],
        kind="feed_source_failing",
        sentence=f"The feed {source.name} could not be read: {happening.payload.get('message', '')}",
        href=reverse("sources", args=[brand.slug]),
        is_repetitive=True,
    )
