"""A person's notices in a brand: the list, the redirect to the page of a notice, and the choice of mail."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST, require_safe

from core.errors import NotFound
from core.pages import BrandRequest, brand_page, parse_row_id
from core.selectors import notices as selectors
from core.services import notices as services

PAGE = 50


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """List the notices, unread first, then newest first; `?skip=` shows older ones."""
    skip = parse_row_id(request.GET.get("skip", "")) or 0
    rows = list(selectors.list_notices(user=request.user, brand=request.brand)[skip : skip + PAGE + 1])
    context = {
        "notices": rows[:PAGE],
        "unread": sum(notice.read_at is None for notice in rows[:PAGE]),
        "older": skip + PAGE if len(rows) > PAGE else None,
        "is_mailing": settings.PROOFLINE["mails_notices"],
    }
    return render(request, "core/notices.html", context)


@require_GET
@brand_page()
def unread(request: BrandRequest) -> HttpResponseBase:
    unread_count = selectors.count_unread(user=request.user, brand=request.brand)
    return JsonResponse({"unread": unread_count}, headers={"Cache-Control": "no-store"})


@require_GET
@brand_page()
def follow(request: BrandRequest, notice_id: int) -> HttpResponseBase:
    """Mark a notice as read and redirect to its page. This GET writes on purpose: a link in a mail must work."""
    notice = services.mark_read(notice_id=notice_id, by=request.user)
    if notice.brand_id != request.brand.pk:
        names = {"id": notice_id, "brand": request.brand.name}
        raise NotFound(_("You have no notice %(id)d in %(brand)s.") % names)
    return redirect(notice.href)


@require_POST
@brand_page()
def act(request: BrandRequest, verb: str) -> HttpResponseBase:
    if verb == "read":
        services.mark_all_read(brand=request.brand, by=request.user)
    elif verb == "mail":
        is_wanted = request.POST.get("wanted") == "yes"
        services.set_mail(by=request.user, is_wanted=is_wanted)
        shown_only = _("Notices are shown here only, not mailed.")
        mailed = _("Notices go to %(address)s too.") % {"address": request.user.email}
        messages.success(request, mailed if is_wanted else shown_only)
    else:
        raise NotFound(_("There is no action %(verb)r for notices.") % {"verb": verb})
    return redirect("notices", request.brand.slug)
