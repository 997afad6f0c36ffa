"""Administration of endpoints, models, workers, jobs and the ledger."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.admin_base import ReadOnlyAdmin, ReadOnlyInline, ServiceAdmin, ServiceForm, get_operator, pretty_json
from core.config_fields import ConfigFields, SettingsArea
from core.fetching import redact_settings
from generation.engines import base as engines
from generation.models import Attempt, Endpoint, Job, JobSpec, LedgerEntry, LocalModel, Master, Worker
from generation.services.endpoints import editing, local_models


def _config_fields(endpoint: Endpoint | None) -> ConfigFields | None:
    """Return the fields of the engine's settings; None for a new endpoint, whose engine is not chosen yet."""
    plugins = {plugin.name: plugin for plugin in engines.list_declarations()}
    if endpoint is None or endpoint.engine not in plugins:
        return None
    return ConfigFields(plugins[endpoint.engine].config, redact_settings(endpoint.config), "setting_")


class EndpointForm(ServiceForm):
    """The form of an endpoint. It takes a new secret and never shows the stored one. Each setting that the engine of a
    stored endpoint declares has a field of its own; all others are JSON."""

    new_secret = forms.CharField(
        required=False, max_length=10_000, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy("API key or token; nobody can read it again. Left empty, the one that is kept stays."),
    )  # fmt: skip

    class Meta:
        model = Endpoint
        exclude = ["sealed_secret"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = _config_fields(self.instance)
        if "config" in self.fields:
            self.fields["config"].widget = SettingsArea()
            self.fields["config"].show_hidden_initial = False  # it would repeat what is hidden
            config = redact_settings(self.instance.config)
            if self.settings:
                own = {setting.name for setting in self.settings.settings.values()}
                config = {name: value for name, value in config.items() if name not in own}
                self.initial = {**self.initial, **self.settings.initial}
                self.fields |= self.settings.make()
            self.initial["config"] = config
        if "engine" in self.fields:
            choices = [(plugin.name, _(plugin.label)) for plugin in engines.list_declarations()]
            help_text = _("the plug-in that makes the images")
            self.fields["engine"] = forms.ChoiceField(choices=choices, help_text=help_text)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        if self.settings and isinstance(cleaned.get("config"), dict):
            cleaned["config"] = cleaned["config"] | self.settings.read(self, cleaned, self.instance.config)
        return cleaned

    def find_field(self, pointer: str) -> str | None:
        """Return the field of a problem, such as "config/model": `setting_model`."""
        name = f"setting_{pointer.partition('/')[2]}"
        return name if name in self.fields else super().find_field(pointer)


@admin.register(Endpoint)
class EndpointAdmin(ServiceAdmin):
    """Administration of endpoints. The history shows old and new values, as the audit trail does."""

    form = EndpointForm
    list_display = ["name", "slug", "engine", "lane", "price_per_image", "seconds_per_image", "is_enabled", "brand"]
    list_filter = ["lane", "is_enabled"]
    list_select_related = ["brand"]
    search_fields = ["name", "slug"]
    autocomplete_fields = ["brand"]
    add_fields: ClassVar = ("brand", "slug", "engine", *editing.CHANGEABLE, "new_secret")
    shown_fields: ClassVar = ("brand", "slug", "engine", "has_secret")
    change_fields: ClassVar = (*editing.CHANGEABLE, "new_secret", "is_enabled")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form; fields that it makes itself are unknown to Django, which asks for those of the model."""
        return super().get_form(request, obj, change=change, fields=super().get_fields(request, obj))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        settings = _config_fields(obj)
        return (*super().get_fields(request, obj), *(settings.settings if settings else ()))

    @admin.display(boolean=True, description=gettext_lazy("has a secret"))
    def has_secret(self, endpoint: Endpoint) -> bool:
        return bool(endpoint.sealed_secret)

    def create(self, request: HttpRequest, form: Any) -> int:
        given = {name: value for name, value in form.cleaned_data.items() if name != "new_secret"}
        return editing.create(by=get_operator(request), secret=form.cleaned_data["new_secret"], **given).pk

    def change(self, request: HttpRequest, obj: Any, form: Any) -> None:
        changed = {"config" if name.startswith("setting_") else name for name in form.changed_data}
        given = {name: form.cleaned_data[name] for name in changed if name in editing.CHANGEABLE}
        who: dict[str, Any] = {"endpoint_id": obj.pk, "by": get_operator(request)}
        if secret := form.cleaned_data["new_secret"]:
            editing.set_secret(**who, secret=secret, config=given.get("config"))
        if given:
            editing.update(**who, **given)
        if "is_enabled" in form.changed_data:
            editing.set_enabled(**who, is_enabled=form.cleaned_data["is_enabled"])

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        if add:
            return super().construct_change_message(request, form, formsets, add)
        changes = [
            f"{name}: {redact_settings(form.initial.get(name))} → {redact_settings(form.cleaned_data[name])}"
            for name in form.changed_data
            if name != "new_secret"
        ]
        return "; ".join([*changes, *(["another secret"] if "new_secret" in form.changed_data else [])])


@admin.register(LocalModel)
class LocalModelAdmin(ServiceAdmin):
    list_display = ["name", "family_name", "size", "licence", "is_usable", "sha256", "registered_at"]
    list_filter = ["family", "is_usable"]
    search_fields = ["name", "path", "sha256"]
    add_fields: ClassVar = ("path", "name", "licence", "usage_terms")
    shown_fields: ClassVar = ("path", "family_name", "size", "revision", "sha256", "registered_by", "registered_at")
    change_fields: ClassVar = local_models.CHANGEABLE

    @admin.display(description=gettext_lazy("family"), ordering="family")
    def family_name(self, model: LocalModel) -> str:
        return local_models.family_title(model.family)

    @admin.display(description=gettext_lazy("size"), ordering="size_bytes")
    def size(self, model: LocalModel) -> str:
        return filesizeformat(model.size_bytes)

    def create(self, request: HttpRequest, form: Any) -> int:
        return local_models.register(by=get_operator(request), **form.cleaned_data).pk

    def change(self, request: HttpRequest, obj: Any, form: Any) -> None:
        given = {name: form.cleaned_data[name] for name in form.changed_data}
        local_models.change(model_id=obj.pk, by=get_operator(request), **given)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ["name", "lanes", "host", "pid", "device", "started_at", "seen_at"]


class SpecInline(ReadOnlyInline):
    model = JobSpec
    fields = ["round", "candidate", "fingerprint", "quoted_cost", "spec_lines"]
    readonly_fields = ["spec_lines"]

    @admin.display(description=gettext_lazy("spec"))
    def spec_lines(self, frozen: JobSpec) -> str:
        return pretty_json(frozen.spec)


class AttemptInline(ReadOnlyInline):
    model = Attempt
    fields = ["number", "outcome", "error_kind", "message", "worker", "started_at", "ended_at"]
    show_change_link = True


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ["id", "status", "lane", "run", "endpoint", "attempts", "error_kind", "hold_reason"]
    list_filter = ["status", "lane"]
    list_select_related = ["run", "endpoint"]
    search_fields = ["id__exact", "run_id__exact"]
    search_help_text = gettext_lazy("Number of the job or of its run")
    inlines = [SpecInline, AttemptInline]


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = ["id", "job", "number", "outcome", "error_kind", "worker", "started_at", "ended_at"]
    list_filter = ["outcome"]
    list_select_related = ["job"]
    search_fields = ["job_id__exact"]
    search_help_text = gettext_lazy("Number of the job")


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ["id", "at", "kind", "amount", "campaign", "run", "job"]
    list_filter = ["kind"]
    list_select_related = ["campaign", "run", "job"]
    search_fields = ["run_id__exact", "job_id__exact"]
    search_help_text = gettext_lazy("Number of the run or of the job")


@admin.register(Master)
class MasterAdmin(ReadOnlyAdmin):
    list_display = [
        "id", "short_hash", "brand", "image_format", "width", "height", "bytes", "was_rejected", "created_at",
    ]  # fmt: skip
    list_filter = ["brand"]
    list_select_related = ["brand"]
    search_fields = ["sha256__exact"]
    search_help_text = gettext_lazy("The whole SHA-256 of the file")

    @admin.display(description="sha256")
    def short_hash(self, master: Master) -> str:
        return master.sha256[:16]
