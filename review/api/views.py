"""API views of reviews: tasks, checklists and decisions."""

from __future__ import annotations

from typing import Any

from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.conventions import BrandRowsViewSet, get_brand, get_caller, idempotent, read_input
from core.api.views import BRAND
from generation.selectors import inputs
from review import pins
from review.api import serializers
from review.choices import DecisionKind
from review.models import Checklist, Decision, ReviewTask
from review.selectors import staleness, workspace
from review.services import checklists, decisions, queue

WITHDRAWS_PARAMETER = OpenApiParameter("withdraws", bool, description="Undo although consequences have begun.")


class TaskViewSet(BrandRowsViewSet[ReviewTask]):
    """Review tasks: images that wait for a decision."""

    serializer_class = serializers.TaskSerializer
    filterset_fields = ["brand__slug", "state", "stage", "asset"]
    queryset = ReviewTask.objects.select_related("asset__subject", "claimed_by", "checklist_version")

    @extend_schema(responses=serializers.TaskDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the task with its checklist, and each candidate with the `seen` token that a decision must send back.

        `changed`: the inputs of the image that have changed since it was made, a sentence each.
        """
        task = self.get_object()
        stale = staleness.get_staleness(task.asset)
        moved = inputs.find_changes([task.asset.cell_id]).get(task.asset.cell_id, [])
        candidates = [
            {
                "version": version.pk,
                "candidate": version.candidate,
                "seen": pins.current_state(version, task, version.renditions.all(), moved).token,
            }
            for version in workspace.candidates_by_asset([task]).get(task.asset_id, [])
        ]
        details = {
            "checklist": task.checklist_version.items,
            "candidates": candidates,
            "changed": stale["sentences"] if stale else [],
        }
        return Response({**self.get_serializer(task).data, **details})

    @extend_schema(parameters=[BRAND], request=None, responses=serializers.TaskSerializer(many=True))
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def start(self, request: Request) -> Response:
        """Claim the next twenty open tasks for ten minutes."""
        tasks = queue.claim_batch(brand=get_brand(request), by=get_caller(request))
        return Response(self.get_serializer(tasks, many=True).data)

    @extend_schema(request=serializers.DecisionRequest, responses={201: serializers.DecisionSerializer})
    @action(detail=True, methods=["post"])
    @idempotent
    def decide(self, request: Request, pk: str) -> Response:
        """Approve, reject or request changes to one version.

        409: another person decided first. 412: the image, its files, inputs or checklist changed since you saw it.
        """
        decision = _decide(self.get_object().pk, read_input(serializers.DecisionRequest, request), request)
        return Response(serializers.DecisionSerializer(decision).data, status=201)


def _decide(task_id: int, data: dict[str, Any], request: Request) -> Decision:
    common: dict[str, Any] = {"task_id": task_id, "by": get_caller(request)}
    common |= {"version_id": data["version"], "seen": data["seen"], "note": data["note"]}
    if data["decision"] == DecisionKind.APPROVED:
        return decisions.approve(answers=data.get("answers"), **common)
    if data["decision"] == DecisionKind.REJECTED:
        return decisions.reject(reason=data["reason"], **common)
    return decisions.request_revision(reason=data["reason"], controls=data.get("controls"), **common)


class ChecklistViewSet(BrandRowsViewSet[Checklist]):
    """The checklists that reviewers confirm, one for each stage."""

    serializer_class = serializers.ChecklistSerializer
    filterset_fields = ["brand__slug", "stage"]
    queryset = Checklist.objects.select_related("brand").prefetch_related("versions")

    @extend_schema(responses=serializers.ChecklistVersionPreview)
    @action(detail=True, methods=["get"])
    def publish(self, request: Request, pk: str) -> Response:
        """Return the number of the next version, and how many approved images it could send back to review."""
        checklist = self.get_object()
        count = inputs.count_approved(get_caller(request), checklist.brand)
        return Response({"number": checklist.versions.all()[0].number + 1, "approved_images": count})

    @extend_schema(request=serializers.ChecklistVersionRequest, responses={201: serializers.ChecklistSerializer})
    @publish.mapping.post
    @idempotent
    def publish_version(self, request: Request, pk: str) -> Response:
        """Publish the next version. Approved images stay approved unless `look_again` is true."""
        values = read_input(serializers.ChecklistVersionRequest, request)
        checklists.publish_version(checklist_id=self.get_object().pk, by=get_caller(request), **values)
        return Response(self.get_serializer(self.get_object()).data, status=201)


class DecisionFilter(filters.FilterSet):
    decision = filters.ChoiceFilter(field_name="kind", choices=DecisionKind.choices)

    class Meta:
        model = Decision
        fields = ["task", "task__asset", "decision"]


class DecisionViewSet(BrandRowsViewSet[Decision]):
    """Decisions, each with the person who decided and the hashes of the files that were decided about."""

    serializer_class = serializers.DecisionSerializer
    filterset_class = DecisionFilter
    queryset = Decision.objects.select_related("decided_by", "reason")

    @extend_schema(parameters=[WITHDRAWS_PARAMETER], request=None, responses={201: serializers.DecisionSerializer})
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Undo the decision by a new one. Once its consequences have begun, `?withdraws=true` must confirm that."""
        withdraws = request.query_params.get("withdraws", "") == "true"
        undone = decisions.undo(decision_id=self.get_object().pk, by=get_caller(request), withdraws=withdraws)
        return Response(serializers.DecisionSerializer(undone).data, status=201)
