"""Pages of feed sources: their state, creating and changing them, fetching now, stopping, how to push rows."""

from __future__ import annotations

from copy import copy
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from campaigns.choices import SourceKind, SubjectKind
from campaigns.forms import AddressInput, add_new_problems, save
from campaigns.models import FeedSource
from campaigns.selectors import imports as selectors
from campaigns.selectors import photos as photo_selectors
from campaigns.services import photo_loading
from campaigns.services import sources as services
from core.access import Action
from core.errors import Invalid, NotFound
from core.fetching.redaction import QUERY_PLACEHOLDER
from core.pages import BrandRequest, brand_page, parse_row_id

INTERVALS = [
    (15, gettext_lazy("every 15 minutes")),
    (60, gettext_lazy("every hour")),
    (360, gettext_lazy("every 6 hours")),
    (1440, gettext_lazy("every day")),
    (10080, gettext_lazy("every week")),
]
KINDS = [
    (SubjectKind.PRODUCT, gettext_lazy("products")),
    (SubjectKind.ARTICLE, gettext_lazy("articles")),
    (SubjectKind.CONCEPT, gettext_lazy("concepts")),
]
SHOWN_IMPORTS = 20


class SourceForm(forms.Form):
    """The settings of a source. A source of kind push has neither address nor interval."""

    name = forms.CharField(max_length=120, label=gettext_lazy("Name"))
    url = forms.CharField(
        max_length=2000, label=gettext_lazy("Address"), widget=AddressInput({"placeholder": "https://"})
    )
    every_minutes = forms.TypedChoiceField(choices=INTERVALS, coerce=int, initial=1440, label=gettext_lazy("Fetch it"))
    subject_kind = forms.ChoiceField(choices=KINDS, label=gettext_lazy("Its rows are"))

    def __init__(self, data: Any = None, *, source: FeedSource) -> None:
        initial = {}
        if source.pk:
            initial = {name: getattr(source, name) for name in ("name", "every_minutes", "subject_kind")}
            initial["url"] = source.redacted_url
        super().__init__(data, prefix=source.kind, initial=initial)
        self.source = source
        if source.kind == SourceKind.PUSH:
            del self.fields["url"], self.fields["every_minutes"]
            return
        self.fields["url"].help_text = _("CSV, TSV, XLSX, JSON or XML; also packed with gzip.")
        if QUERY_PLACEHOLDER in self.initial.get("url", ""):
            self.fields["url"].help_text = _(
                "“?…” is what follows the address; it may hold a key and is not shown. "
                "Leave it, and it stays; or enter the whole address."
            )
        every = self.initial.get("every_minutes")
        if every and every not in dict(INTERVALS):
            label = ngettext("every minute", "every %(count)d minutes", every) % {"count": every}
            self.fields["every_minutes"].choices = [*INTERVALS, (every, label)]  # type: ignore[attr-defined]

    def clean(self) -> None:
        add_new_problems(self, services.set_fields(copy(self.source), **self.cleaned_data))


@brand_page(Action.IMPORT_FEED)
def index(request: BrandRequest) -> HttpResponseBase:
    """Show all sources with their state, and the forms for a new one."""
    form = {kind: SourceForm(source=FeedSource(brand=request.brand, kind=kind)) for kind in ("url", "push")}
    if request.method == "POST":
        kind = "push" if "push-name" in request.POST else "url"
        form[kind] = SourceForm(request.POST, source=form[kind].source)
        if made := save(form[kind], services.create, brand=request.brand, by=request.user, kind=kind):
            if kind == SourceKind.URL:
                message = _("%(name)s is set up. It is being fetched now.")
            else:
                message = _("%(name)s is set up. Rows can be sent to it now.")
            messages.success(request, message % {"name": made.name})
            return redirect("source", request.brand.slug, made.slug)
    context = {
        "source_statuses": selectors.list_sources(request.brand, request.user),
        "remembered": selectors.list_saved_mappings(request.brand, request.user),
        "url_form": form["url"],
        "push_form": form["push"],
    }
    return render(request, "campaigns/sources.html", context, status=422 if request.method == "POST" else 200)


@brand_page(Action.IMPORT_FEED)
def detail(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show a source with its imports, error and settings. POST changes it."""
    source_status = selectors.get_source(request.brand, request.user, slug)
    source = source_status.source
    form = SourceForm(request.POST or None, source=source)
    if save(form, services.change, source_id=source.pk, by=request.user):
        messages.success(request, _("%(name)s is changed.") % {"name": source.name})
        return redirect("source", request.brand.slug, source.slug)
    context = {
        "one": source_status,
        "form": form,
        "imports": source.imports.order_by("-pk")[:SHOWN_IMPORTS],
        "with_columns": selectors.list_imports_with_mapping(request.brand, request.user),
        "push_address": settings.SITE_URL + reverse("api:source-rows", args=[request.brand.slug, source.slug]),
    }
    return render(request, "campaigns/source.html", context, status=422 if form.errors else 200)


@require_safe
@brand_page(Action.IMPORT_FEED)
def state(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Return the state of a source, polled while it is being fetched."""
    source_status = selectors.get_source(request.brand, request.user, slug)
    return render(request, "campaigns/source_state.html", {"one": source_status, "is_live": True})


@require_safe
@brand_page()
def photos(request: BrandRequest) -> HttpResponseBase:
    """Return the progress of fetching photos, polled while some are pending."""
    progress = photo_selectors.get_fetch_progress(request.brand, request.user)
    return render(request, "campaigns/photos_fetching.html", {"fetching": progress})


@require_POST
@brand_page(Action.IMPORT_FEED)
def retry_photos(request: BrandRequest) -> HttpResponseBase:
    """Retry the photos that could not be fetched."""
    count = photo_loading.retry_photos(brand=request.brand, by=request.user)
    message = ngettext("%(count)s photo will be fetched again.", "%(count)s photos will be fetched again.", count)
    messages.success(request, message % {"count": f"{count:,}"})
    return redirect("products", request.brand.slug)


@require_POST
@brand_page(Action.IMPORT_FEED)
def act(request: BrandRequest, slug: str, verb: str) -> HttpResponseBase:
    """Fetch, stop or resume a source, or use the columns of the import `import`, depending on `verb`."""
    source = selectors.get_source(request.brand, request.user, slug).source
    if verb == "fetch":
        services.fetch_now(source_id=source.pk, by=request.user)
        message = _("%(name)s is being fetched.")
    elif verb in ("stop", "resume"):
        services.set_enabled(source_id=source.pk, by=request.user, is_enabled=verb == "resume")
        message = _("%(name)s is resumed.") if verb == "resume" else _("%(name)s is stopped.")
    elif verb == "columns":
        chosen = parse_row_id(request.POST.get("import", ""))
        if chosen is None:
            raise Invalid(_("Choose the import whose columns count from now on."))
        services.use_mapping_of_import(source_id=source.pk, import_id=chosen, by=request.user)
        message = _("%(name)s is read with these columns from now on.")
    else:
        raise NotFound(_("There is no action %(verb)r for a source.") % {"verb": verb})
    messages.success(request, message % {"name": source.name})
    return redirect("source", request.brand.slug, source.slug)
