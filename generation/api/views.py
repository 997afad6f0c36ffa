"""Runs and what they make, over the API."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.db.models import Q, QuerySet
from django.urls import reverse
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.selectors import campaigns as campaign_rows
from campaigns.selectors import prompts as prompt_rows
from campaigns.selectors import subjects as subject_rows
from core.api.conventions import caller, idempotent, tagged
from core.errors import NotFound
from generation.api import serializers
from generation.choices import AssetState, JobState
from generation.models import Asset, Endpoint, Job, Run
from generation.selectors import explaining
from generation.selectors import runs as run_rows
from generation.services import runs
from generation.services.dispatch import retries, routing
from generation.services.endpoints import changes
from generation.services.planning import plans, schedules
from generation.services.remote import uncertain


class EndpointViewSet(viewsets.ReadOnlyModelViewSet[Endpoint]):
    """The engines that your brands may use."""

    serializer_class = serializers.EndpointSerializer
    lookup_field = "slug"
    queryset = Endpoint.objects.all()

    def get_queryset(self) -> QuerySet[Endpoint]:
        user = caller(self.request)
        return Endpoint.objects.filter(Q(brand=None) | Q(brand__in=user.brand_ids()))


class RunViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Run]):
    """Plan, release and follow runs."""

    serializer_class = serializers.RunSerializer
    filterset_fields = ["campaign", "state", "stage"]
    queryset = Run.objects.all()

    def get_queryset(self) -> QuerySet[Run]:
        return Run.objects.visible_to(caller(self.request)).select_related("endpoint").prefetch_related("alternates")

    @extend_schema(responses=serializers.RunDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The run with its progress: counts by state, rate and time left."""
        return tagged(self._shown(self.get_object()))

    def _shown(self, run: Run) -> dict[str, Any]:
        progress = dataclasses.asdict(run_rows.progress(run))
        return {**self.get_serializer(run).data, "progress": progress}

    def _values(self, request: Request, kind: type[serializers.RunRequest]) -> dict[str, Any]:
        serializer = kind(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        values = dict(serializer.validated_data)
        user = caller(request)
        values["campaign"] = campaign_rows.get(user, values["campaign"].pk)
        values["prompt_version"] = prompt_rows.get_version(user, values["prompt_version"].pk)
        if values["endpoint"].brand_id not in (None, values["campaign"].brand_id):
            raise NotFound(f"There is no endpoint {values['endpoint'].slug}.")
        if "subjects" in values:
            values["subjects"] = subject_rows.ids_by_key(values["campaign"].brand, values["subjects"])
        return {**values, "by": user}

    @extend_schema(request=serializers.RunRequest, responses={200: dict})
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """Count, cost, time, the first prompts as they will be sent, and what stands in the way. Writes nothing."""
        seen = plans.preview(**self._values(request, serializers.RunRequest))
        return Response(
            {**dataclasses.asdict(seen), "can_be_planned": seen.can_be_planned, "fits_budget": seen.fits_budget}
        )

    @extend_schema(request=serializers.RunPlanRequest, responses={201: serializers.RunDetailSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Plan a run: every cell and job is written, nothing is made before `release`."""
        run = plans.plan(**self._values(request, serializers.RunPlanRequest))
        address = reverse("api:run-detail", args=[run.pk])
        return tagged(self._shown(run), status=201, headers={"Location": address})

    @extend_schema(request=serializers.RunAgain, responses={201: serializers.RunDetailSerializer})
    @action(detail=True, methods=["post"])
    @idempotent
    def clone(self, request: Request, pk: str) -> Response:
        """Plan this run again, with another version, engine or stage where you name one."""
        serializer = serializers.RunAgain(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        earlier, user, values = self.get_object(), caller(request), dict(serializer.validated_data)
        if "prompt_version" in values:
            values["prompt_version"] = prompt_rows.get_version(user, values["prompt_version"].pk)
        run = plans.plan_again(run_id=earlier.pk, by=user, **values)
        return tagged(self._shown(run), status=201, headers={"Location": reverse("api:run-detail", args=[run.pk])})

    @extend_schema(request=serializers.ScheduleRequest, responses={200: serializers.RunDetailSerializer})
    @action(detail=True, methods=["post"])
    def schedule(self, request: Request, pk: str) -> Response:
        """Have a planned run released at a time, in your name; null takes the time away."""
        serializer = serializers.ScheduleRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        run, user, at = self.get_object(), caller(request), serializer.validated_data["release_at"]
        if at is None:
            return Response(self._shown(schedules.unschedule(run_id=run.pk, by=user)))
        return Response(self._shown(schedules.schedule(run_id=run.pk, by=user, at=at)))

    @extend_schema(request=serializers.ReleaseRequest, responses={202: serializers.RunDetailSerializer})
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Let the workers begin. 202: follow the run at its own address."""
        serializer = serializers.ReleaseRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        run = runs.release(run_id=self.get_object().pk, by=caller(request), **serializer.validated_data)
        address = reverse("api:run-detail", args=[run.pk])
        return Response(self._shown(run), status=202, headers={"Location": address})

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        return Response(self._shown(runs.pause(run_id=self.get_object().pk, by=caller(request))))

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        return Response(self._shown(runs.resume(run_id=self.get_object().pk, by=caller(request))))

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        return Response(self._shown(runs.cancel(run_id=self.get_object().pk, by=caller(request))))

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"], url_path="retry-failed")
    def retry_failed(self, request: Request, pk: str) -> Response:
        run = self.get_object()
        retries.retry_failed(run_id=run.pk, by=caller(request))
        run.refresh_from_db()
        return Response(self._shown(run))

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"], url_path="plan-anew")
    def plan_anew(self, request: Request, pk: str) -> Response:
        """Plan the images that are held because their engine was changed, for what it is now."""
        run = self.get_object()
        changes.plan_anew(run_id=run.pk, by=caller(request))
        return Response(self._shown(self.get_object()))

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"], url_path="not-charged")
    def not_charged(self, request: Request, pk: str) -> Response:
        """The service's account shows that uncertain submissions were not charged: what they count as spent is
        freed."""
        run = self.get_object()
        uncertain.take_back(run_id=run.pk, by=caller(request))
        return Response(self._shown(self.get_object()))

    @extend_schema(request=serializers.AlternatesRequest, responses={200: serializers.RunDetailSerializer})
    @action(detail=True, methods=["put"])
    def alternates(self, request: Request, pk: str) -> Response:
        """Say where the run's jobs may go when its endpoint is slow or down; an empty list: nowhere."""
        serializer = serializers.AlternatesRequest(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        endpoints = serializer.validated_data["alternates"]
        routing.set_alternates(run_id=self.get_object().pk, endpoints=endpoints, by=caller(request))
        return Response(self._shown(self.get_object()))

    @extend_schema(request=serializers.PriorityRequest, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"])
    def priority(self, request: Request, pk: str) -> Response:
        serializer = serializers.PriorityRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        run = self.get_object()
        runs.set_priority(run_id=run.pk, by=caller(request), **serializer.validated_data)
        run.refresh_from_db()
        return Response(self._shown(run))


class JobFilter(filters.FilterSet):
    status = filters.MultipleChoiceFilter(choices=JobState.choices)

    class Meta:
        model = Job
        fields = ["run", "status", "error_kind"]


class JobViewSet(viewsets.ReadOnlyModelViewSet[Job]):
    """Single images to be made, with what went wrong."""

    serializer_class = serializers.JobSerializer
    filterset_class = JobFilter
    queryset = Job.objects.all()

    def get_queryset(self) -> QuerySet[Job]:
        return Job.objects.visible_to(caller(self.request)).select_related("cell__subject")

    @extend_schema(responses={200: serializers.Explanation})
    @action(detail=True)
    def explain(self, request: Request, pk: str) -> Response:
        """Return why the job went where it went: what it was planned for, each move with its reason, what it waits for
        now."""
        job = self.get_object()
        return Response({"sentences": explaining.explain(job_id=job.pk, user=caller(request))})


class AssetFilter(filters.FilterSet):
    state = filters.MultipleChoiceFilter(choices=AssetState.choices)
    sku = filters.CharFilter(field_name="subject__key")
    brand = filters.CharFilter(field_name="brand__slug")
    run = filters.NumberFilter(field_name="cell__run")

    class Meta:
        model = Asset
        fields = ["campaign", "state", "sku", "brand", "run"]


class AssetViewSet(viewsets.ReadOnlyModelViewSet[Asset]):
    """Deliverables with their current version, its findings and its files."""

    serializer_class = serializers.AssetSerializer
    filterset_class = AssetFilter
    queryset = Asset.objects.all()

    def get_queryset(self) -> QuerySet[Asset]:
        rows = Asset.objects.visible_to(caller(self.request)).filter(is_sandbox=False)
        return rows.select_related(
            "subject", "cell", "current_version__master", "current_version__job__endpoint"
        ).prefetch_related("current_version__findings", "current_version__renditions__output_spec")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return tagged(self.get_serializer(self.get_object()).data)
