"""Upload the art director's ComfyUI workflow to an endpoint and mark its inputs. workflow_checks.py checks it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext as _

from core.errors import Invalid, NotAllowed, Problem, Stale
from core.models import User
from core.plugin_config import Source
from core.selectors.rows import first_or_refuse
from generation.engines.comfyui import config as comfyui_config
from generation.engines.comfyui import marks as comfyui_marks
from generation.engines.comfyui.graph import Graph, InvalidWorkflow, Workflow, parse
from generation.engines.comfyui.questions import CONFIRMED_SETTING, confirmed_keys
from generation.models import Endpoint
from generation.services.endpoints import editing, workflow_marks

ENGINE: Final = comfyui_config.PLUGIN.name
MAX_BYTES: Final = 32 * 1024 * 1024
"""Limit for an image that contains its workflow; rules.py limits the config that is stored."""
MAX_JSON_BYTES: Final = 1024 * 1024


@transaction.atomic
def upload(*, endpoint_id: int, by: User, data: bytes, file_name: str) -> Endpoint:
    """Store a workflow in API format, or from a PNG that ComfyUI saved, and mark its inputs by guesses.

    Marks that a person changed stay at nodes that are the same. Raises NotAllowed and Invalid.
    """
    endpoint = _lock(endpoint_id, by)
    try:
        if len(data) > MAX_BYTES or (len(data) > MAX_JSON_BYTES and not data.startswith(b"\x89PNG")):
            message = _("The file is over %(n)d MB, which no workflow is.") % {"n": MAX_JSON_BYTES >> 20}
            raise InvalidWorkflow(message)
        graph = parse(data)
        settings = {"workflow": graph, **workflow_marks.settings_of_upload(graph, endpoint.config)}
        Workflow.from_config(settings)
    except InvalidWorkflow as error:
        raise Invalid(_("This file cannot be used."), [Problem("file", str(error), file_name)]) from None
    of_page = comfyui_config.Config.names_from(Source.PAGE)
    config = {name: value for name, value in endpoint.config.items() if name not in of_page}
    config |= {**settings, "workflow_name": PurePath(file_name).stem[:80] or "workflow"}
    return editing.update(endpoint_id=endpoint.pk, by=by, config=config)


@transaction.atomic
def mark(
    *,
    endpoint_id: int,
    by: User,
    seen: str,
    names: Mapping[tuple[str, str], str],
    output_node: str = "",
    name: str = "",
    meant: Collection[tuple[str, str]] | None = None,
) -> Endpoint:
    """Mark the inputs. names: {(node id, input): "prompt"}, "" for an input that no job fills.

    meant: places of unmarked images and prompts that are meant as they are; None keeps the earlier ones. seen: digest
    of the workflow that the person saw. Raises Stale, Invalid and NotAllowed.
    """
    endpoint = _lock(endpoint_id, by)
    try:
        workflow = Workflow.from_config(endpoint.config)
    except InvalidWorkflow as error:
        raise Invalid(str(error), [Problem("file", str(error))]) from None
    if seen != workflow.digest():
        raise Stale(_("The workflow or its marks were changed since you opened this page; look at it again."))
    inputs = comfyui_marks.as_config(_places_by_mark(workflow, names))
    earlier_inputs = dict(endpoint.config.get("inputs") or {})
    ranges = {
        input_name: allowed
        for input_name, allowed in dict(endpoint.config.get("ranges") or {}).items()
        if input_name in inputs and inputs[input_name] == earlier_inputs.get(input_name)
    }
    config = {name: value for name, value in endpoint.config.items() if name != CONFIRMED_SETTING}
    config |= {"inputs": inputs, "ranges": ranges}
    if settled := _meant(workflow.graph, inputs, endpoint.config, meant):
        config[CONFIRMED_SETTING] = settled
    config |= {"workflow_name": name.strip()[:80]} if name.strip() else {}
    config |= {"output_node": output_node} if output_node else {}
    return editing.update(endpoint_id=endpoint.pk, by=by, config=config)


def _places_by_mark(workflow: Workflow, names: Mapping[tuple[str, str], str]) -> dict[str, list[tuple[str, str]]]:
    """Return the places of each mark, from the names that a person gave. Raises Invalid for marks that do not fit."""
    marks = {place: text.strip().lower() for place, text in names.items() if text.strip()}
    problems = [
        Problem(f"mark|{node_id}|{field_name}", sentence, text)
        for (node_id, field_name), text in marks.items()
        if (sentence := _problem(workflow.graph, text, (node_id, field_name)))
    ]
    if problems:
        raise Invalid(_("These marks do not fit."), problems)
    return workflow_marks.group_places(marks)


@transaction.atomic
def store_ranges(
    *, endpoint_id: int, by: User, seen: str, ranges: Mapping[str, Any], models: Mapping[str, Any] | None = None
) -> None:
    """Store the servers' limits for the marked inputs, and their model files, unless the workflow has changed."""
    endpoint = _lock(endpoint_id, by)
    if Workflow.from_config(endpoint.config).digest() != seen:
        return
    config = {**endpoint.config, "ranges": dict(ranges)} | ({"model_files": dict(models)} if models else {})
    if config != endpoint.config:
        editing.update(endpoint_id=endpoint.pk, by=by, config=config)


def get_editable(*, endpoint_id: int, by: User) -> Endpoint:
    """Return a comfyui endpoint that the person may change. Raises NotFound and NotAllowed."""
    rows = Endpoint.objects.shared_or_visible_to(by).filter(pk=endpoint_id, engine=ENGINE).select_related("brand")
    message = _("There is no endpoint %(id)s with the engine %(engine)s.")
    endpoint: Endpoint = first_or_refuse(rows, message % {"id": endpoint_id, "engine": ENGINE})
    if not editing.can_edit(by, endpoint):
        message = _("Only leads of its brand and operators can change the workflow of %(endpoint)s.")
        raise NotAllowed(message % {"endpoint": endpoint.name})
    return endpoint


def _lock(endpoint_id: int, by: User) -> Endpoint:
    endpoint = get_editable(endpoint_id=endpoint_id, by=by)
    return Endpoint.objects.select_for_update().get(pk=endpoint.pk)


def _meant(
    graph: Graph, inputs: dict[str, list[Any]], before: Mapping[str, Any], places: Collection[tuple[str, str]] | None
) -> list[list[str]]:
    if places is not None:
        return workflow_marks.settle_questions(graph, inputs, places)
    earlier = confirmed_keys(before)
    settled = workflow_marks.settle_questions(graph, inputs, [(key[0], key[1]) for key in earlier])
    return [key for key in settled if tuple(key) in earlier]


def _problem(graph: Graph, name: str, place: tuple[str, str]) -> str:
    if place[1] not in graph.get(place[0], {}).get("inputs", {}):
        return _("There is no input %(input)s of node %(node)s.") % {"input": place[1], "node": place[0]}
    return comfyui_marks.problem_of(graph, name, place)
