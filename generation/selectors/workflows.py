"""The ComfyUI workflow of an endpoint, as its page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.db.models import Q
from django.utils.translation import gettext as _

from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.engines.comfyui import config as comfyui_config
from generation.engines.comfyui import marks as comfyui_marks
from generation.engines.comfyui import questions as comfyui_questions
from generation.engines.comfyui.graph import InvalidWorkflow, Mark, Workflow, saving_nodes, title
from generation.engines.comfyui.marks import Input, Node
from generation.engines.comfyui.questions import InputQuestion
from generation.models import Endpoint

ENGINE: Final = comfyui_config.PLUGIN.name


@dataclass(frozen=True)
class WorkflowDetails:
    """A workflow as its page shows it.

    workflow: None if there is none that can be read; problem: then the reason, "" if none was uploaded yet. outputs:
    (node id, title) of the nodes that save images. questions: questions that a person has to settle before anything is
    planned with it. notes: the consequences of missing marks.
    """

    endpoint: Endpoint
    workflow: Workflow | None
    problem: str = ""
    nodes: tuple[Node, ...] = ()
    filled: tuple[Mark, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    questions: tuple[InputQuestion, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def open_questions(self) -> list[InputQuestion]:
        return [question for question in self.questions if not question.is_confirmed]

    @property
    def digest(self) -> str:
        return self.workflow.digest() if self.workflow else ""

    @property
    def marked(self) -> list[Node]:
        """Return the nodes that a job fills, or that somebody has to decide about."""
        return [node for node in self.nodes if node.is_marked or node.has_question]

    @property
    def others(self) -> list[Node]:
        return [node for node in self.nodes if not (node.is_marked or node.has_question)]


def get(brand: Brand, user: User, slug: str) -> Endpoint:
    """Return a comfyui endpoint that serves this brand, enabled or not. Raises NotFound."""
    rows = Endpoint.objects.shared_or_visible_to(user).filter(Q(brand=None) | Q(brand=brand), slug=slug, engine=ENGINE)
    sentence = _("There is no endpoint %(slug)r with the engine %(engine)s here.")
    endpoint: Endpoint = first_or_refuse(rows.select_related("brand"), sentence % {"slug": slug, "engine": ENGINE})
    return endpoint


def load_details(endpoint: Endpoint) -> WorkflowDetails:
    try:
        workflow = Workflow.from_config(endpoint.config)
    except InvalidWorkflow as error:
        return WorkflowDetails(endpoint, None, str(error))
    if not workflow.graph:
        return WorkflowDetails(endpoint, None)
    questions = comfyui_questions.questions(workflow, endpoint.config)
    order = {name: place for place, name in enumerate(comfyui_marks.NAMES)}  # a JSON column keeps no order
    marks = sorted(workflow.marks.values(), key=lambda mark: (order.get(mark.name, len(order)), mark.name))
    return WorkflowDetails(
        endpoint,
        workflow,
        nodes=tuple(_nodes_with_questions(comfyui_marks.nodes_of(workflow.graph, workflow.marks), questions)),
        filled=tuple(marks),
        outputs=tuple((node_id, title(workflow.graph, node_id)) for node_id in saving_nodes(workflow.graph)),
        questions=tuple(questions),
        notes=tuple(comfyui_marks.missing_mark_notes(workflow.marks)),
    )


def _nodes_with_questions(nodes: Sequence[Node], questions: Sequence[InputQuestion]) -> list[Node]:
    """Return the nodes with the questions about their inputs; those with open questions first."""
    by_place = {question.place: question for question in questions}
    with_questions = [replace(node, inputs=_inputs_with_questions(node, by_place)) for node in nodes]
    return sorted(
        with_questions,
        key=lambda node: not any(node_input.question and not node_input.is_confirmed for node_input in node.inputs),
    )


def _inputs_with_questions(node: Node, by_place: Mapping[tuple[str, str], InputQuestion]) -> tuple[Input, ...]:
    # A connection that brings text from another node is not listed as an input, but can be marked and have questions.
    connected = [Input(node.node_id, name, "", "") for name, _source in node.connections]
    connected = [node_input for node_input in connected if (node.node_id, node_input.name) in by_place]
    return tuple(
        replace(node_input, question=question.sentence, is_confirmed=question.is_confirmed)
        if (question := by_place.get((node.node_id, node_input.name)))
        else node_input
        for node_input in (*node.inputs, *connected)
    )
