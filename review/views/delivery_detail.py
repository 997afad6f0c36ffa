"""Pages of one delivery: its state, what is served, its attempts, its alt text, and the choice of a product."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from campaigns.forms import add_problems
from core.access import Action
from core.errors import Conflict, Invalid, NotFound
from core.pages import BrandRequest, brand_page
from review.models import Delivery
from review.selectors import deliveries as selectors
from review.services import delivery_requests, destination_checks, destinations
from review.views.deliveries import add_words

LAST_ATTEMPTS = 20


class AltTextForm(forms.Form):
    alt_text = forms.CharField(
        label=gettext_lazy("Alt text"), required=False, max_length=delivery_requests.MAX_ALT_TEXT,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Read to people who do not see the image. Empty: the product’s name."),
    )  # fmt: skip
    is_everywhere = forms.BooleanField(
        label=gettext_lazy("At every destination of this image"), required=False, initial=True
    )


class ProductForm(forms.Form):
    product = forms.CharField(
        label=gettext_lazy("Product"), max_length=200,
        help_text=gettext_lazy("Its id there, as the address of its page or its export shows it."),
    )  # fmt: skip


@require_safe
@brand_page()
def detail(request: BrandRequest, delivery_id: int) -> HttpResponseBase:
    delivery = selectors.get(request.user, request.brand, delivery_id)
    return _page(request, delivery)


@require_POST
@brand_page(Action.DELIVER)
def set_alt_text(request: BrandRequest, delivery_id: int) -> HttpResponseBase:
    delivery = selectors.get(request.user, request.brand, delivery_id)
    form = AltTextForm(request.POST)
    if form.is_valid():
        changed = delivery_requests.set_alt_text(delivery_id=delivery.pk, by=request.user, **form.cleaned_data)
        messages.success(request, _("The alt text is changed.") if changed else _("The alt text is as it was."))
        return redirect("delivery", request.brand.slug, delivery.pk)
    return _page(request, delivery, form=form, status=422)


@brand_page(Action.EDIT_BRAND)
def choose_product(request: BrandRequest, delivery_id: int) -> HttpResponseBase:
    """Choose the product of a destination that was not found by itself, and try the delivery again.

    `?q=` searches the destination's products.
    """
    delivery = selectors.get(request.user, request.brand, delivery_id)
    destination = delivery.destination
    if not (label := selectors.product_label(destination)):
        raise NotFound(_("%(name)s finds its products by itself.") % {"name": destination.name})
    text = request.GET.get("q", "").strip()[:200]
    search = None
    if text and destination_checks.can_search(destination):
        search = destination_checks.find_products(destination_id=destination.pk, text=text, by=request.user)
    if request.headers.get("HX-Request"):
        return render(request, "review/delivery_products.html", {"search": search})
    form = ProductForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        product, sku = form.cleaned_data["product"].strip(), delivery.asset.subject.key
        try:
            destinations.choose_product(destination_id=destination.pk, sku=sku, product=product, by=request.user)
        except (Invalid, Conflict) as refusal:
            add_problems(form, refusal)
        else:
            _retry(request, delivery)
            return redirect("delivery", request.brand.slug, delivery.pk)
    context = {"delivery": delivery, "form": form, "label": label, "example": _example(delivery)}
    context |= {"text": text, "search": search, "can_search": destination_checks.can_search(destination)}
    return render(request, "review/delivery_product.html", context, status=422 if form.is_bound else 200)


def _retry(request: BrandRequest, delivery: Delivery) -> None:
    """Try the delivery again with its product. Another person may have done so already."""
    try:
        delivery_requests.retry(delivery_id=delivery.pk, by=request.user)
    except Conflict as refusal:
        messages.warning(request, _("The product is kept. %(why)s") % {"why": refusal.message})
    else:
        messages.success(request, _("The product is kept, and the delivery is tried again now."))


def _example(delivery: Delivery) -> str:
    """Return what the kind's setting gives as an example."""
    plugin = selectors.find_plugin(delivery.destination)
    return plugin.config.settings()[plugin.product_setting].example if plugin else ""


def _page(
    request: BrandRequest, delivery: Delivery, *, form: AltTextForm | None = None, status: int = 200
) -> HttpResponseBase:
    add_words(delivery)
    context = {
        "delivery": delivery,
        "attempts": sorted(delivery.attempt_rows.all(), key=lambda row: -row.number)[:LAST_ATTEMPTS],
        "form": form or AltTextForm(initial={"alt_text": delivery.alt_text, "is_everywhere": True}),
        "zone": request.brand.zone,
    }
    return render(request, "review/delivery.html", context, status=status)
