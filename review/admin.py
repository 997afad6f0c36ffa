"""Administration of checklists, reasons, destinations and decisions."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from core.admin_base import (
    IndentedJSONEncoder,
    ReadOnlyAdmin,
    ReadOnlyInline,
    ServiceAdmin,
    ServiceForm,
    StoredJSON,
    get_operator,
    pretty_json,
)
from core.config_fields import ConfigFields
from core.fetching import redact_json, redact_settings
from core.models import User
from generation.selectors import inputs
from review import models
from review.delivery import base as delivery
from review.services import checklists, destinations, reasons


class ChecklistForm(ServiceForm):
    by: ClassVar[User | None] = None
    items = StoredJSON(
        encoder=IndentedJSONEncoder,
        widget=forms.Textarea(attrs={"rows": 16, "cols": 90, "spellcheck": "false"}),
        help_text=gettext_lazy(
            '[{"code": "colour", "sentence": "The colour is the product\'s.", "mode": "ask" or "by_exception"}]. '
            "A change is published as the next version; open tasks keep theirs."
        ),
    )
    look_again = forms.ChoiceField(required=False, label=gettext_lazy("For which images a change counts"), initial="no")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "look_again" in self.fields:
            count = inputs.count_approved(self.by, self.instance.brand) if self.by else 0
            yes_label = ngettext(
                "Also have the %(count)s approved image looked at again",
                "Also have the %(count)s approved images looked at again",
                count,
            ) % {"count": f"{count:,}"}
            choices = [("no", _("From now on; approved images stay approved")), ("yes", yes_label)]
            self.fields["look_again"].choices = choices  # type: ignore[attr-defined]
        if self.instance.pk and "items" in self.fields:
            newest = self.instance.versions.order_by("-number").first()
            self.initial["items"] = newest.items if newest else []

    def clean_items(self) -> Any:
        items = self.cleaned_data["items"]
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise forms.ValidationError(_("Give a list of items, each with a code, a sentence and a mode."))
        return items


@admin.register(models.Checklist)
class ChecklistAdmin(ServiceAdmin):
    form = ChecklistForm
    list_display = ["name", "stage", "position", "slots", "due_hours", "brand"]
    list_filter = ["brand"]
    search_fields = ["name", "stage"]
    autocomplete_fields = ["brand"]
    add_fields: ClassVar = ("brand", "stage", "name", "position", "slots", "due_hours", "items")
    shown_fields: ClassVar = ("brand", "stage", "name", "position", "slots", "due_hours")
    change_fields: ClassVar = ("items", "look_again")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"by": get_operator(request)})

    def create(self, request: HttpRequest, form: Any) -> int:
        given = {name: form.cleaned_data[name] for name in self.add_fields}
        return checklists.create(by=get_operator(request), **given).checklist_id

    def change(self, request: HttpRequest, obj: Any, form: Any) -> None:
        if "items" in form.changed_data:
            checklists.publish_version(
                checklist_id=obj.pk,
                by=get_operator(request),
                items=form.cleaned_data["items"],
                look_again=form.cleaned_data.get("look_again") == "yes",
            )


@admin.register(models.ChecklistVersion)
class ChecklistVersionAdmin(ReadOnlyAdmin):
    list_display = ["checklist", "number", "created_by", "created_at"]
    list_filter = ["checklist__brand"]
    fields = ["checklist", "number", "item_lines", "created_by", "created_at"]
    readonly_fields = ["item_lines"]

    @admin.display(description=gettext_lazy("items"))
    def item_lines(self, version: models.ChecklistVersion) -> str:
        return pretty_json(version.items)


@admin.register(models.Reason)
class ReasonAdmin(ServiceAdmin):
    list_display = ["label", "code", "position", "is_active", "brand"]
    list_filter = ["brand", "is_active"]
    search_fields = ["label", "code"]
    autocomplete_fields = ["brand"]
    add_fields: ClassVar = ("brand", "code", "label", "position", "is_active")
    shown_fields: ClassVar = ("brand", "code")
    change_fields: ClassVar = ("label", "position", "is_active")

    def create(self, request: HttpRequest, form: Any) -> int:
        return reasons.save(by=get_operator(request), **form.cleaned_data).pk

    def change(self, request: HttpRequest, obj: Any, form: Any) -> None:
        reasons.save(brand=obj.brand, code=obj.code, by=get_operator(request), **form.cleaned_data)


class DestinationForm(ServiceForm):
    """A form with the settings of every kind, or of the destination's own, whose secret is write-only."""

    new_secret = forms.CharField(
        required=False, max_length=200, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy("Nobody can read it again. Left empty, the one that is kept stays."),
    )  # fmt: skip

    class Meta:
        model = models.Destination
        exclude: ClassVar[list[str]] = ["config"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "kind" in self.fields:
            kinds = [(kind.kind, _(kind.label)) for kind in delivery.DESTINATIONS]
            self.fields["kind"] = forms.ChoiceField(choices=kinds)
        for settings in _settings_by_kind(self.instance).values():
            self.initial = {**self.initial, **settings.initial}
            self.fields |= settings.make()

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        if settings := _settings_by_kind(self.instance).get(self.instance.kind or cleaned.get("kind", "")):
            cleaned["config"] = settings.read(self, cleaned, self.instance.config)
        return cleaned

    def find_field(self, pointer: str) -> str | None:
        """Return the field of a problem, such as "config/path" of a folder: `folder_path`."""
        if pointer == "config/secret":
            return "new_secret"
        kind = self.instance.kind or self.cleaned_data.get("kind", "")
        name = f"{kind}_{pointer.partition('/')[2]}"
        return name if name in self.fields else super().find_field(pointer)


def _settings_by_kind(destination: models.Destination | None) -> dict[str, ConfigFields]:
    """Return the fields of the settings, those of every kind for a new destination."""
    config = redact_settings(destination.config) if destination else {}
    kinds = [destination.kind] if destination and destination.kind else delivery.DESTINATIONS.names()
    offered = [kind for kind in kinds if kind in delivery.DESTINATIONS]
    return {kind: ConfigFields(delivery.DESTINATIONS.get(kind).config, config, f"{kind}_") for kind in offered}


@admin.register(models.Destination)
class DestinationAdmin(ServiceAdmin):
    form = DestinationForm
    list_display = ["name", "slug", "kind", "is_enabled", "disabled_reason", "has_secret", "brand"]
    list_filter = ["kind", "is_enabled", "brand"]
    search_fields = ["name", "slug"]
    autocomplete_fields = ["brand"]
    add_fields: ClassVar = ("brand", "slug", "name", "kind", "new_secret")
    shown_fields: ClassVar = ("brand", "slug", "kind", "has_secret", "disabled_reason")
    change_fields: ClassVar = ("name", "new_secret", "is_enabled")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form; fields that it makes itself are unknown to Django, which asks for those of the model."""
        return super().get_form(request, obj, change=change, fields=self.get_fields(request, obj, with_settings=False))

    def get_fields(self, request: HttpRequest, obj: Any = None, with_settings: bool = True) -> Any:
        fields = super().get_fields(request, obj)
        settings = _settings_by_kind(obj).values() if with_settings else ()
        return (*fields, *(name for of_kind in settings for name in of_kind.settings))

    @admin.display(boolean=True, description=gettext_lazy("has a secret"))
    def has_secret(self, destination: models.Destination) -> bool:
        return bool(destination.sealed_secret)

    def create(self, request: HttpRequest, form: Any) -> int:
        given = {name: form.cleaned_data[name] for name in ("brand", "slug", "name", "kind", "config")}
        return destinations.create(by=get_operator(request), secret=form.cleaned_data["new_secret"], **given).pk

    def change(self, request: HttpRequest, obj: Any, form: Any) -> None:
        changed = set(form.changed_data)
        given = {name: form.cleaned_data[name] for name in ("name", "is_enabled") if name in changed}
        if changed - {"name", "is_enabled", "new_secret"}:
            given["config"] = form.cleaned_data["config"]
        secret = form.cleaned_data["new_secret"] or None
        destinations.change(destination_id=obj.pk, by=get_operator(request), secret=secret, **given)


class DeliveryAttemptInline(ReadOnlyInline):
    model = models.DeliveryAttempt
    fields = ["number", "is_success", "status_code", "message", "started_at", "ended_at"]


class DeliveryStepInline(ReadOnlyInline):
    model = models.DeliveryStep
    fields = ["key", "state", "result", "sent_at", "ended_at"]


@admin.register(models.Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ["asset", "destination", "desired", "observed", "attempts", "due_at", "error"]
    list_filter = ["desired", "observed"]
    search_fields = ["asset_id__exact"]
    search_help_text = gettext_lazy("Number of the asset")
    inlines = [DeliveryAttemptInline, DeliveryStepInline]


@admin.register(models.ImageFeed)
class ImageFeedAdmin(ReadOnlyAdmin):
    list_display = ["name", "layout", "campaign", "is_enabled", "fetched_at", "content_changed_at", "brand"]
    list_filter = ["layout", "is_enabled", "brand"]
    search_fields = ["name"]
    fields = [
        *("brand", "name", "layout", "campaign", "main_spec", "additional_specs", "id_attribute", "destination"),
        *("takes_disclaimers", "is_enabled", "fetched_at", "content_changed_at", "created_at"),
    ]


@admin.register(models.WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    list_display = ["name", "redacted_url", "is_enabled", "failing_since", "disabled_reason", "brand"]
    list_filter = ["is_enabled", "brand"]
    search_fields = ["name"]
    fields = [
        *("brand", "name", "redacted_url", "events", "is_enabled", "disabled_reason", "failing_since"),
        *("secret_shown_at", "previous_secret_until", "created_at"),
    ]


class WebhookAttemptInline(ReadOnlyInline):
    model = models.WebhookAttempt
    fields = ["number", "status_code", "milliseconds", "answer", "error", "started_at"]


@admin.register(models.WebhookMessage)
class WebhookMessageAdmin(ReadOnlyAdmin):
    list_display = ["event_id", "type", "endpoint", "state", "attempts", "due_at", "error"]
    list_filter = ["state", "type"]
    search_fields = ["event_id__exact"]
    search_help_text = gettext_lazy("Id of the message")
    fields = [
        *("endpoint", "event_id", "type", "state", "error", "attempts", "due_at", "deaths", "created_at"),
        *("delivered_at", "payload_lines"),
    ]
    readonly_fields = ["payload_lines"]
    inlines = [WebhookAttemptInline]

    @admin.display(description=gettext_lazy("payload"))
    def payload_lines(self, message: models.WebhookMessage) -> str:
        return pretty_json(redact_json(message.payload))


@admin.register(models.ReviewTask)
class ReviewTaskAdmin(ReadOnlyAdmin):
    list_display = ["id", "asset", "stage", "state", "round", "claimed_by", "claimed_until", "due_at", "brand"]
    list_filter = ["state", "brand"]
    search_fields = ["asset_id__exact"]
    search_help_text = gettext_lazy("Number of the asset")


@admin.register(models.Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "task", "version", "decided_by", "decided_at", "reason"]
    list_filter = ["kind"]
    search_fields = ["task__asset_id__exact"]
    search_help_text = gettext_lazy("Number of the asset")
