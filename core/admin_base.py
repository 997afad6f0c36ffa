"""Base classes of the administration. Rows with a service are read-only or saved by it, for the audit trail."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import SuspiciousOperation
from django.core.paginator import Paginator
from django.db import models
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property

from core.errors import DomainError, Invalid
from core.models import User
from core.pages import parse_row_id
from core.storable import read_json_field

COUNTED = 10_000


class CappedPaginator(Paginator[Any]):
    """Counts to 10,000 and stops: the newest rows are on the first pages, and counting millions is slow."""

    @cached_property
    def count(self) -> int:
        if not isinstance(self.object_list, models.QuerySet):
            return len(self.object_list)
        return self.object_list.order_by()[:COUNTED].count()


class IndentedJSONEncoder(json.JSONEncoder):
    """JSON in a form, one value per line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": 2})


class KeySelect(AutocompleteSelect):
    """A search field that shows nothing for a value that is not a key; Django's own would raise an error."""

    def optgroups(self, name: str, value: Any, attrs: Any = None) -> Any:
        return super().optgroups(name, [key for key in value if parse_row_id(str(key)) is not None], attrs)


class ServiceForm(forms.ModelForm):
    """A form whose values a service checks; the refusal is shown beside the fields that it names."""

    refusal: ClassVar[DomainError | None] = None

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.refusal is None:
            return cleaned
        problems = self.refusal.problems if isinstance(self.refusal, Invalid) else []
        for problem in problems:
            place = problem.pointer.partition("/")[2]
            is_named = not place or problem.message.startswith(f"{place}:")
            message = problem.message if is_named else f"{place}: {problem.message}"
            self.add_error(self.find_field(problem.pointer), message)
        if not problems:
            self.add_error(None, self.refusal.message)
        return cleaned

    def find_field(self, pointer: str) -> str | None:
        """Return the field of a problem; None if the whole form has it."""
        name = pointer.partition("/")[0]
        return name if name in self.fields else None


class StoredJSON(forms.JSONField):
    """A form field for JSON that the database can hold. Django's own raises an error for a number of 5,000 digits."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value.strip():
            try:
                read_json_field(value)
            except ValueError as error:
                raise forms.ValidationError(str(error)) from None
        return super().to_python(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)


class BaseAdmin(admin.ModelAdmin):
    """Base of our admin classes: fast lists without full counts, and no deletion that bypasses services."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count the table once per choice
    formfield_overrides = {models.JSONField: {"form_class": StoredJSON, "encoder": IndentedJSONEncoder}}
    paginator = CappedPaginator
    list_per_page = 50
    actions: Any = []
    can_delete = False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row; an empty `_to_field` in the address means the primary key, where Django's own would fail."""
        return super().get_object(request, object_id, from_field or None)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list. Raises SuspiciousOperation for a selected row that is no key; Django's own would fail."""
        for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.model._meta.pk.to_python(key)
            except forms.ValidationError as error:
                raise SuspiciousOperation("A selected row has no key of this table.") from error
        return super().changelist_view(request, extra_context)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = KeySelect(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_list_select_related(self, request: HttpRequest) -> Any:
        """Return the names of the related rows in the list's columns, also of those that may be missing."""
        related = {field.name for field in self.opts.concrete_fields if field.is_relation}
        return self.list_select_related or [name for name in self.list_display if name in related]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.can_delete


class _ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(_ReadOnly, BaseAdmin):
    """Rows that only the program writes; shown read-only, newest first."""

    ordering: ClassVar[Any] = ["-pk"]
    sortable_by: ClassVar[Any] = ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return all columns except raw bytes, also those that no form may contain."""
        columns = self.model._meta.concrete_fields
        return self.fields or [field.name for field in columns if not isinstance(field, models.BinaryField)]


class ReadOnlyInline(_ReadOnly, admin.TabularInline):
    """Related rows of a read-only row."""

    extra = 0
    can_delete = False


class ServiceAdmin(BaseAdmin):
    """Rows that a service writes. `create` returns the key of the new row; without `change_fields` rows are read-only.

    A refusal is shown in the form: the request is handled a second time, with the refusal as the form's error.
    """

    form = ServiceForm
    add_fields: ClassVar[tuple[str, ...]] = ()
    change_fields: ClassVar[tuple[str, ...]] = ()
    shown_fields: ClassVar[tuple[str, ...]] = ()

    def create(self, request: HttpRequest, form: Any) -> int:
        raise NotImplementedError

    def change(self, request: HttpRequest, obj: Any, form: Any) -> None:
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.change_fields)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.add_fields if obj is None else (*self.shown_fields, *self.change_fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.shown_fields

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"refusal": getattr(request, "refusal", None)})

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except DomainError as refusal:
            request.refusal = refusal  # type: ignore[attr-defined]
            return super().changeform_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            self.change(request, obj, form)
        else:
            obj.pk = self.create(request, form)
        obj.refresh_from_db()


def get_operator(request: HttpRequest) -> User:
    """Return the operator of the request; the admin site admits nobody else."""
    assert isinstance(request.user, User)
    return request.user


def pretty_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
