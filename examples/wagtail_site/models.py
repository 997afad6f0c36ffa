"""The page types of the example's magazine: a front page with the delivered images, and articles."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.http import HttpRequest
from wagtail.admin.panels import FieldPanel
from wagtail.api import APIField
from wagtail.fields import RichTextField
from wagtail.images import get_image_model_string
from wagtail.images.models import Image
from wagtail.models import Page

SHOWN_IMAGES = 60


class FrontPage(Page):
    """The page at "/": the newest images of the library, and the articles."""

    subpage_types = ["journal.Article"]

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(request, *args, **kwargs)
        images = Image.objects.select_related("collection").order_by("-pk")[:SHOWN_IMAGES]
        return context | {"images": images, "articles": self.get_children().live().specific()}


class Article(Page):
    """One article with its featured image, which the API may write."""

    body = RichTextField(blank=True)
    featured_image = models.ForeignKey(
        get_image_model_string(), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    content_panels = [*Page.content_panels, FieldPanel("featured_image"), FieldPanel("body")]
    api_fields = [APIField("body", writable=True), APIField("featured_image", writable=True)]
    parent_page_types = ["journal.FrontPage", "journal.Article"]
