"""Translates exceptions of the database, of Redis and of reading a request into refusals, for pages and API alike.

A service that can say more, such as that a name is taken, raises its own refusal. The exceptions here occur after all
checks: a race that a unique constraint decided, a value that a column cannot store, a database that does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError, transaction
from django.db.models import Field, Model, ProtectedError, RestrictedError
from django.http import UnreadablePostError
from django.utils.datastructures import MultiValueDictKeyError
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from core.errors import Conflict, DomainError, Invalid, Problem, Unavailable

UNIQUE, FOREIGN_KEY, NOT_NULL, FROZEN = "23505", "23503", "23502", "23001"
CONNECTION_CLASSES = ("08", "25", "53", "57")
"""SQLSTATE classes: connection lost, wrong kind of transaction (a read-only standby), no resources, shutdown."""


@contextmanager
def conflict_on_duplicate() -> Iterator[None]:
    """Raise Conflict if a write in this block violates a unique constraint; the transaction around it stays usable."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        raise _constraint(error) from None


def refusal_for(error: BaseException) -> DomainError | None:
    """Return the refusal for an exception; None for an error in our own code."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, OperationalError | InterfaceError):
        return Unavailable(_("The database does not answer. Nothing was changed. Try again in a few seconds."))
    if isinstance(error, InternalError) and _sqlstate(error).startswith(CONNECTION_CLASSES):
        sentence = _("The database takes no changes at the moment. Nothing was changed. Try again in a minute.")
        return Unavailable(sentence)
    if isinstance(error, RedisError):
        return Unavailable(_("The queue (Redis) does not answer at the moment. Try again in a few seconds."))
    if isinstance(error, IntegrityError):
        return _constraint(error)
    if isinstance(error, ProtectedError | RestrictedError):
        return Conflict(_("Something else still uses it. Remove what uses it first."))
    if isinstance(error, DataError):
        sentence = _("A value cannot be stored: %(reason)s. Send a smaller or shorter value.")
        lines = str(error).strip().splitlines()  # the first one; the others show the statement
        return Invalid(sentence % {"reason": lines[0].rstrip(".") if lines else _("it is out of range")})
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return Invalid(_("A text holds half of a surrogate pair, which cannot be stored. Remove it."))
    if isinstance(error, UnreadablePostError):
        return DomainError(_("The request broke off before it was complete. Send it again."))
    if isinstance(error, MultiValueDictKeyError):
        name = str(error.args[0]).strip("'\"")
        sentence = _("The request lacks the field “%(name)s”.") % {"name": name}
        return Invalid(sentence, [Problem(name, _("This field is required."))])
    return None


def _constraint(error: IntegrityError) -> DomainError:
    """Return the refusal for a row that a constraint forbids: 409 if somebody else was faster, 422 if it is wrong."""
    state = _sqlstate(error)
    detail: Any = getattr(error.__cause__, "diag", None)
    table = getattr(detail, "table_name", None)
    model = next((model for model in apps.get_models() if model._meta.db_table == table), None)
    noun = {"noun": model._meta.verbose_name if model else _("row")}
    if state == UNIQUE:
        if fields := _unique_fields(model, getattr(detail, "constraint_name", None)) if model else []:
            sentence = _(
                "Somebody else has just saved a %(noun)s with the same %(fields)s. "
                "Load it again, then decide what to change."
            )
            return Conflict(sentence % (noun | {"fields": _(" and ").join(fields)}))
        return Conflict(_("Somebody else has just saved a %(noun)s. Load it again, then decide what to change.") % noun)
    if state == FOREIGN_KEY:
        return Conflict(_("Something that this refers to was removed in the meantime. Load it again."))
    if state == FROZEN:
        sentence = _("This %(noun)s was published or used in the meantime and cannot change any more. Load it again.")
        return Conflict(sentence % noun)
    if state == NOT_NULL:
        name = getattr(detail, "column_name", None) or _("a field")
        problem = Problem(name, _("This field is required."))
        return Invalid(_("%(field)s must not be empty.") % {"field": name}, [problem])
    rule = {"rule": (getattr(detail, "constraint_name", None) or _("a rule")).replace("_", " ")}
    return Invalid(_("The database refuses this %(noun)s by the rule %(rule)s.") % (noun | rule))


def _sqlstate(error: BaseException) -> str:
    return getattr(error.__cause__, "sqlstate", None) or ""


def _unique_fields(model: type[Model], constraint: str | None) -> list[str]:
    """Return the names of a unique constraint's fields, without relations (a brand or user), which are not input."""
    rules = [rule for rule in model._meta.constraints if rule.name == constraint]
    fields = [model._meta.get_field(name) for rule in rules for name in getattr(rule, "fields", ())]
    return [str(field.verbose_name) for field in fields if isinstance(field, Field) and not field.is_relation]
