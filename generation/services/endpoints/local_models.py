"""Local models: register them with their licence, hash them in a worker, take them out of use. Files do not change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import django_rq
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from core.access import Action, can
from core.choices import Lane
from core.errors import Conflict, Invalid, NotAllowed, Problem
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation import events
from generation.engines.base import EngineError
from generation.engines.diffusers.families import FAMILIES, family_of
from generation.engines.diffusers.weight_files import digest, ensure_complete, files_of
from generation.models import Endpoint, LocalModel

CHANGEABLE: Final = ("name", "licence", "usage_terms", "is_usable")
HASHING_SECONDS: Final = 4 * 3600
DETAILS_OF_REVISION: Final = """
SELECT jsonb_build_object('registered_model', name, 'model_sha256', sha256, 'model_licence', licence)
FROM generation_localmodel WHERE revision = split_part(%(revision)s, '+', 1) AND sha256 <> '' ORDER BY name LIMIT 1
"""
"""An SQL query: what an attempt's details say of the registered model that has this revision."""


@transaction.atomic
def register(
    *, path: str, name: str, licence: str, by: User | None, usage_terms: str = "", is_hashed_later: bool = True
) -> LocalModel:
    """Register a folder or file of weights; a worker, or the caller, adds its sha256 later (hash_content). by: an
    operator, or None for one at the server's own command line. Raises NotAllowed; Invalid, with the field that each
    problem is about; Conflict where the name or the path is registered already."""
    _require_operator(by)
    place = Path(path).expanduser().resolve()
    problems = list(_missing(name, licence))
    family = None
    try:
        family = family_of(place)
        ensure_complete(place)
    except EngineError as error:
        problems.append(Problem("path", error.message, path))
    if problems or family is None:
        raise Invalid(_("This model cannot be registered so."), problems)
    model = LocalModel(
        name=name.strip(),
        path=str(place),
        family=family.name,
        revision=digest(place),
        size_bytes=sum(file.stat().st_size for file in files_of(place)),
        licence=licence.strip(),
        usage_terms=usage_terms.strip(),
        registered_by=by,
    )
    try:
        with transaction.atomic():
            model.save(force_insert=True)
    except IntegrityError:
        message = _("A model of that name, or at %(path)s, is registered already.")
        raise Conflict(message % {"path": place}) from None
    _publish(model, by, {"path": [None, model.path], "licence": [None, model.licence]})
    if is_hashed_later:
        limits = {"job_timeout": HASHING_SECONDS, "result_ttl": 0, "failure_ttl": 0}
        hash_later = partial(django_rq.get_queue(Lane.CPU).enqueue, "generation.tasks.hash_model", model.pk, **limits)
        transaction.on_commit(hash_later)
    return model


@transaction.atomic
def change(*, model_id: int, by: User, **fields: Any) -> LocalModel:
    """Change the given fields (of CHANGEABLE). Raises NotAllowed, NotFound, Invalid, and Conflict for a taken name."""
    _require_operator(by)
    if odd := sorted(set(fields) - set(CHANGEABLE)):
        raise TypeError(f"a model has no {', '.join(odd)} to be changed")
    rows = LocalModel.objects.select_for_update().filter(pk=model_id)
    model = first_or_refuse(rows, _("There is no model %(id)s.") % {"id": model_id})
    changes = {name: [getattr(model, name), value] for name, value in fields.items() if getattr(model, name) != value}
    if not changes:
        return model
    for name, (_old, value) in changes.items():
        setattr(model, name, value)
    if problems := list(_missing(model.name, model.licence)):
        raise Invalid(_("This model cannot be registered so."), problems)
    try:
        with transaction.atomic():
            model.save(update_fields=list(changes))
    except IntegrityError:
        message = _("There is a model %(name)r already; take another name.")
        raise Conflict(message % {"name": model.name}) from None
    _publish(model, by, changes)
    return model


def hash_content(*, model_id: int) -> str:
    """Store the sha256 of a model's files; returns it, "" if they are gone or were changed. Reads gigabytes."""
    model = LocalModel.objects.filter(pk=model_id).first()
    if model is None or not Path(model.path).exists() or digest(Path(model.path)) != model.revision:
        return ""
    sha256 = content_sha256(Path(model.path))
    LocalModel.objects.filter(pk=model_id, revision=model.revision).update(sha256=sha256)
    return sha256


def content_sha256(path: Path) -> str:
    """Return a hex sha256: of a file its own, as its publisher gives it; of a folder that of all names and sha256s."""
    if path.is_file():
        return _file_sha256(path)
    lines = [f"{file.relative_to(path).as_posix()}\0{_file_sha256(file)}\n" for file in files_of(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_for_endpoint(endpoint: Endpoint) -> LocalModel | None:
    """Return the registered model that an endpoint uses, None without one."""
    named = endpoint.config.get("model") if isinstance(endpoint.config, dict) else None
    if not isinstance(named, str) or not named:
        return None
    return LocalModel.objects.filter(path=str(Path(named).expanduser().resolve())).first()


def family_title(name: str) -> str:
    return FAMILIES[name].title if name in FAMILIES else name


def _file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require_operator(by: User | None) -> None:
    if by is not None and not can(by, Action.REGISTER_MODEL):
        raise NotAllowed(_("Models are registered by operators, who answer for their licences."))


def _missing(name: str, licence: str) -> Iterator[Problem]:
    if not name.strip() or len(name) > 120:
        yield Problem("name", _("Give it a name of at most 120 characters."), name[:120])
    if not licence.strip() or len(licence) > 200:
        yield Problem("licence", _("Say under which licence it is, in at most 200 characters."), licence[:200])


def _publish(model: LocalModel, by: User | None, changes: Mapping[str, Any]) -> None:
    """Publish an event for every brand, because any of them may use the model; the path on the server is left out."""
    payload = {
        "name": model.name,
        "family": model.family,
        "revision": model.revision,
        "changes": {name: change for name, change in changes.items() if name != "path"},
        "is_usable": model.is_usable,
    }
    brand_ids = Brand.objects.values_list("pk", flat=True)
    publish(*(events.ModelNoted(brand_id=pk, object_id=model.pk, payload=payload) for pk in brand_ids), by=by)
