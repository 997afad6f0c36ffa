"""API of image feeds: list, create, change and delete them, read and renew their addresses, and see their problems."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.models import Campaign
from core.access import Action
from core.api.conventions import (
    BrandRowsViewSet,
    ensure_match,
    get_caller,
    idempotent,
    read_input,
    response_with_etag,
)
from core.api.inputs import OwnKey, OwnSlug
from core.models import Brand
from core.selectors import brands as brand_rows
from review.image_feeds.choosing import ProblemKind
from review.models import Destination, ImageFeed
from review.selectors import image_feeds as selectors
from review.services import image_feed_files, image_feeds
from review.services.web_slots import slot

NO_STORE = {"Cache-Control": "no-store"}


class ImageFeedSerializer(serializers.ModelSerializer[ImageFeed]):
    brand = OwnSlug(slug_field="slug", queryset=Brand.objects.all())
    layout = serializers.CharField(max_length=40, help_text="such as “google_merchant”; see docs/image-feeds.md")
    campaign = OwnKey(queryset=Campaign.objects.all(), required=False, allow_null=True)
    destination = OwnKey(queryset=Destination.objects.all(), required=False, allow_null=True)
    additional_specs = serializers.ListField(child=serializers.SlugField(), max_length=50, required=False)

    class Meta:
        model = ImageFeed
        fields = [
            "id", "brand", "name", "layout", "campaign", "main_spec", "additional_specs", "id_attribute",
            "destination", "takes_disclaimers", "is_enabled",
        ]  # fmt: skip
        read_only_fields = ["id", "is_enabled"]


class ImageFeedChange(ImageFeedSerializer):
    """The changeable fields of an image feed. Omitted fields stay as they are."""

    class Meta(ImageFeedSerializer.Meta):
        fields = [name for name in ImageFeedSerializer.Meta.fields if name not in ("id", "brand")]
        read_only_fields: list[str] = []


class ImageFeedAddress(serializers.Serializer[Any]):
    address = serializers.CharField(help_text="opens the file without a login; keep it secret")


class ImageFeedProblem(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=[kind.value for kind in ProblemKind])
    key = serializers.CharField(help_text="of the product")
    message = serializers.CharField()
    asset = serializers.IntegerField(source="asset_id", allow_null=True)
    is_left_out = serializers.BooleanField()


class ImageFeedReport(serializers.Serializer[Any]):
    products = serializers.IntegerField(help_text="in the file")
    images = serializers.IntegerField()
    left_out = serializers.IntegerField(help_text="products with approved images that are not in the file")
    has_more = serializers.BooleanField(help_text="true if only the first 10,000 products were read")
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="problems by kind")
    problems = ImageFeedProblem(many=True, help_text="the first ten of each kind")


class ImageFeedViewSet(BrandRowsViewSet[ImageFeed]):
    """Image feeds: files with the approved images of each product, which shops and Google fetch by a signed address."""

    serializer_class = ImageFeedSerializer
    filterset_fields = ["brand__slug", "is_enabled", "layout"]
    queryset = ImageFeed.objects.select_related("brand", "campaign", "destination")

    def get_queryset(self) -> QuerySet[ImageFeed]:
        rows: Any = super().get_queryset()
        allowed: QuerySet[ImageFeed] = rows.allowed_to(get_caller(self.request), Action.DELIVER)
        return allowed

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)

    @extend_schema(request=ImageFeedChange, responses=ImageFeedSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change a feed, or switch it on or off. Its address stays. Needs If-Match."""
        current, fields = self.get_object(), read_input(ImageFeedChange, request, is_partial=True)
        with transaction.atomic():
            locked = self.get_queryset().select_for_update(of=("self",)).get(pk=current.pk)
            ensure_match(request, self.get_serializer(locked).data)
            changed = image_feeds.change(feed_id=locked.pk, by=get_caller(request), **fields)
        return response_with_etag(self.get_serializer(changed).data)

    @idempotent
    def create(self, request: Request) -> Response:
        """Create a feed; `GET …/address/` then returns its address."""
        fields = read_input(ImageFeedSerializer, request)
        brand = brand_rows.get(get_caller(request), fields.pop("brand").slug)
        settings = image_feeds.FeedSettings(**fields)
        made = image_feeds.create(brand=brand, by=get_caller(request), settings=settings)
        return response_with_etag(self.get_serializer(made).data, status=201)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete a feed. Its address ends."""
        image_feeds.delete(feed_id=self.get_object().pk, by=get_caller(request))
        return Response(status=204)

    @extend_schema(responses=ImageFeedAddress)
    @action(detail=True, methods=["get"])
    def address(self, request: Request, pk: str) -> Response:
        """Return the address of the file, which opens it without a login."""
        return Response({"address": selectors.address_of(self.get_object())}, headers=NO_STORE)

    @extend_schema(request=None, responses=ImageFeedAddress)
    @action(detail=True, methods=["post"])
    def renew(self, request: Request, pk: str) -> Response:
        """Make a new address; the old one ends at once."""
        feed = image_feeds.renew_address(feed_id=self.get_object().pk, by=get_caller(request))
        return Response({"address": selectors.address_of(feed)}, headers=NO_STORE)

    @extend_schema(responses=ImageFeedReport)
    @action(detail=True, methods=["get"])
    def report(self, request: Request, pk: str) -> Response:
        """Return how many products and images are in the file now, and what is left out and why."""
        with slot():
            report = image_feed_files.report(self.get_object())
        problems = [problem for rows in report.examples.values() for problem in rows]
        shown: dict[str, Any] = {**vars(report), "problems": problems}
        return response_with_etag(ImageFeedReport(shown).data)
