"""A cache (CDN) on a real socket, as it stands in front of a hot folder: it keeps what it once got until it is purged.

The purge is POST /purge?url=… or POST /purge with {"files": ["…"]} as JSON, with a bearer token, or the method PURGE on
the file itself. The faults of remote_server.py count by route: "purge" and "file".
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.support.remote_server import Remote, Request, Response, plain

TOKEN = "purge token of the tests"


class CdnServer(Remote):
    """list_files: what the origin has, by path. is_deaf: purges are accepted and not carried out."""

    def __init__(self, list_files: Callable[[], dict[str, bytes]] = dict) -> None:
        super().__init__()
        self.list_files = list_files
        self.kept: dict[str, bytes] = {}
        self.purged: list[str] = []
        self.is_deaf = False

    def route(self, request: Request) -> str:
        return "purge" if request.path == "/purge" or request.method == "PURGE" else "file"

    def respond(self, request: Request) -> Response:
        if self.route(request) == "file":
            return self._serve(request.path)
        if request.method == "PURGE":
            was_kept = self._forget(request.path)
            return Response(200 if was_kept else 404)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return plain({"message": f"Unknown token {request.headers.get('authorization')}"}, 403)
        addresses = request.json["files"] if request.body else [request.query["url"]]
        for address in addresses:
            self._forget(urlsplit(address).path)
        return plain({"success": True})

    def _serve(self, path: str) -> Response:
        if path not in self.kept:
            content = self.list_files().get(path.removeprefix("/"))
            if content is None:
                return Response(404, b"", {"Content-Type": "text/plain"})
            self.kept[path] = content
        media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        return Response(200, self.kept[path], {"Content-Type": media_type})

    def _forget(self, path: str) -> bool:
        self.purged.append(path.removeprefix("/"))
        return not self.is_deaf and self.kept.pop(path, None) is not None
