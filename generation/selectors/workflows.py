"""The ComfyUI workflow of an endpoint, as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from campaigns.errors import NotFound
from campaigns.models import Brand, User
from generation.engines import comfyui_marks
from generation.engines.comfyui_graph import NotAWorkflow, Workflow, saving_nodes, title
from generation.engines.comfyui_marks import Node
from generation.models import Endpoint

ENGINE = "comfyui"


@dataclass(frozen=True)
class Filled:
    """One mark in words: what a job fills in, where, and what the workflow itself has there."""

    name: str
    places: tuple[str, ...]
    standard: str
    is_image: bool


@dataclass(frozen=True)
class Shown:
    """workflow: None where there is none that can be read; problem: then why, "" where none was uploaded yet.

    outputs: (node id, title) of the nodes that save pictures. remarks: what follows from missing marks.
    """

    endpoint: Endpoint
    workflow: Workflow | None
    problem: str = ""
    nodes: tuple[Node, ...] = ()
    filled: tuple[Filled, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return self.workflow.digest() if self.workflow else ""

    @property
    def marked(self) -> list[Node]:
        return [node for node in self.nodes if node.is_marked]

    @property
    def others(self) -> list[Node]:
        return [node for node in self.nodes if not node.is_marked]


def get(brand: Brand, user: User, slug: str) -> Endpoint:
    """A comfyui endpoint that serves this brand, switched on or not. Raises NotFound."""
    rows = Endpoint.objects.filter(Q(brand=None) | Q(brand=brand), slug=slug, engine=ENGINE).select_related("brand")
    if not user.is_superuser:
        rows = rows.filter(Q(brand=None) | Q(brand__in=user.brand_ids()))
    found = rows.first()
    if found is None:
        raise NotFound(f"There is no endpoint {slug!r} with the engine {ENGINE} here.")
    return found


def shown(endpoint: Endpoint) -> Shown:
    try:
        workflow = Workflow.of(endpoint.config)
    except NotAWorkflow as error:
        return Shown(endpoint, None, str(error))
    if not workflow.graph:
        return Shown(endpoint, None)
    return Shown(
        endpoint,
        workflow,
        nodes=tuple(comfyui_marks.nodes_of(workflow.graph, workflow.marks)),
        filled=tuple(_filled(workflow)),
        outputs=tuple((node_id, title(workflow.graph, node_id)) for node_id in saving_nodes(workflow.graph)),
        remarks=tuple(comfyui_marks.remarks_on(workflow.marks)),
    )


def _filled(workflow: Workflow) -> list[Filled]:
    """In the order in which people think of them; a JSON column keeps none."""
    order = {name: place for place, name in enumerate(comfyui_marks.NAMES)}
    return [
        Filled(
            mark.name,
            tuple(f"{field} of {workflow.title(node_id)}" for node_id, field in mark.places),
            "" if (standard := workflow.standard(mark.name)) is None else str(standard),
            mark.is_image,
        )
        for mark in sorted(workflow.marks.values(), key=lambda mark: (order.get(mark.name, len(order)), mark.name))
    ]
