"""The scenes of the destinations "wordpress" and "woocommerce"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from tests.support.kill_scenes import Scene, Shown
from tests.support.wordpress_server import serving

VARIATION = "variation: "


class SiteScene(Scene):
    """The base of both: one site."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.site = stack.enter_context(serving())
        self.site.url = self.add_proxy(self.site.url).url
        self.numbers: dict[str, int] = {}
        self.count = 0

    def settings(self) -> tuple[dict[str, Any], str]:
        return {"url": self.site.url, "allow_private": True}, self.site.secret

    def stored(self) -> Counter[str]:
        with self.site.guard:
            return Counter(self.identify(media.content) for media in self.site.media.values())

    def read_media(self, *ids: int) -> Shown:
        found = [self.site.media[each] for each in ids if each in self.site.media]
        return [(self.identify(media.content), media.alt_text) for media in found]

    def add_own_image(self, key: str) -> int:
        """Add an image of other bytes than all others."""
        number = self.site.add_media(f"{key}-theirs.jpg", f"Theirs of {key}")
        self.count += 1
        self.site.media[number].content += self.count.to_bytes(4)
        return number


class WordPressScene(SiteScene):
    kind = "wordpress"
    subject_kind = "article"
    shows_all = False

    def attributes(self, key: str) -> dict[str, str]:
        return {"slug": key.lower()}

    def add_product(self, key: str) -> None:
        with self.site.guard:
            self.numbers[key] = self.site.add_entry("posts", key.lower(), featured=self.add_own_image(key))

    def shown(self, key: str) -> Shown:
        with self.site.guard:
            return self.read_media(self.site.entries["posts"][self.numbers[key]]["featured_media"])

    def expect_delivered(self, before: Shown, ours: Shown) -> Shown:
        return ours[:1]

    def expect_recalled(self, before: Shown) -> Sequence[Shown]:
        return [[], before]  # the image of its own stays where ours never took its place


class WooCommerceScene(SiteScene):
    """Every second product is a variation, which shows our first image itself; its product shows the others.

    What it shows comes last, and its text begins with VARIATION; without an image of its own there is ("", VARIATION).
    """

    kind = "woocommerce"

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.variations: dict[str, int] = {}

    def add_product(self, key: str) -> None:
        with self.site.guard:
            is_variation = len(self.numbers) % 2 == 1
            sku = f"parent of {key}" if is_variation else key
            self.numbers[key] = self.site.add_product(sku, [self.add_own_image(key), self.add_own_image(key)])
            if is_variation:
                image = self.add_own_image(key) if len(self.numbers) % 4 == 0 else 0
                self.variations[key] = self.site.add_variation(self.numbers[key], key, image)

    def shown(self, key: str) -> Shown:
        with self.site.guard:
            of_product = self.read_media(*self.site.products[self.numbers[key]]["images"])
            if key not in self.variations:
                return of_product
            own = self.read_media(self.site.variations[self.variations[key]]["image"]) or [("", "")]
            return of_product + [(mark, VARIATION + alt) for mark, alt in own]

    def expect_delivered(self, before: Shown, ours: Shown) -> Shown:
        if not _is_variation(before):
            return super().expect_delivered(before, ours)
        return [*before[:-1], *ours[1:], (ours[0][0], VARIATION + ours[0][1])]

    def expect_recalled(self, before: Shown) -> Sequence[Shown]:
        # An image of the variation's own stays where ours never took its place.
        return [[*before[:-1], ("", VARIATION)], before] if _is_variation(before) else [before]

    def are_shown(self, shown: Shown, before: Shown, ours: Shown) -> bool:
        if not _is_variation(before):
            return super().are_shown(shown, before, ours)
        of_ours = {mark for mark, _alt in ours} or {"", before[-1][0]}
        return shown[:-1] == before[:-1] and shown[-1][0] in of_ours

    def disturb(self, key: str, chance: Random) -> None:
        with self.site.guard:
            images = self.site.products[self.numbers[key]]["images"]
            chance.shuffle(images)
            own = [media for media in images if "theirs" in self.site.media[media].name]
            self.site.media[chance.choice(own)].alt_text = "changed since"


def _is_variation(shown: Shown) -> bool:
    return bool(shown) and shown[-1][1].startswith(VARIATION)
