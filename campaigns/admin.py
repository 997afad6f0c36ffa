"""Administration of brand guides, style presets and imports. Rows with a page of their own are not here."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.choices import GuideStatus
from campaigns.models import FeedImport, GuideVersion, StylePreset
from campaigns.services import guides, styles
from core.admin_base import ReadOnlyAdmin, ServiceAdmin, get_operator
from core.pages import parse_row_id


@admin.register(GuideVersion)
class GuideVersionAdmin(ServiceAdmin):
    """A change makes a new version. A draft starts with the values of the newest version; publish it from the list."""

    list_display = ["brand", "number", "status", "created_at", "next_version"]
    list_filter = ["status", "brand"]
    list_select_related = ["brand"]
    autocomplete_fields = ["brand"]
    actions = ["publish"]
    add_fields: ClassVar = ("brand", *sorted(guides.FIELDS))
    shown_fields: ClassVar = ("brand", "number", "status", *sorted(guides.FIELDS), "created_at")

    def create(self, request: HttpRequest, form: Any) -> int:
        brand = form.cleaned_data["brand"]
        prefilled = request.GET.get("brand") == str(brand.pk)
        fields = {name: form.cleaned_data[name] for name in guides.FIELDS if prefilled or name in form.changed_data}
        return guides.edit_draft(brand=brand, by=get_operator(request), **fields).pk

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        chosen = parse_row_id(request.GET.get("brand", "")) or 0
        newest = GuideVersion.objects.filter(brand_id=chosen).order_by("-number").first()
        if newest is None:
            return super().get_changeform_initial_data(request)
        return {"brand": newest.brand_id, **{name: getattr(newest, name) for name in guides.FIELDS}}

    @admin.display(description="")
    def next_version(self, guide: GuideVersion) -> str:
        address = reverse("admin:campaigns_guideversion_add", query={"brand": guide.brand_id})
        return format_html('<a href="{}">{}</a>', address, _("Draft the next from the newest"))

    @admin.action(description=gettext_lazy("Publish the chosen drafts"))
    def publish(self, request: HttpRequest, queryset: QuerySet[GuideVersion]) -> None:
        for guide in queryset.filter(status=GuideStatus.DRAFT).order_by("number"):
            guides.publish(guide_id=guide.pk, by=get_operator(request))
            self.message_user(request, _("%(guide)s counts from now on.") % {"guide": guide})


@admin.register(StylePreset)
class StylePresetAdmin(ServiceAdmin):
    """Style presets are created and shown here; they are changed and retired on the page of styles."""

    list_display = ["name", "slug", "brand"]
    list_filter = ["brand"]
    list_select_related = ["brand"]
    autocomplete_fields = ["brand"]
    add_fields: ClassVar = ("brand", "slug", "name", "text", "negative")
    shown_fields: ClassVar = add_fields

    def create(self, request: HttpRequest, form: Any) -> int:
        return styles.create(by=get_operator(request), **form.cleaned_data).pk


@admin.register(FeedImport)
class FeedImportAdmin(ReadOnlyAdmin):
    list_display = [
        "file_name", "brand", "status", "rows", "created", "updated", "error_count", "requested_by", "created_at",
    ]  # fmt: skip
    list_filter = ["status", "brand"]
    list_select_related = ["brand", "requested_by"]
