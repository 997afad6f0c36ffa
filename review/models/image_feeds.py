"""The model of image feeds: files that shops fetch, with the addresses of the approved images of each product."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from campaigns.models import Campaign
from core import encryption
from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand
from review.models.deliveries import Destination


class ImageFeed(models.Model):
    """A file at a signed address, made anew whenever it is fetched. Written by services/image_feeds.py.

    layout: a plug-in of review.image_feeds. main_spec: the output spec of each product's main image, "" for any.
    additional_specs: those of the other images, in their order. destination: images that are live there have the
    address by which it serves them; the others, and all without a destination, have one of this site. `key` is part of
    the address of the file; a renewed key ends the old address. content_tag, content_changed_at: of the file as it was
    fetched last.
    """

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="image_feeds")
    name = models.CharField(max_length=120)
    layout = models.CharField(max_length=40)
    campaign = models.ForeignKey(
        Campaign, on_delete=models.PROTECT, null=True, blank=True, related_name="image_feeds",
        help_text=_("only the images of this campaign; empty: of all"),
    )  # fmt: skip
    main_spec = models.SlugField(blank=True, db_index=False)
    additional_specs = models.JSONField(default=list, blank=True)
    id_attribute = models.CharField(
        max_length=100, blank=True, help_text=_("the column of the product feed with the shop’s own id")
    )
    destination = models.ForeignKey(
        Destination, on_delete=models.PROTECT, null=True, blank=True, related_name="image_feeds"
    )
    takes_disclaimers = models.BooleanField(
        default=False, help_text=_("whether images with a disclaimer, such as “demo model”, are in it")
    )
    is_enabled = models.BooleanField(default=True)
    sealed_key = models.TextField(editable=False)
    content_tag = models.CharField(max_length=64, blank=True, editable=False)
    content_changed_at = models.DateTimeField(null=True, blank=True, editable=False)
    fetched_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = MomentField(auto_now_add=True)

    key = encryption.encrypted_property("sealed_key")
    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "name", "id"]

    def __str__(self) -> str:
        return self.name
