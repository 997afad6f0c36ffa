"""API views of reviews: tasks, checklists, decisions, destinations and deliveries, and the pull API of integrators."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.selectors import campaigns as campaign_rows
from core import access
from core.access import Action
from core.api.conventions import BrandRowsViewSet, get_caller, idempotent, read_input, read_whole_number
from core.api.views import BRAND
from core.models import Brand
from core.selectors import brands as brand_rows
from generation.api.serializers import AssetSerializer
from generation.choices import AssetState
from generation.models import Asset
from generation.selectors import inputs
from review import pins
from review.api import serializers
from review.choices import DecisionKind
from review.models import Checklist, Decision, Delivery, Destination, ReviewTask
from review.selectors import changes, staleness, workspace
from review.services import approved_zip, checklists, decisions, deliveries, destinations, queue

WITHDRAWS_PARAMETER = OpenApiParameter("withdraws", bool, description="Undo although consequences have begun.")
LIMIT_PARAMETER = OpenApiParameter("limit", int, description="The maximum number of changes, up to 1000.")
SINCE_PARAMETER = OpenApiParameter("since", int, description="The `next` of the previous response; 0 for all changes.")


def _brand(request: Request) -> Brand:
    return brand_rows.get(get_caller(request), request.query_params.get("brand", ""))


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
        tasks = queue.claim_batch(brand=_brand(request), by=get_caller(request))
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


class DestinationViewSet(BrandRowsViewSet[Destination]):
    """Destinations of approved images."""

    serializer_class = serializers.DestinationSerializer
    filterset_fields = ["brand__slug", "kind"]
    queryset = Destination.objects.select_related("brand")

    @idempotent
    def create(self, request: Request) -> Response:
        fields = read_input(serializers.DestinationSerializer, request)
        brand = brand_rows.get(get_caller(request), fields.pop("brand").slug)
        made = destinations.create(brand=brand, by=get_caller(request), **fields)
        return Response(self.get_serializer(made).data, status=201)

    @extend_schema(request=serializers.RulesRequest)
    @action(detail=True, methods=["put"])
    def rules(self, request: Request, pk: str) -> Response:
        """Replace the rules. They apply to what is approved from now on; nothing is sent or taken down."""
        given = read_input(serializers.RulesRequest, request)
        destination = self.get_object()
        changed = destinations.change(destination_id=destination.pk, by=get_caller(request), rules=given["rules"])
        return Response(self.get_serializer(changed).data)


class DeliveryViewSet(BrandRowsViewSet[Delivery]):
    """Deliveries: the desired and the observed state of each asset at each destination."""

    serializer_class = serializers.DeliverySerializer
    filterset_fields = ["destination__slug", "observed", "desired", "asset"]
    queryset = Delivery.objects.select_related("destination", "asset__subject")

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        delivery = deliveries.retry(delivery_id=self.get_object().pk, by=get_caller(request))
        return Response(self.get_serializer(delivery).data)


class ChangesView(APIView):
    """Changes of usable assets, in the order of the sealed audit trail. No change is skipped or returned twice."""

    @extend_schema(parameters=[BRAND, SINCE_PARAMETER, LIMIT_PARAMETER], responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        brand = _brand(request)
        since = read_whole_number(request, "since", 0, most=10**18)
        limit = max(1, read_whole_number(request, "limit", 100, most=1000))
        entries, following = changes.changes(user=get_caller(request), brand=brand, since=since, limit=limit)
        return Response({"changes": entries, "next": following})


class ProductAssetsView(APIView):
    """The approved images of one product, with stable addresses of their files."""

    @extend_schema(
        parameters=[BRAND, OpenApiParameter("spec", str, description="only the files of this output spec")],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request, sku: str) -> Response:
        spec = request.query_params.get("spec", "")
        assets = changes.usable_assets(user=get_caller(request), brand=_brand(request), sku=sku, spec=spec)
        return Response({"sku": sku, "assets": [_usable_asset_json(asset) for asset in assets]})


def _usable_asset_json(asset: Asset) -> dict[str, Any]:
    version: Any = asset.current_version
    plain = ("sha256", "width", "height", "bytes", "image_format")
    files = [
        {"spec": rendition.output_spec.slug, "url": changes.stable_url(rendition.pk)}
        | {name: getattr(rendition, name) for name in plain}
        for rendition in version.usable_renditions
    ]
    return {"asset": asset.pk, "version": version.pk, "disclaimer": version.disclaimer, "files": files}


class FileView(APIView):
    """The stable URL of a file. It redirects users who may pull the file to a URL that expires in ten minutes."""

    @extend_schema(responses={302: None})
    def get(self, request: Request, pk: int) -> HttpResponse:
        target = changes.expiring_url(user=get_caller(request), rendition_id=pk)
        return HttpResponse(status=302, headers={"Location": target})


class ApprovedView(APIView):
    """A campaign's approved images: `?as=zip` streams them with a manifest, otherwise they are listed."""

    @extend_schema(
        parameters=[OpenApiParameter("as", str, enum=["json", "zip"])],
        responses={
            (200, "application/json"): AssetSerializer(many=True),
            (200, "application/zip"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, pk: int) -> Any:
        campaign = campaign_rows.get(get_caller(request), pk)
        access.require(get_caller(request), Action.PULL, campaign.brand)
        assets = Asset.objects.filter(campaign=campaign, state=AssetState.APPROVED, is_sandbox=False).order_by("pk")
        if request.query_params.get("as") == "zip":
            ids = assets.values_list("pk", flat=True)
            body = approved_zip.stream(user=get_caller(request), brand=campaign.brand, asset_ids=ids)
            headers = {"Content-Disposition": content_disposition_header(True, f"{campaign.slug}-approved.zip")}
            return StreamingHttpResponse(body, content_type="application/zip", headers=headers)
        rows = assets.select_related("subject", "cell", "current_version__master").prefetch_related(
            "current_version__findings", "current_version__renditions__output_spec"
        )
        return Response(AssetSerializer(rows, many=True).data)
