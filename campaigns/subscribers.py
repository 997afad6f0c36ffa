"""Event subscribers that run in the same transaction: style presets for a new brand, and notices to people."""

from __future__ import annotations

from django.urls import reverse
from django.utils.translation import gettext as _

from campaigns.events import FeedSourceFailing, PromptApprovalRequested, PromptVersionApproved, PromptVersionSentBack
from campaigns.models import FeedSource, PromptTemplate
from campaigns.services import styles
from core.choices import Role
from core.events import BrandCreated, current_actor, subscribe
from core.models import Brand, User
from core.services import notices


@subscribe(BrandCreated)
def add_style_presets(event: BrandCreated) -> None:
    """Give a new brand the style presets of a design team."""
    founder = current_actor()
    if founder is not None:
        styles.add_presets(brand=Brand.objects.get(pk=event.brand_id), by=founder)


@subscribe(PromptApprovalRequested)
def notify_leads(event: PromptApprovalRequested) -> None:
    """Tell the leads that a version needs approval, except the person who asked."""
    template = PromptTemplate.objects.select_related("brand").get(pk=event.object_id)
    number = event.payload["number"]
    asking = current_actor()
    notices.notify(
        brand=template.brand,
        users=[lead for lead in notices.list_people_with_roles(template.brand, Role.LEAD) if lead != asking],
        kind="prompt_approval_asked",
        sentence=_("%(name)s asks you to approve %(prompt)s v%(number)s.")
        % {"name": asking.display_name if asking else _("The system"), "prompt": template.name, "number": number},
        href=reverse("prompt_compare", args=[template.brand.slug, template.slug]) + f"?b={number}",
    )


@subscribe(PromptVersionApproved)
@subscribe(PromptVersionSentBack)
def notify_requester(event: PromptVersionApproved | PromptVersionSentBack) -> None:
    """Tell the answer to the person who asked for the approval."""
    asking = User.objects.filter(pk=event.payload.get("asked_by") or 0).first()
    if asking is None or asking == current_actor():
        return
    template = PromptTemplate.objects.select_related("brand").get(pk=event.object_id)
    number, answer = event.payload["number"], event.payload.get("answer", "")
    lead = current_actor()
    values = {"lead": lead.display_name if lead else _("A lead"), "prompt": template.name, "number": number}
    sentence = _("%(lead)s approved %(prompt)s v%(number)s.")
    if answer:
        sentence = _("%(lead)s sent %(prompt)s v%(number)s back: %(answer)s")
    notices.notify(
        brand=template.brand,
        users=[asking],
        kind="prompt_answered",
        sentence=sentence % {**values, "answer": answer},
        href=reverse("prompt_version", args=[template.brand.slug, template.slug, number]),
    )


@subscribe(FeedSourceFailing)
def notify_source_owner(event: FeedSourceFailing) -> None:
    """Tell the person who set up the feed, and the leads, that it could not be read."""
    brand = Brand.objects.get(pk=event.brand_id)
    source = FeedSource.objects.select_related("created_by").get(pk=event.object_id)
    recipients = {source.created_by, *notices.list_people_with_roles(brand, Role.LEAD)}
    notices.notify(
        brand=brand,
        users=[user for user in recipients if user != current_actor()],
        kind="feed_source_failing",
        sentence=_("The feed %(name)s could not be read: %(message)s")
        % {"name": source.name, "message": event.payload.get("message", "")},
        href=reverse("sources", args=[brand.slug]),
        is_repetitive=True,
    )
