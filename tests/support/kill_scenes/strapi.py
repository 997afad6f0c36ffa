"""The scene of the destination "strapi": articles, each with an image of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support import strapi_server
from tests.support.kill_scenes import Scene, Shown


class StrapiScene(Scene):
    kind = "strapi"
    subject_kind = "article"
    shows_all = False

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.strapi = stack.enter_context(strapi_server.serving())
        self.strapi.url = self.add_proxy(self.strapi.url).url
        self.documents: dict[str, str] = {}

    def settings(self) -> tuple[dict[str, Any], str]:
        return {"url": self.strapi.url, "allow_private": True, "entries": "articles"}, self.strapi.secret

    def attributes(self, key: str) -> dict[str, str]:
        return {"slug": key.lower()}

    def add_product(self, key: str) -> None:
        with self.strapi.guard:
            theirs = self.strapi.add_media(f"theirs-{key}.jpg", f"theirs {key}".encode())
            self.documents[key] = self.strapi.add_entry(key.lower(), cover=theirs)

    def shown(self, key: str) -> Shown:
        with self.strapi.guard:
            media = self.strapi.media.get(self.strapi.cover(self.documents[key]) or 0)
        return [(self.identify(media.content), media.alt_text)] if media else []

    def stored(self) -> Counter[str]:
        with self.strapi.guard:
            return Counter(self.identify(media.content) for media in self.strapi.media.values())

    def problems(self, key: str, ours: Sequence[str]) -> list[str]:
        draft, live = (self.strapi.cover(self.documents[key], status) for status in ("draft", "published"))
        return [] if live == draft else [f"the draft has file {draft}, visitors see {live}"]

    def expect_delivered(self, before: Shown, ours: Shown) -> Shown:
        return ours[:1]

    def expect_recalled(self, before: Shown) -> Sequence[Shown]:
        return [[], before]  # the image of its own stays where ours never took its place
