"""The scenes of destinations that keep files and know no products."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from config.env import ROOT
from tests.support import (
    bynder_server,
    cloudinary_server,
    cms_server,
    contentful_server,
    resourcespace_server,
    sanity_server,
)
from tests.support.kill_scenes import Scene, Shown
from tests.support.resourcespace_server import Resource

THEIRS = "theirs"
STRAPI = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "http-templates.md").read_text(), re.DOTALL)[0]


class LibraryScene(Scene):
    """The base of all. A product is two files that somebody else has put there, and those of ours with its key."""

    service: Any

    def settings(self) -> tuple[dict[str, Any], str]:
        return {"url": self.service.url, "allow_private": True}, self.service.secret

    def add_file(self, name: str, content: bytes) -> None:
        """Add a file as somebody else does."""
        raise NotImplementedError

    def forget(self, key: str) -> None:
        """Remove the product's own files."""
        raise NotImplementedError

    def read_files(self) -> list[tuple[str, bytes, str]]:
        """Return the name, bytes and alternative text of each file that people see."""
        raise NotImplementedError

    def add_product(self, key: str) -> None:
        with self.service.guard:
            for number in (1, 2):
                self.add_file(f"{THEIRS}-{number}-{key}.jpg", f"theirs {number} {key}".encode())

    def remove_product(self, key: str) -> None:
        with self.service.guard:
            self.forget(key)

    def shown(self, key: str) -> Shown:
        with self.service.guard:
            files = [file for file in self.read_files() if key.lower() in file[0].lower()]
        theirs = [(self.identify(content), alt) for name, content, alt in files if name.startswith(THEIRS)]
        ours = [(self.identify(content), alt) for name, content, alt in files if not name.startswith(THEIRS)]
        return theirs + sorted(ours)

    def stored(self) -> Counter[str]:
        with self.service.guard:
            return Counter(self.identify(content) for _name, content, _alt in self.read_files())

    def expect_delivered(self, before: Shown, ours: Shown) -> Shown:
        return before + sorted(ours)


class HttpScene(LibraryScene):
    """The template of the documentation."""

    kind = "http"

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.service = stack.enter_context(cms_server.serving())
        self.service.url = self.add_proxy(self.service.url).url

    def settings(self) -> tuple[dict[str, Any], str]:
        config, secret = super().settings()
        return config | {"template": STRAPI}, secret

    def add_file(self, name: str, content: bytes) -> None:
        self.service.add_media(name, content)

    def forget(self, key: str) -> None:
        media = self.service.media
        for number in [each.id for each in media.values() if key in each.name]:
            del media[number]

    def read_files(self) -> list[tuple[str, bytes, str]]:
        return [(media.name, media.content, media.alt_text) for media in self.service.media.values()]


class ResourceSpaceScene(LibraryScene):
    kind = "resourcespace"

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.service = stack.enter_context(resourcespace_server.serving())
        self.service.url = self.add_proxy(self.service.url).url

    def add_file(self, name: str, content: bytes) -> None:
        self.service.add_resource(name, content)

    def forget(self, key: str) -> None:
        resources = self.service.resources
        for ref in [each.ref for each in resources.values() if key in _title(each)]:
            del resources[ref]

    def read_files(self) -> list[tuple[str, bytes, str]]:
        resources = self.service.media.values()
        return [(_title(each), each.content, each.fields.get(18, "")) for each in resources]

    def problems(self, key: str, ours: Sequence[str]) -> list[str]:
        with self.service.guard:
            return [f"resource {each.ref} has no file" for each in self.service.media.values() if not each.content]


class SanityScene(LibraryScene):
    kind = "sanity"

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.service = stack.enter_context(sanity_server.serving())
        self.service.url = self.add_proxy(self.service.url).url

    def settings(self) -> tuple[dict[str, Any], str]:
        config, secret = super().settings()
        return config | {"project": sanity_server.PROJECT}, secret

    def add_file(self, name: str, content: bytes) -> None:
        self.service.add_asset(name, content)

    def forget(self, key: str) -> None:
        for each in [each for each in self.service.assets if key in each.name]:
            del self.service.documents[each.id]

    def read_files(self) -> list[tuple[str, bytes, str]]:
        return [(each.name, each.content, each.document.get("altText", "")) for each in self.service.assets]

    def problems(self, key: str, ours: Sequence[str]) -> list[str]:
        """Return the assets whose marks are not those of one delivery, or of none where others uploaded them."""
        with self.service.guard:
            counts = {each.name: len(each.document.get("proofline", [])) for each in self.service.assets}
        return [f"{name} has {count} marks" for name, count in counts.items() if count != (not name.startswith(THEIRS))]


class ContentfulScene(LibraryScene):
    kind = "contentful"

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.service = stack.enter_context(contentful_server.serving())
        self.service.url = self.add_proxy(self.service.url).url

    def settings(self) -> tuple[dict[str, Any], str]:
        config, secret = super().settings()
        config |= {"upload_url": config["url"], "space": contentful_server.SPACE, "per_second": 100}
        return config, secret

    def add_file(self, name: str, content: bytes) -> None:
        self.service.add_asset(name, content)

    def forget(self, key: str) -> None:
        for each in [each for each in self.service.assets.values() if key in each.name]:
            del self.service.assets[each.id]

    def read_files(self) -> list[tuple[str, bytes, str]]:
        return [(each.name, each.content, each.text("description")) for each in self.service.assets.values()]

    def problems(self, key: str, ours: Sequence[str]) -> list[str]:
        with self.service.guard:
            unpublished = [each.name for each in self.service.assets.values() if each.published_version < 1]
        return [f"{name} is not published" for name in unpublished]


class BynderScene(LibraryScene):
    kind = "bynder"

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.service = stack.enter_context(bynder_server.serving())
        self.service.processing_seconds = 0.1
        self.service.url = self.add_proxy(self.service.url).url

    def add_file(self, name: str, content: bytes) -> None:
        self.service.add_asset(name, content)

    def forget(self, key: str) -> None:
        assets = self.service.assets
        for asset_id in [each.id for each in assets.values() if key in each.name]:
            del assets[asset_id]

    def read_files(self) -> list[tuple[str, bytes, str]]:
        return [(each.name, each.content, each.description) for each in self.service.assets.values()]


class CloudinaryScene(LibraryScene):
    kind = "cloudinary"

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.service = stack.enter_context(cloudinary_server.serving())
        self.service.admin_calls = 1_000_000
        self.service.url = self.add_proxy(self.service.url).url

    def settings(self) -> tuple[dict[str, Any], str]:
        config, secret = super().settings()
        return config | {"cloud_name": cloudinary_server.CLOUD}, secret

    def add_file(self, name: str, content: bytes) -> None:
        self.service.add_image(name, content)

    def forget(self, key: str) -> None:
        images = self.service.images
        for public_id in [each for each in images if key in each]:
            del images[public_id]

    def read_files(self) -> list[tuple[str, bytes, str]]:
        images = self.service.images.values()
        return [(each.public_id, each.content, each.context.get("alt", "")) for each in images]


def _title(resource: Resource) -> str:
    return resource.fields.get(8, "")
