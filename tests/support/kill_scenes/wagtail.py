"""The scene of the destination "wagtail": a real site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.kill_scenes import Scene, Shown
from tests.support.wagtail_server import WagtailServer, new_slug
from tests.support.wordpress_server import draw


class WagtailScene(Scene):
    """One site serves all tests, and keeps its pages: each product is a page with a slug of its own."""

    kind = "wagtail"
    subject_kind = "article"
    shows_all = False
    fixtures = ("wagtail",)

    def __init__(self, stack: ExitStack, folder: Path, wagtail: WagtailServer) -> None:
        super().__init__(stack, folder)
        self.site = wagtail
        self.proxy = self.add_proxy(wagtail.url)
        self.seeds = count(1_000_000)
        self.slugs: dict[str, str] = {}
        self.pages: dict[str, int] = {}
        self.theirs: dict[str, int] = {}
        self.known: dict[str, str] = {}

    def settings(self) -> tuple[dict[str, Any], str]:
        config = {"url": f"{self.proxy.url}/api/v3", "allow_private": True, "featured_field": "featured_image"}
        return config, self.site.tokens["publisher"]

    def attributes(self, key: str) -> dict[str, str]:
        return {"slug": self.slugs[key]}

    def add_product(self, key: str) -> None:
        self.slugs[key] = new_slug()
        self.theirs[key] = self.site.add_image(draw(40, 30, next(self.seeds)))
        self.pages[key] = self.site.add_page(self.slugs[key], image=self.theirs[key])

    def remove_product(self, key: str) -> None:
        self.site.call("DELETE", f"images/{self.theirs[key]}/")

    def shown(self, key: str) -> Shown:
        featured = self.site.featured(self.pages[key])
        if not featured:
            return []
        image = self.site.call("GET", f"images/{featured}/")
        return [(self._identify(image), image["description"])]

    def stored(self) -> Counter[str]:
        return Counter(self._identify(image) for image in self.site.images().values())

    def _identify(self, image: dict[str, Any]) -> str:
        """Return what identifies an image; files of Wagtail never change."""
        address = image["meta"]["download_url"]
        if address not in self.known:
            self.known[address] = self.identify(self.site.read_file(image) or b"")
        return self.known[address]

    def problems(self, key: str, ours: Sequence[str]) -> list[str]:
        live, draft = (self.site.featured(self.pages[key], version) for version in ("live", "draft"))
        return [] if live == draft else [f"the draft has image {draft}, visitors see {live}"]

    def expect_delivered(self, before: Shown, ours: Shown) -> Shown:
        return ours[:1]

    def expect_recalled(self, before: Shown) -> Sequence[Shown]:
        return [[], before]  # the image of its own stays where ours never took its place
