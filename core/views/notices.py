"""A person's notices in a brand: the list, the way to where they can act, and whether they come by mail too."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST, require_safe

from core.errors import NotFound
from core.pages import BrandRequest, brand_page, number
from core.selectors import notices as selectors
from core.services import notices as services

PAGE = 50


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Unread ones first, newest first; `?skip=` goes back."""
    skip = number(request.GET.get("skip", "")) or 0
    rows = list(selectors.mine(user=request.user, brand=request.brand)[skip : skip + PAGE + 1])
    context = {
        "notices": rows[:PAGE],
        "unread": sum(one.read_at is None for one in rows[:PAGE]),
        "older": skip + PAGE if len(rows) > PAGE else None,
        "is_mailing": settings.PROOFLINE["mails_notices"],
    }
    return render(request, "core/notices.html", context)


@require_GET
@brand_page()
def unread(request: BrandRequest) -> HttpResponseBase:
    """Answer with the number of unread notices, for the bell of a page that stays open."""
    answer = JsonResponse({"unread": selectors.unread(user=request.user, brand=request.brand)})
    answer["Cache-Control"] = "no-store"
    return answer


@require_GET
@brand_page()
def follow(request: BrandRequest, notice_id: int) -> HttpResponseBase:
    """Read one notice and go to its page: the one click from the list and from the mail.

    A GET that writes, on purpose: it can be followed from a mail, tells nobody anything, and only its person can.
    """
    notice = services.mark_read(notice_id=notice_id, by=request.user)
    if notice.brand_id != request.brand.pk:
        raise NotFound(f"You have no notice {notice_id} in {request.brand.name}.")
    return redirect(notice.href)


@require_POST
@brand_page()
def act(request: BrandRequest, verb: str) -> HttpResponseBase:
    """Mark all as read, or switch the mail on or off."""
    if verb == "read":
        services.mark_all_read(brand=request.brand, by=request.user)
    elif verb == "mail":
        wanted = request.POST.get("wanted") == "yes"
        services.set_mail(by=request.user, is_wanted=wanted)
        words = f"Notices go to {request.user.email} too." if wanted else "Notices are shown here only, not mailed."
        messages.success(request, words)
    else:
        raise NotFound(f"Notices cannot be told to {verb!r}.")
    return redirect("notices", request.brand.slug)
