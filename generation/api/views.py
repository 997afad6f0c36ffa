"""API views of endpoints, runs, jobs and assets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.selectors import campaigns as campaign_rows
from campaigns.selectors import prompts as prompt_rows
from campaigns.selectors import subjects as subject_rows
from core.api.conventions import BrandRowsViewSet, get_caller, idempotent, read_input, response_with_etag
from core.errors import NotFound
from generation.api import serializers
from generation.choices import AssetState, JobState
from generation.models import Asset, Endpoint, Job, Run
from generation.selectors import endpoints
from generation.selectors import runs as run_rows
from generation.services import runs
from generation.services.dispatch import retries, routing
from generation.services.endpoints import changes
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from generation.services.remote import submissions

PLAN_OPTIONS = ("name", "priority", "job_template", "release_at", "alternates")
"""The fields of RunPlanRequest that describe the run and not its images."""


class EndpointViewSet(viewsets.ReadOnlyModelViewSet[Endpoint]):
    """The endpoints that your brands may use."""

    serializer_class = serializers.EndpointSerializer
    lookup_field = "slug"
    queryset = Endpoint.objects.all()

    def get_queryset(self) -> QuerySet[Endpoint]:
        return Endpoint.objects.filter(Q(brand=None) | Q(brand__in=get_caller(self.request).brand_ids()))


class RunViewSet(BrandRowsViewSet[Run]):
    """Plan, release and follow runs."""

    serializer_class = serializers.RunSerializer
    filterset_fields = ["campaign", "state", "stage"]
    queryset = Run.objects.select_related("endpoint").prefetch_related("alternates")

    @extend_schema(responses=serializers.RunDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the run with its progress: counts by state, rate and time left."""
        return response_with_etag(self._shown(self.get_object()))

    def _shown(self, run: Run) -> dict[str, Any]:
        return {**self.get_serializer(run).data, "progress": dataclasses.asdict(run_rows.progress(run))}

    def _planned(self, run: Run) -> Response:
        headers = {"Location": reverse("api:run-detail", args=[run.pk])}
        return response_with_etag(self._shown(run), status=201, headers=headers)

    def _change(self, service: Callable[..., Any], **values: Any) -> Response:
        """Carry out a change by its service, and return the run as it is afterwards."""
        service(run_id=self.get_object().pk, by=get_caller(self.request), **values)
        return Response(self._shown(self.get_object()))

    def _arguments(self, request: Request, kind: type[serializers.RunRequest]) -> tuple[PlanArguments, dict[str, Any]]:
        """Return the arguments of the request, and its other values: the options of `plans.plan`."""
        user, values = get_caller(request), read_input(kind, request)
        values["campaign"] = campaign_rows.get(user, values["campaign"].pk)
        values["prompt_version"] = prompt_rows.get_version(user, values["prompt_version"].pk)
        if values["endpoint"].brand_id not in (None, values["campaign"].brand_id):
            raise NotFound(_("There is no endpoint %(slug)s.") % {"slug": values["endpoint"].slug})
        if "subjects" in values:
            values["subjects"] = subject_rows.get_ids_by_key(values["campaign"].brand, values["subjects"])
        options = {name: values.pop(name) for name in PLAN_OPTIONS if name in values}
        return PlanArguments(**values, by=user), options

    @extend_schema(request=serializers.RunRequest, responses={200: dict})
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """Return the number of images, cost, time, the first prompts and the problems of a run. Nothing is written."""
        seen = plans.preview(self._arguments(request, serializers.RunRequest)[0])
        return Response(
            {**dataclasses.asdict(seen), "can_be_planned": seen.can_be_planned, "fits_budget": seen.fits_budget}
        )

    @extend_schema(request=serializers.RunPlanRequest, responses={201: serializers.RunDetailSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Plan a run: all cells and jobs are written. No image is made before `release`."""
        arguments, options = self._arguments(request, serializers.RunPlanRequest)
        return self._planned(plans.plan(arguments, **options))

    @extend_schema(request=serializers.RunAgain, responses={201: serializers.RunDetailSerializer})
    @action(detail=True, methods=["post"])
    @idempotent
    def clone(self, request: Request, pk: str) -> Response:
        """Plan this run again. A prompt version, endpoint or stage in the request replaces that of the run."""
        user, values = get_caller(request), read_input(serializers.RunAgain, request)
        earlier = self.get_object()
        if "prompt_version" in values:
            values["prompt_version"] = prompt_rows.get_version(user, values["prompt_version"].pk)
        return self._planned(plans.plan_again(run_id=earlier.pk, by=user, **values))

    @extend_schema(request=serializers.ScheduleRequest, responses={200: serializers.RunDetailSerializer})
    @action(detail=True, methods=["post"])
    def schedule(self, request: Request, pk: str) -> Response:
        """Set the time at which a planned run is released in your name; null removes the time."""
        return self._change(runs.schedule, at=read_input(serializers.ScheduleRequest, request)["release_at"])

    @extend_schema(request=serializers.ReleaseRequest, responses={202: serializers.RunDetailSerializer})
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Release the run, so that workers begin. 202: the progress is at the URL of the run."""
        answer = self._change(runs.release, **read_input(serializers.ReleaseRequest, request))
        answer.status_code, answer["Location"] = 202, reverse("api:run-detail", args=[pk])
        return answer

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        return self._change(runs.pause)

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        return self._change(runs.resume)

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        return self._change(runs.cancel)

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"], url_path="retry-failed")
    def retry_failed(self, request: Request, pk: str) -> Response:
        return self._change(retries.retry)

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"], url_path="plan-anew")
    def plan_anew(self, request: Request, pk: str) -> Response:
        """Plan the held images again for the current engine, because it was changed after the run was planned."""
        return self._change(changes.replan_held_jobs)

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"], url_path="not-charged")
    def not_charged(self, request: Request, pk: str) -> Response:
        """Release the cost of uncertain submissions, because the service's account shows no charge for them."""
        return self._change(submissions.mark_not_charged)

    @extend_schema(request=serializers.AlternatesRequest, responses={200: serializers.RunDetailSerializer})
    @action(detail=True, methods=["put"])
    def alternates(self, request: Request, pk: str) -> Response:
        """Set the endpoints that may take over the run's jobs when its own is slow or down; an empty list: none."""
        endpoints = read_input(serializers.AlternatesRequest, request)["alternates"]
        return self._change(routing.set_alternates, endpoints=endpoints)

    @extend_schema(request=serializers.PriorityRequest, responses=serializers.RunDetailSerializer)
    @action(detail=True, methods=["post"])
    def priority(self, request: Request, pk: str) -> Response:
        return self._change(runs.set_priority, **read_input(serializers.PriorityRequest, request))


class JobFilter(filters.FilterSet):
    status = filters.MultipleChoiceFilter(choices=JobState.choices)

    class Meta:
        model = Job
        fields = ["run", "status", "error_kind"]


class JobViewSet(BrandRowsViewSet[Job]):
    """Jobs: single images to be made, each with its error."""

    serializer_class = serializers.JobSerializer
    filterset_class = JobFilter
    queryset = Job.objects.select_related("cell__subject")

    @extend_schema(responses={200: serializers.Explanation})
    @action(detail=True)
    def explain(self, request: Request, pk: str) -> Response:
        """Explain the job's endpoint: the planned one, each move with its reason, and what the job waits for now."""
        job = self.get_object()
        return Response({"sentences": endpoints.explain_job(job_id=job.pk, user=get_caller(request))})


class AssetFilter(filters.FilterSet):
    state = filters.MultipleChoiceFilter(choices=AssetState.choices)
    sku = filters.CharFilter(field_name="subject__key")
    brand = filters.CharFilter(field_name="brand__slug")
    run = filters.NumberFilter(field_name="cell__run")

    class Meta:
        model = Asset
        fields = ["campaign", "state", "sku", "brand", "run"]


class AssetViewSet(BrandRowsViewSet[Asset]):
    """Assets with their current version, its findings and its files."""

    serializer_class = serializers.AssetSerializer
    filterset_class = AssetFilter
    queryset = (
        Asset.objects.filter(is_sandbox=False)
        .select_related("subject", "cell", "current_version__master", "current_version__job__endpoint")
        .prefetch_related("current_version__findings", "current_version__renditions__output_spec")
    )

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)
