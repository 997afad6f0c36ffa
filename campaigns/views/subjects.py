"""Pages of subjects: the list with readiness, one subject, creating articles and concepts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from campaigns.choices import PhotoRole, SubjectKind
from campaigns.forms import RowForm, RowFormSet, add_new_problems
from campaigns.models import Subject
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import photos as photo_rows
from campaigns.selectors import readiness
from campaigns.selectors import subjects as selectors
from campaigns.services import campaigns as campaign_services
from campaigns.services import subjects as services
from campaigns.views.imports import KINDS
from core.access import Action
from core.errors import Invalid
from core.pages import BrandRequest, brand_page

SHOWN_KNOWN = 3


class NameForm(forms.Form):
    name = forms.CharField(required=False, widget=forms.TextInput({"maxlength": 300, "required": True}))


class AttributeForm(RowForm):
    label = forms.CharField(required=False, widget=forms.TextInput({
        "class": "input", "placeholder": gettext_lazy("finish"), "aria-label": gettext_lazy("Name of an attribute")
    }))  # fmt: skip
    value = forms.CharField(required=False, widget=forms.TextInput({
        "class": "input", "placeholder": gettext_lazy("matt"), "aria-label": gettext_lazy("Value of the attribute")
    }))  # fmt: skip


AttributeFormSet: Any = forms.formset_factory(AttributeForm, formset=RowFormSet, extra=2)


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Show a brand's subjects of one kind by key.

    `?kind=`; `?q=` words; `?ready=` a state of readiness; `?campaign=` a slug: only its subjects, checked by its specs;
    `?retired=1`; `?after=`, `?before=` a key.
    """
    filters = _read_filters(request)
    slug = request.GET.get("campaign", "")
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug) if slug else None
    campaign_id = campaign.pk if campaign else None
    fill = readiness.get_fill(request.brand)
    rows = selectors.visible(
        request.user, request.brand, kind=filters["kind"], is_active=not filters["retired"], words=filters["q"]
    )
    if campaign:
        rows = rows.filter(campaigns=campaign)
    is_product = filters["kind"] == SubjectKind.PRODUCT
    counts = {}
    if is_product and not filters["retired"]:
        counts = readiness.count_by_state(request.brand, filters["kind"], campaign_id=campaign_id, fill=fill)
        if filters["ready"]:
            state = filters["ready"]
            ids = readiness.ids_sql(request.brand, filters["kind"], state, campaign_id=campaign_id, fill=fill)
            rows = rows.filter(pk__in=ids)
    page = selectors.page(rows, after=request.GET.get("after", ""), before=request.GET.get("before", ""))
    needed = ("cutout",) if is_product else ()
    shown = [subject.pk for subject in page.subjects]
    specs = list(campaign.output_specs.all()) if campaign else readiness.specs_by_subject(shown)
    ready = readiness.assess(page.subjects, specs=specs, images_needed=needed, fill=fill)
    context = {
        **filters,
        "page": page,
        "lines": [
            (subject, ready[subject.pk], readiness.get_used_photo(subject.photos.all())) for subject in page.subjects
        ],
        "count": selectors.count_capped(rows),
        "most": selectors.MAX_COUNTED,
        "kinds": KINDS,
        "is_product": is_product,
        "fetching": photo_rows.get_fetch_progress(request.brand, request.user) if is_product else None,
        "states": [(state, readiness.WORDS[state], readiness.TONES[state], counts.get(state, 0)) for state in counts],
        "campaign": campaign,
        "campaigns": campaign_selectors.visible(request.user, brand_id=request.brand.pk),
    }
    return render(request, "campaigns/products.html", context)


@require_safe
@brand_page()
def detail(request: BrandRequest, pk: int) -> HttpResponseBase:
    subject = selectors.get(request.user, request.brand, pk)
    rows = [{"label": label, "value": value} for label, value in subject.attributes.items()]
    attributes = AttributeFormSet(prefix="attributes", initial=rows)
    return _page(request, subject, NameForm(initial={"name": subject.name}), attributes)


def _page(request: BrandRequest, subject: Subject, form: NameForm, attributes: Any) -> HttpResponseBase:
    """Render the page of a subject, with the forms of its name and attributes as they were refused."""
    shown = list(subject.photos.all())
    specs = [spec for campaign in subject.campaigns.all() for spec in campaign.output_specs.all()]
    needed = ("cutout",) if subject.kind == SubjectKind.PRODUCT or shown else ()
    fill = readiness.get_fill(request.brand)
    ready = readiness.assess([subject], specs=specs, images_needed=needed, fill=fill)[subject.pk]
    pairs = [(photo, next(iter(photo.cutouts.all()), None)) for photo in shown]
    context = {
        "subject": subject,
        "photos": [(photo, cutout, readiness.needs_review(cutout)) for photo, cutout in pairs],
        "removed": photo_rows.list_removed(request.user, subject)[:12],
        "ready": ready,
        "duplicates": photo_rows.find_photos_with_same_files(request.user, subject, shown),
        "roles": PhotoRole.choices,
        "seen": request.POST.get("seen") or services.form_version(subject),
        "history": selectors.list_subject_history(request.user, subject),
        "form": form,
        "attributes": attributes,
    }
    return render(request, "campaigns/product.html", context, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@brand_page(Action.EDIT_CAMPAIGN)
def new(request: BrandRequest) -> HttpResponseBase:
    """Create articles or concepts from a list of titles, one per line, and add them to the chosen campaign."""
    kind = request.POST.get("kind") or request.GET.get("kind") or SubjectKind.ARTICLE
    context: dict[str, Any] = {
        "kind": kind,
        "kinds": KINDS,
        "titles": request.POST.get("titles", ""),
        "campaigns": campaign_selectors.visible(request.user, brand_id=request.brand.pk),
        "chosen": request.POST.get("campaign", ""),
    }
    if request.method == "POST":
        try:
            return _create(request, kind)
        except Invalid as refusal:
            context |= {"refusal": refusal}
    return render(request, "campaigns/subjects_new.html", context, status=422 if "refusal" in context else 200)


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def edit(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Save name and attributes of a subject; attributes without a value are dropped."""
    subject, form = selectors.get(request.user, request.brand, pk), NameForm(request.POST)
    attributes = AttributeFormSet(request.POST, prefix="attributes")
    rows = [(row["attributes_label"], row["attributes_value"]) for row in attributes.typed_rows]
    seen = request.POST.get("seen", "")
    try:
        services.edit(subject_id=pk, by=request.user, name=request.POST.get("name"), attributes=rows, seen=seen)
    except Invalid as refusal:
        add_new_problems(form, refusal.problems)
        others = [problem for problem in refusal.problems if problem.pointer != "name"]
        attributes.add_refusal(Invalid(refusal.message, others))
        return _page(request, subject, form, attributes)
    messages.success(request, _("Changed. A later feed may change what it names again."))
    return redirect("product", request.brand.slug, pk)


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def switch(request: BrandRequest, pk: int, verb: str) -> HttpResponseBase:
    """Retire a subject, or restore it."""
    selectors.get(request.user, request.brand, pk)
    subject = services.set_active(subject_id=pk, by=request.user, is_active=verb != "retire")
    message = _("%(key)s takes no part in new runs.")
    if subject.is_active:
        message = _("%(key)s takes part in new runs again.")
    messages.success(request, message % {"key": subject.key})
    return redirect("product", request.brand.slug, pk)


def _read_filters(request: BrandRequest) -> dict[str, Any]:
    kind = request.GET.get("kind", "")
    state = request.GET.get("ready", "")
    return {
        "kind": kind if kind in SubjectKind.values else SubjectKind.PRODUCT.value,
        "q": request.GET.get("q", "").strip()[:200].replace("\0", ""),
        "ready": state if state in readiness.STATES else "",
        "retired": request.GET.get("retired") == "1",
    }


def _create(request: BrandRequest, kind: str) -> HttpResponseBase:
    entries = services.read_titles(request.POST.get("titles", ""))
    made, existing = services.create(brand=request.brand, kind=kind, entries=entries, by=request.user)
    slug = request.POST.get("campaign", "")
    if slug and made:
        campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
        ids = [subject.pk for subject in made]
        campaign_services.add_subjects(campaign_id=campaign.pk, subject_ids=ids, by=request.user)
    count = len(made)
    written = {
        SubjectKind.PRODUCT: ngettext("%(count)d product written.", "%(count)d products written.", count),
        SubjectKind.ARTICLE: ngettext("%(count)d article written.", "%(count)d articles written.", count),
        SubjectKind.CONCEPT: ngettext("%(count)d concept written.", "%(count)d concepts written.", count),
    }
    sentences = [written[SubjectKind(kind)] % {"count": count}]
    if existing:
        names = ", ".join(f"“{name[:60]}”" for name in existing[:SHOWN_KNOWN])
        names += " …" if len(existing) > SHOWN_KNOWN else ""
        sentences.append(_("%(count)d were there already: %(names)s.") % {"count": len(existing), "names": names})
    messages.success(request, " ".join(sentences))
    return redirect(f"{reverse('products', args=[request.brand.slug])}?kind={kind}")
