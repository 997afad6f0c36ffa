"""What of brands, people and events stands on the operators' desk. Rows with a page of their own are not here."""

from __future__ import annotations

from typing import Any, ClassVar

from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django_rq.models import Dashboard
from knox.models import AuthToken

from campaigns import events
from campaigns.choices import GuideStatus
from campaigns.desk import ByService, Desk, ReadOnly, ReadOnlyInline, operator, pretty
from campaigns.fetching import plain
from campaigns.models import Brand, Event, FeedImport, GuideVersion, Membership, SealedEvent, StylePreset, User
from campaigns.pages import number
from campaigns.services import brands, guide_fields, guides, styles

# Roles replace groups, addresses belong to the account, and queues hold nudges only: jobs are rows (docs/states.md).
for unused in (Group, EmailAddress, Dashboard, AuthToken):
    if admin.site.is_registered(unused):
        admin.site.unregister(unused)


class MembershipInline(ReadOnlyInline):
    model = Membership
    fields = ["brand", "role"]
    show_change_link = True
    verbose_name_plural = "memberships (add them under Memberships)"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("brand", "user")


@admin.register(User)
class PersonAdmin(UserAdmin):
    """Accounts. They are switched off, never deleted: events and decisions name them."""

    list_display = ["username", "first_name", "last_name", "email", "is_active", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_superuser"]
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions: Any = []
    filter_horizontal = ()
    inlines = [MembershipInline]
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Access", {"fields": ("is_active", "is_superuser", "is_staff")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ["last_login", "date_joined"]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else []

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Brand)
class BrandAdmin(ByService):
    list_display = ["name", "slug", "currency"]
    search_fields = ["name", "slug"]
    add_fields: ClassVar = ("name", "slug", "currency", "time_zone")
    change_fields: ClassVar = ("time_zone",)
    shown_fields: ClassVar = ("name", "slug", "currency")

    def create(self, request: HttpRequest, form: Any) -> int:
        return brands.create_brand(by=operator(request), **form.cleaned_data).pk

    def change(self, request: HttpRequest, obj: Any, form: Any) -> None:
        brands.set_time_zone(brand_id=obj.pk, time_zone=form.cleaned_data["time_zone"], by=operator(request))


@admin.register(Membership)
class MembershipAdmin(ByService):
    """Given and taken, never changed: the trail then says who had which role when."""

    list_display = ["user", "role", "brand"]
    list_filter = ["role", "brand"]
    list_select_related = ["user", "brand"]
    search_fields = ["user__username", "user__email"]
    autocomplete_fields = ["brand", "user"]
    add_fields: ClassVar = ("brand", "user", "role")
    shown_fields: ClassVar = ("brand", "user", "role")

    def create(self, request: HttpRequest, form: Any) -> int:
        return brands.add_member(by=operator(request), **form.cleaned_data).pk

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        brands.remove_member(membership_id=obj.pk, by=operator(request))


@admin.register(GuideVersion)
class GuideVersionAdmin(ByService):
    """A change is a new version. What a draft leaves as it is comes from the newest; publish it from the list."""

    list_display = ["brand", "number", "status", "created_at", "next_version"]
    list_filter = ["status", "brand"]
    list_select_related = ["brand"]
    autocomplete_fields = ["brand"]
    actions = ["publish"]
    add_fields: ClassVar = ("brand", *sorted(guide_fields.FIELDS))
    shown_fields: ClassVar = ("brand", "number", "status", *sorted(guide_fields.FIELDS), "created_at")

    def create(self, request: HttpRequest, form: Any) -> int:
        brand = form.cleaned_data["brand"]
        prefilled = request.GET.get("brand") == str(brand.pk)
        given = {
            name: form.cleaned_data[name] for name in guide_fields.FIELDS if prefilled or name in form.changed_data
        }
        return guides.draft(brand=brand, by=operator(request), **given).pk

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        chosen = number(request.GET.get("brand", "")) or 0
        newest = GuideVersion.objects.filter(brand_id=chosen).order_by("-number").first()
        if newest is None:
            return super().get_changeform_initial_data(request)
        return {"brand": newest.brand_id, **{name: getattr(newest, name) for name in guide_fields.FIELDS}}

    @admin.display(description="")
    def next_version(self, guide: GuideVersion) -> str:
        address = reverse("admin:campaigns_guideversion_add", query={"brand": guide.brand_id})
        return format_html('<a href="{}">Draft the next from the newest</a>', address)

    @admin.action(description="Publish the chosen drafts")
    def publish(self, request: HttpRequest, queryset: QuerySet[GuideVersion]) -> None:
        for guide in queryset.filter(status=GuideStatus.DRAFT).order_by("number"):
            guides.publish(guide_id=guide.pk, by=operator(request))
            self.message_user(request, f"{guide} counts from now on.")


@admin.register(StylePreset)
class StylePresetAdmin(ByService):
    """Written and read here; changed and retired on the page of styles."""

    list_display = ["name", "slug", "brand"]
    list_filter = ["brand"]
    list_select_related = ["brand"]
    autocomplete_fields = ["brand"]
    add_fields: ClassVar = ("brand", "slug", "name", "text", "negative")
    shown_fields: ClassVar = add_fields

    def create(self, request: HttpRequest, form: Any) -> int:
        return styles.create(by=operator(request), **form.cleaned_data).pk


@admin.register(FeedImport)
class FeedImportAdmin(ReadOnly):
    list_display = [
        "file_name",
        "brand",
        "status",
        "rows",
        "created",
        "updated",
        "error_count",
        "requested_by",
        "created_at",
    ]
    list_filter = ["status", "brand"]
    list_select_related = ["brand", "requested_by"]


class EventType(admin.SimpleListFilter):
    """The declared types: asking the table for its distinct ones would read all of it."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(events.TYPES)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(ReadOnly):
    list_display = ["id", "at", "type", "object_type", "object_id", "actor_label", "brand"]
    list_filter = ["brand", EventType]
    list_select_related = ["brand"]
    search_fields = ["object_id__exact"]
    search_help_text = "Number of the object, such as 4711"
    fields = ["brand", "type", "object_type", "object_id", "payload_lines", "actor", "actor_label", "at", "xid"]
    readonly_fields = ["payload_lines"]

    @admin.display(description="payload")
    def payload_lines(self, event: Event) -> str:
        return pretty(plain(event.payload))


@admin.register(SealedEvent)
class SealedEventAdmin(ReadOnly):
    list_display = ["seq", "brand", "event", "short_hash"]
    list_filter = ["brand"]
    list_select_related = ["brand", "event"]
    search_fields = ["seq__exact", "hash__exact"]
    search_help_text = "Number in the chain, or a whole hash"

    @admin.display(description="hash")
    def short_hash(self, sealed: SealedEvent) -> str:
        return sealed.hash[:16]


@admin.register(AuthToken)
class TokenAdmin(Desk):
    """Tokens of the API by their first characters; deleting one ends it. They are made over the API, shown once."""

    list_display = ["token_key", "user", "created", "expiry"]
    list_select_related = ["user"]
    search_fields = ["token_key", "user__username"]
    fields = ["token_key", "user", "created", "expiry"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True
