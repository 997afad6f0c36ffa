"""A real Wagtail site in its own process, made once for all tests, and what it shows over its API and its pages."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from config import env, supervisor
from tests.support.marked_images import without_marks

HOST = "127.0.0.1"
PATIENCE_SECONDS = 60
_NUMBERS = itertools.count(1)


class WagtailServer:
    """One running site. tokens: by the names of examples.wagtail_site.contents.PEOPLE, and "admin"."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.client = httpx.Client(timeout=30)
        self.url: str = facts["url"]
        self.tokens: dict[str, str] = facts["tokens"]
        self.collection: int = facts["collection"]
        self.front_page = int(self.call("GET", "pages/?type=journal.FrontPage")["items"][0]["id"])

    def call(self, method: str, route: str, user: str = "admin", **request: Any) -> Any:
        """Return what the API answers to a user."""
        headers = {"authorization": f"Bearer {self.tokens[user]}"}
        answer = self.client.request(method, f"{self.url}/api/v3/{route}", headers=headers, **request)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def add_page(self, slug: str = "", *, image: int = 0, is_published: bool = True, parent: int = 0) -> int:
        """Add an article; return its number."""
        action = {"action": "publish"} if is_published else {}
        data = {
            "meta": {"type": "journal.Article", "parent_id": parent or self.front_page, **action},
            "title": slug.replace("-", " ").capitalize() or "Article",
            "slug": slug or new_slug(),
            "body": "<p>Words.</p>",
            "featured_image_id": image or None,
        }
        return int(self.call("POST", "pages/", json=data)["id"])

    def change_page(self, page: int, **changes: Any) -> None:
        """Change an article as its editor does, without publishing it."""
        self.call("PATCH", f"pages/{page}/", json=changes)

    def featured(self, page: int, version: str = "live") -> int:
        """Return the number of the article's image, 0 without one."""
        image = self.call("GET", f"pages/{page}/?version={version}")["featured_image"]
        return int(image["id"]) if image else 0

    def read_page(self, page: int) -> str:
        """Return the HTML that visitors get."""
        return self.client.get(self.call("GET", f"pages/{page}/")["meta"]["html_url"]).text

    def add_image(self, content: bytes, title: str = "Theirs") -> int:
        file = {"file": ("theirs.jpg", content, "image/jpeg")}
        data = {"title": title, "collection_id": str(self.collection)}
        return int(self.call("POST", "images/", files=file, data=data)["id"])

    def images(self) -> dict[int, dict[str, Any]]:
        """Return all images of the library by number."""
        found: dict[int, dict[str, Any]] = {}
        while items := self.call("GET", f"images/?limit=20&offset={len(found)}")["items"]:
            found |= {item["id"]: item for item in items}
        return found

    def read_file(self, image: dict[str, Any]) -> bytes | None:
        """Return what the site serves for an image; None if nothing."""
        answer = self.client.get(f"{self.url}{image['meta']['download_url']}")
        return answer.content if answer.status_code == 200 else None

    def find(self, content: bytes) -> list[int]:
        """Return the numbers of the images with these bytes, marks of origin aside."""
        return [number for number, image in self.images().items() if without_marks(self.read_file(image)) == content]

    def clear(self) -> None:
        """Delete all images."""
        for number in self.images():
            self.call("DELETE", f"images/{number}/")


def new_slug() -> str:
    return f"article-{next(_NUMBERS)}"


@contextmanager
def serving(folder: Path) -> Iterator[WagtailServer]:
    """Make a site in a folder and serve it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    log = (folder / "site.log").open("wb")
    command = [sys.executable, "-m", "examples.wagtail_site", "--folder", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, cwd=env.ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        reachable = supervisor.wait_until_reachable(HOST, port, seconds=PATIENCE_SECONDS)
        assert reachable, (folder / "site.log").read_text()
        yield WagtailServer(json.loads((folder / "site.json").read_text()))
    finally:
        process.terminate()
        process.wait(20)
        log.close()
