"""Administration of people, brands, roles, events and API tokens. Rows with a page of their own are not here."""

from __future__ import annotations

from typing import Any, ClassVar

from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django_rq.models import Dashboard
from knox.models import AuthToken

from core.admin_base import BaseAdmin, ReadOnlyAdmin, ReadOnlyInline, ServiceAdmin, get_operator, pretty_json
from core.events import TYPES
from core.fetching import redact_json
from core.models import Brand, Event, Membership, SealedEvent, User
from core.services import brands

# Roles replace groups, addresses belong to the account, and queues have only wake-up messages: jobs are rows
# (docs/states.md).
for unused in (Group, EmailAddress, Dashboard, AuthToken):
    if admin.site.is_registered(unused):
        admin.site.unregister(unused)


class MembershipInline(ReadOnlyInline):
    model = Membership
    fields = ["brand", "role"]
    show_change_link = True
    verbose_name_plural = _("memberships (add them under Memberships)")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("brand", "user")


@admin.register(User)
class PersonAdmin(BaseAdmin, UserAdmin):
    """Accounts. They are deactivated, never deleted, because events refer to them."""

    list_display = ["username", "first_name", "last_name", "email", "is_active", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_superuser"]
    filter_horizontal = ()
    inlines = [MembershipInline]
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email")}),
        (_("Access"), {"fields": ("is_active", "is_superuser", "is_staff")}),
        (_("Times"), {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ["last_login", "date_joined"]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else []


@admin.register(Brand)
class BrandAdmin(ServiceAdmin):
    list_display = ["name", "slug", "currency"]
    search_fields = ["name", "slug"]
    add_fields: ClassVar = ("name", "slug", "currency", "time_zone")
    change_fields: ClassVar = ("time_zone",)
    shown_fields: ClassVar = ("name", "slug", "currency")

    def create(self, request: HttpRequest, form: Any) -> int:
        return brands.create_brand(by=get_operator(request), **form.cleaned_data).pk

    def change(self, request: HttpRequest, obj: Any, form: Any) -> None:
        brands.change(brand_id=obj.pk, by=get_operator(request), **form.cleaned_data)


@admin.register(Membership)
class MembershipAdmin(ServiceAdmin):
    """Memberships are added and removed, never changed, so that the trail says who had which role when."""

    list_display = ["user", "role", "brand"]
    list_filter = ["role", "brand"]
    search_fields = ["user__username", "user__email"]
    autocomplete_fields = ["brand", "user"]
    add_fields: ClassVar = ("brand", "user", "role")
    shown_fields: ClassVar = ("brand", "user", "role")
    can_delete = True

    def create(self, request: HttpRequest, form: Any) -> int:
        return brands.add_member(by=get_operator(request), **form.cleaned_data).pk

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        brands.remove_member(membership_id=obj.pk, by=get_operator(request))


class EventType(admin.SimpleListFilter):
    """Filter by the declared types; a query for distinct types would read the whole table."""

    title = _("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(TYPES)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["id", "at", "type", "object_type", "object_id", "actor_label", "brand"]
    list_filter = ["brand", EventType]
    search_fields = ["object_id__exact"]
    search_help_text = _("Number of the object, such as 4711")
    fields = ["brand", "type", "object_type", "object_id", "payload_lines", "actor", "actor_label", "at", "xid"]
    readonly_fields = ["payload_lines"]

    @admin.display(description=_("payload"))
    def payload_lines(self, event: Event) -> str:
        return pretty_json(redact_json(event.payload))


@admin.register(SealedEvent)
class SealedEventAdmin(ReadOnlyAdmin):
    list_display = ["seq", "brand", "event", "short_hash"]
    list_filter = ["brand"]
    search_fields = ["seq__exact", "hash__exact"]
    search_help_text = _("Number in the chain, or a whole hash")

    @admin.display(description=_("hash"))
    def short_hash(self, sealed: SealedEvent) -> str:
        return sealed.hash[:16]


@admin.register(AuthToken)
class TokenAdmin(ReadOnlyAdmin):
    """API tokens by their first characters; deleting a token revokes it. The API creates them and shows them once."""

    list_display = ["token_key", "user", "created", "expiry"]
    search_fields = ["token_key", "user__username"]
    fields = ["token_key", "user", "created", "expiry"]
    sortable_by = list_display
    can_delete = True
