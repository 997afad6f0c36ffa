"""The API of "verify an image": a file in, its lineage and the state of its marks of origin out."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.photos import intake
from core.api.conventions import get_caller, read_input
from core.api.inputs import MultiPartParser
from core.errors import Invalid
from review.selectors import found_images
from review.selectors.found_images import Examination, FoundVersion, How
from review.services import verify_requests


class VerifyUpload(serializers.Serializer[Any]):
    """multipart/form-data: one JPEG, PNG, WebP or AVIF. It is not stored."""

    file = serializers.FileField()


class FoundDeliverySerializer(serializers.Serializer[Any]):
    delivery = serializers.IntegerField()
    destination = serializers.CharField()
    since = serializers.DateTimeField()


class FoundImageSerializer(serializers.Serializer[Any]):
    brand = serializers.CharField()
    asset = serializers.IntegerField()
    version = serializers.IntegerField()
    url = serializers.CharField(help_text="The path of the image's page.")
    disclaimer = serializers.CharField(help_text="It must stand beside the image wherever that is shown; may be empty.")
    lineage = serializers.DictField(help_text="Product, campaign, prompt version, model, checks and approval.")
    deliveries = FoundDeliverySerializer(many=True, help_text="Where this version is delivered now.")


class MarkSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.ChoiceField(["present", "absent", "invalid"])
    message = serializers.CharField()


class VerifiedSerializer(serializers.Serializer[Any]):
    """What is known of a file. images: none, one, or a few that cannot be told apart; the most similar first."""

    found = serializers.BooleanField()
    how = serializers.ChoiceField(
        [how.value for how in How], allow_null=True, help_text="The same bytes, marks of origin that name it, or looks."
    )
    sentence = serializers.CharField(help_text="The same for people.")
    distance = serializers.IntegerField(
        allow_null=True, help_text="Bits of 256 in which the perceptual hashes differ; null unless found by looks."
    )
    covered = serializers.FloatField(
        allow_null=True, help_text="The share of the image that the file shows, 0 to 1; null unless found by looks."
    )
    images = FoundImageSerializer(many=True)
    marks = MarkSerializer(many=True)
    sha256 = serializers.CharField()


class VerifyView(APIView):
    """Find what an image file that was found anywhere shows. Only images of your brands are found."""

    parser_classes: list[type[BaseParser]] = [MultiPartParser]

    @extend_schema(
        request={"multipart/form-data": VerifyUpload}, responses={200: VerifiedSerializer, 429: OpenApiResponse()}
    )
    def post(self, request: Request) -> Response:
        """Return the lineage of the image, and the state of its marks of origin. Nothing is stored.

        422: the file is no image, is damaged, or takes too much memory or time. 429: you have sent 60 files within a
        minute. 503: too many files are being opened; try again.
        """
        file = read_input(VerifyUpload, request)["file"]
        if file.size > intake.MAX_BYTES:
            raise Invalid(intake.too_large_refusal(file.size))
        examined = verify_requests.verify(file, user=get_caller(request))
        return Response(VerifiedSerializer(_plain(examined)).data)


def _plain(examined: Examination) -> dict[str, Any]:
    match = examined.match
    return {
        "found": match is not None,
        "how": match.how.value if match else None,
        "sentence": found_images.explain(match),
        "distance": match.distance if match else None,
        "covered": match.covered if match else None,
        "images": [_plain_image(found) for found in match.found] if match else [],
        "marks": [vars(mark) for mark in examined.marks],
        "sha256": examined.sha256,
    }


def _plain_image(found: FoundVersion) -> dict[str, Any]:
    asset = found.version.asset
    return {
        "brand": asset.brand.slug,
        "asset": asset.pk,
        "version": found.version.pk,
        "url": f"{reverse('asset', args=[asset.brand.slug, asset.pk])}?version={found.version.pk}",
        "disclaimer": found.version.disclaimer,
        "lineage": found.lineage,
        "deliveries": [
            {"delivery": delivery.pk, "destination": delivery.destination.name, "since": delivery.changed_at}
            for delivery in found.deliveries
        ],
    }
