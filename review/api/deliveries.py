"""API views of destinations and deliveries: their states, what a delivery would do, and what people request of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.conventions import (
    BrandRowsViewSet,
    ensure_match,
    get_caller,
    idempotent,
    read_input,
    response_with_etag,
)
from core.errors import Conflict
from core.selectors import brands as brand_rows
from review.api import delivery_serializers as serializers
from review.models import Delivery, Destination
from review.selectors import deliveries as selectors
from review.services import delivery_requests, destination_checks, destinations

#: The services of the actions by their names in the API.
_SERVICES: dict[str, Callable[..., int]] = {
    "retry": delivery_requests.retry_many,
    "release": delivery_requests.release_many,
    "schedule": delivery_requests.schedule,
    "recall": delivery_requests.recall,
    "restore": delivery_requests.restore,
    "send": delivery_requests.send_again,
}


def _show_destinations(rows: Sequence[Destination]) -> list[dict[str, Any]]:
    chosen = Destination.objects.filter(pk__in=[row.pk for row in rows])
    summaries = {summary.destination.pk: summary for summary in selectors.summarize_destinations(chosen)}
    return list(serializers.DestinationStateSerializer(rows, many=True, context={"summaries": summaries}).data)


class DestinationViewSet(BrandRowsViewSet[Destination]):
    """Destinations of approved images, each with the number of its deliveries by state."""

    serializer_class = serializers.DestinationStateSerializer
    filterset_fields = ["brand__slug", "kind"]
    queryset = Destination.objects.select_related("brand")

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(_show_destinations(rows or []))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(_show_destinations([self.get_object()])[0])

    @extend_schema(request=serializers.DestinationSerializer, responses={201: serializers.DestinationStateSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        fields = read_input(serializers.DestinationSerializer, request)
        brand = brand_rows.get(get_caller(request), fields.pop("brand").slug)
        made = destinations.create(brand=brand, by=get_caller(request), **fields)
        return response_with_etag(_show_destinations([made])[0], status=201)

    @extend_schema(request=serializers.DestinationChange, responses=serializers.DestinationStateSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change settings, secret, rules or dates, or switch the destination on or off. Needs If-Match.

        Rules and `needs_release` apply to what is approved from now on: nothing is sent or taken down by them.
        """
        current = self.get_object()
        fields = read_input(serializers.DestinationChange, request, is_partial=True)
        with transaction.atomic():
            locked = self.get_queryset().select_for_update(of=("self",)).get(pk=current.pk)
            ensure_match(request, _show_destinations([locked])[0])
            changed = destinations.change(destination_id=locked.pk, by=get_caller(request), **fields)
        return response_with_etag(_show_destinations([changed])[0])

    @extend_schema(request=None, responses=serializers.ConnectionTestSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Ask the destination whether it can be used. Nothing is changed there."""
        answer = destination_checks.test_connection(destination_id=self.get_object().pk, by=get_caller(request))
        shown = {"can_be_used": not answer.problems, "was_asked": answer.was_asked, "problems": answer.problems}
        return Response(serializers.ConnectionTestSerializer(shown).data)

    @extend_schema(request=None, responses=serializers.PlannedDeliverySerializer(many=True))
    @action(detail=True, methods=["post"], pagination_class=None, filter_backends=[])
    def plan(self, request: Request, pk: str) -> Response:
        """Return what the next three deliveries would change there. Nothing is changed."""
        planned = destination_checks.plan_next(destination_id=self.get_object().pk, by=get_caller(request))
        return Response(serializers.PlannedDeliverySerializer(planned, many=True).data)


class DeliveryFilter(filters.FilterSet):
    brand = filters.CharFilter(field_name="destination__brand__slug")
    destination = filters.CharFilter(field_name="destination__slug")
    campaign = filters.CharFilter(field_name="asset__campaign__slug")
    sku = filters.CharFilter(field_name="asset__subject__key")
    state = filters.ChoiceFilter(choices=serializers.STATES)

    class Meta:
        model = Delivery
        fields = ["asset", "desired", "observed"]


class DeliveryViewSet(BrandRowsViewSet[Delivery]):
    """Deliveries: the desired and the observed state of each asset at each destination."""

    serializer_class = serializers.DeliverySerializer
    filterset_class = DeliveryFilter
    queryset = Delivery.objects.select_related("destination__brand", "asset__subject", "asset__campaign")

    def get_queryset(self) -> QuerySet[Delivery]:
        return selectors.with_state(super().get_queryset())

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)

    @extend_schema(request=serializers.AltTextRequest, responses=serializers.DeliverySerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Set the alt text of the image, here or at all its destinations; it is sent there. Needs If-Match."""
        delivery, values = self.get_object(), read_input(serializers.AltTextRequest, request)
        with transaction.atomic():
            Delivery.objects.select_for_update(of=("self",), no_key=True).get(pk=delivery.pk)
            ensure_match(request, self.get_serializer(self.get_object()).data)
            delivery_requests.set_alt_text(
                delivery_id=delivery.pk,
                alt_text=values["alt_text"],
                is_everywhere=values["everywhere"],
                by=get_caller(request),
            )
        return self._shown()

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Try again now what failed or is uncertain."""
        delivery_requests.retry(delivery_id=self.get_object().pk, by=get_caller(request))
        return self._shown()

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Release the delivery for publishing. Leads only."""
        return self._request("release")

    @extend_schema(request=serializers.PublishAtRequest)
    @action(detail=True, methods=["post"])
    def schedule(self, request: Request, pk: str) -> Response:
        """Set when it is published; null is as soon as possible. 409 if it is published already."""
        return self._request("schedule", at=read_input(serializers.PublishAtRequest, request)["publish_at"])

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def recall(self, request: Request, pk: str) -> Response:
        """Have the image taken down there; it stays approved."""
        return self._request("recall")

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        """Have the image taken down there, and what was there before put back."""
        return self._request("restore")

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def send(self, request: Request, pk: str) -> Response:
        """Send again what was recalled, or what is there and has to be verified again."""
        return self._request("send")

    @extend_schema(request=serializers.DeliveriesRequest, responses=serializers.ChangedDeliveries)
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    @idempotent
    def act(self, request: Request) -> Response:
        """Do the same for many deliveries of a brand. Those that are in no state for it are left out."""
        values, user = read_input(serializers.DeliveriesRequest, request), get_caller(request)
        brand = brand_rows.get(user, values["brand"])
        ids = values["matching"].pop("ids", None)
        chosen = selectors.matching_deliveries(user, brand, selectors.Filters(**values["matching"]))
        chosen = chosen if ids is None else chosen.filter(pk__in=ids)
        more = {"at": values["publish_at"]} if "publish_at" in values else {}
        changed = _SERVICES[values["action"]](brand=brand, chosen=chosen, by=user, **more)
        return Response({"changed": changed})

    def _request(self, name: str, **values: Any) -> Response:
        """Carry out an action for one delivery. Raises Conflict if its state does not allow it."""
        delivery = self.get_object()
        chosen = Delivery.objects.filter(pk=delivery.pk)
        brand, by = delivery.destination.brand, get_caller(self.request)
        if not _SERVICES[name](brand=brand, chosen=chosen, by=by, **values):
            label = selectors.STATE_LABELS[delivery.state]  # type: ignore[attr-defined]
            sentence = _("This cannot be done with a delivery that is “%(state)s”.") % {"state": label}
            raise Conflict(sentence, state=delivery.state)  # type: ignore[attr-defined]
        return self._shown()

    def _shown(self) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)
