"""Upload the art director's ComfyUI workflow to an endpoint and mark its inputs. health.py checks it on its servers."""

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
from generation.engines.comfyui import graph as comfyui_graph
from generation.engines.comfyui import marks as comfyui_marks
from generation.engines.comfyui.graph import Graph, InvalidWorkflow, Workflow, is_link, saving_nodes
from generation.engines.comfyui.prompt_texts import Place
from generation.engines.comfyui.questions import CONFIRMED_SETTING, InputQuestion, confirmed_keys, questions_of_graph
from generation.models import Endpoint
from generation.services.endpoints import editing

ENGINE: Final = comfyui_config.PLUGIN.name
MAX_BYTES: Final = 32 * 1024 * 1024
"""Limit for an image that contains its workflow; rules.py limits the config that is stored."""
MAX_JSON_BYTES: Final = 1024 * 1024


@transaction.atomic
def upload(*, endpoint_id: int, by: User, data: bytes, file_name: str) -> Endpoint:
    """Store a workflow in API format, or from a PNG that ComfyUI saved, and mark its inputs by guesses. Marks that a
    person changed by hand stay at nodes that are the same. Raises NotAllowed and Invalid."""
    endpoint = _lock(endpoint_id, by)
    try:
        if len(data) > MAX_BYTES or (len(data) > MAX_JSON_BYTES and not data.startswith(b"\x89PNG")):
            message = _("The file is over %(n)d MB, which no workflow is.") % {"n": MAX_JSON_BYTES >> 20}
            raise InvalidWorkflow(message)
        graph = comfyui_graph.parse(data)
        settings = {"workflow": graph, **settings_of_upload(graph, endpoint.config)}
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
    names: Mapping[Place, str],
    output_node: str = "",
    name: str = "",
    meant: Collection[Place] | None = None,
) -> Endpoint:
    """Mark the inputs. names: {(node id, input): "prompt"}, "" for an input that no job fills. meant: places of
    unmarked images and prompts that are meant as they are; None keeps the earlier ones. seen: digest of the workflow
    that the person saw. Raises Stale, Invalid and NotAllowed."""
    endpoint = _lock(endpoint_id, by)
    try:
        workflow = Workflow.from_config(endpoint.config)
    except InvalidWorkflow as error:
        raise Invalid(str(error), [Problem("file", str(error))]) from None
    if seen != workflow.digest():
        raise Stale(_("The workflow or its marks were changed since you opened this page; look at it again."))
    inputs = _as_config(_fitting_marks(workflow.graph, names))
    earlier_inputs = dict(endpoint.config.get("inputs") or {})
    ranges = {
        input_name: allowed
        for input_name, allowed in dict(endpoint.config.get("ranges") or {}).items()
        if input_name in inputs and inputs[input_name] == earlier_inputs.get(input_name)
    }
    config = {name: value for name, value in endpoint.config.items() if name != CONFIRMED_SETTING}
    config |= {"inputs": inputs, "ranges": ranges}
    earlier, questions = confirmed_keys(endpoint.config), _questions(workflow.graph, inputs)
    settled = [question.key for question in questions if question.place in (meant or ())]
    if meant is None:
        settled = [question.key for question in questions if question.key in earlier]
    if settled:
        config[CONFIRMED_SETTING] = [list(key) for key in sorted(settled)]
    config |= {"workflow_name": name.strip()[:80]} if name.strip() else {}
    config |= {"output_node": output_node} if output_node else {}
    return editing.update(endpoint_id=endpoint.pk, by=by, config=config)


def _fitting_marks(graph: Graph, names: Mapping[Place, str]) -> dict[Place, str]:
    """Return the marks by place, from the names that a person gave. Raises Invalid for marks that do not fit."""
    marks = {place: text.strip().lower() for place, text in names.items() if text.strip()}
    problems = []
    for (node_id, field_name), text in marks.items():
        if field_name not in graph.get(node_id, {}).get("inputs", {}):
            sentence = _("There is no input %(input)s of node %(node)s.") % {"input": field_name, "node": node_id}
        else:
            sentence = comfyui_marks.problem_of(graph, text, (node_id, field_name))
        if sentence:
            problems.append(Problem(f"mark|{node_id}|{field_name}", sentence, text))
    if problems:
        raise Invalid(_("These marks do not fit."), problems)
    return marks


@transaction.atomic
def store_ranges(
    *, endpoint_id: int, by: User, seen: str, ranges: Mapping[str, Any], models: Mapping[str, Any]
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
    return Endpoint.objects.select_for_update().get(pk=get_editable(endpoint_id=endpoint_id, by=by).pk)


def settings_of_upload(graph: Graph, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings "inputs", "output_node" and "meant_as_is" of an uploaded graph. before: the present
    config. Raises InvalidWorkflow if no node saves an image."""
    try:
        old = comfyui_graph.read(before["workflow"]) if before.get("workflow") else {}
    except InvalidWorkflow:
        old = {}
    guessed = _by_place(comfyui_marks.guess_marks(graph))
    marks = _marks(graph, old, before, guessed)
    confirmed = confirmed_keys(before)
    meant = {
        question.key
        for question in _questions(graph, _as_config(marks))
        if question.key in confirmed and _is_same(graph, old, question.place)
    }
    for question in _questions(graph, _as_config(marks)):
        if question.key not in meant and not question.mark and question.place in guessed:
            marks[question.place] = guessed[question.place]  # nobody has confirmed that it needs no mark
    settings: dict[str, Any] = {"inputs": _as_config(marks)}
    if meant:
        settings[CONFIRMED_SETTING] = [list(key) for key in sorted(meant)]
    saving, saved_then = saving_nodes(graph), saving_nodes(old)
    if len(saving) > 1:  # the node that a person chose if it still exists, else the last one
        chosen = str(before.get("output_node") or "")
        is_by_hand = bool(saved_then) and chosen != saved_then[-1]
        is_there = chosen in saving and chosen in old and old[chosen]["class_type"] == graph[chosen]["class_type"]
        settings["output_node"] = chosen if is_by_hand and is_there else saving[-1]
    return settings


def _marks(graph: Graph, old: Graph, before: Mapping[str, Any], guessed: Mapping[Place, str]) -> dict[Place, str]:
    """Return the names by place: the guesses, replaced by what a person had changed in the earlier workflow."""
    if not old:
        return dict(guessed)
    kept, guessed_then = _by_place(before.get("inputs") or {}), _by_place(comfyui_marks.guess_marks(old))
    by_hand = {
        place: kept.get(place, "")
        for place in {**guessed_then, **kept}
        if kept.get(place) != guessed_then.get(place) and _is_same(graph, old, place)
    }
    marks = {**guessed, **by_hand}
    lost = set(kept.values()) - set(marks.values())
    # A name that was used and has no place any more is put where it is guessed to belong.
    marks |= {place: name for place, name in guessed.items() if name in lost}
    return {place: name for place, name in marks.items() if name}


def _questions(graph: Graph, inputs: Mapping[str, Any]) -> list[InputQuestion]:
    return questions_of_graph(graph, comfyui_graph.marks_of(graph, inputs))


def _is_same(graph: Graph, old: Graph, place: Place) -> bool:
    """Return whether both graphs have this node, of the same class, and a value (or a connection) at this input."""
    node_id, name = place
    node, old_node = graph.get(node_id), old.get(node_id)
    if node is None or old_node is None or node["class_type"] != old_node["class_type"]:
        return False
    if name not in node["inputs"] or name not in old_node["inputs"]:
        return False
    return is_link(node["inputs"][name]) == is_link(old_node["inputs"][name])


def _by_place(inputs: Mapping[str, Any]) -> dict[Place, str]:
    """Return {"prompt": ["6", "text"]} as {("6", "text"): "prompt"}."""
    return {
        (str(place[0]), str(place[1])): str(name)
        for name, listed in inputs.items()
        for place in (listed if listed and isinstance(listed[0], list) else [listed])
        if isinstance(place, list) and len(place) == 2
    }


def _as_config(marks: Mapping[Place, str]) -> dict[str, Any]:
    """Return {("6", "text"): "prompt"} in the form of an endpoint's config: {"prompt": ["6", "text"]}."""
    by_name: dict[str, list[Place]] = {}
    for place, name in marks.items():
        by_name.setdefault(name, []).append(place)
    return comfyui_marks.as_config(by_name)
