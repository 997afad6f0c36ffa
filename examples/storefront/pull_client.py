"""Keep a folder of approved images up to date, for a shop that serves them itself or from its CDN.

Reads the changes of a brand since the last time, downloads new files, removes those of recalled images, and writes one
JSON file per product for the page (picture.js) or the theme. Needs Python 3.11 and nothing else. Run it every minute:

    PROOFLINE_TOKEN=… python3 pull_client.py https://proofline.example kilnmoor public/images web,web-small

The folder then has files/<sha256>.<format>, named by their content, which can be cached for ever;
products/<sku>.json; and state.json, with the position among the changes. It is safe to stop the program at any moment
and to run it again; of two that run at the same time, the second ends at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

FIELDS = "asset,sku,alt_text,disclaimer,files"
NOT_MODIFIED = 304


class Api:
    """Sends requests with the token; one that would return what is already known returns None instead."""

    def __init__(self, site: str, token: str) -> None:
        if not site.startswith(("https://", "http://")):
            raise SystemExit(f"{site} is no address; give the site's, such as https://proofline.example.")
        self.site = site.rstrip("/")
        self.token = token

    def get(self, path: str, *, etag: str = "", **query: Any) -> tuple[bytes, str] | None:
        """Return body and ETag; None if `etag` is still the current one (304). `path` may be a whole address.

        The ETag of a file is the one that Proofline redirects with: the sha256 of its bytes.
        """
        address = urllib.parse.urljoin(f"{self.site}/api/v1/", path)
        if query:
            address += f"?{urllib.parse.urlencode(query)}"
        if not address.startswith(f"{self.site}/"):
            raise SystemExit(f"{address} is not an address of {self.site}, so it does not get the token.")
        request = urllib.request.Request(address)  # noqa: S310  # the scheme was checked
        # A file's address redirects to one that works without a token, perhaps on another server.
        request.add_unredirected_header("Authorization", f"Token {self.token}")
        if etag:
            request.add_header("If-None-Match", etag)
        try:
            redirects = Redirects()
            with urllib.request.build_opener(redirects).open(request, timeout=60) as response:
                return response.read(), redirects.etag or response.headers.get("ETag", "")
        except urllib.error.HTTPError as error:
            if error.code == NOT_MODIFIED:
                return None
            raise SystemExit(f"{address}: {error.code} {error.read().decode(errors='replace')[:500]}") from None
        except urllib.error.URLError as error:
            raise SystemExit(f"{address}: {error.reason}") from None


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects. etag: that of the last one; empty without a redirect."""

    etag = ""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        self.etag = arguments[4].get("ETag", "")
        return super().redirect_request(*arguments)


class Copy:
    """The folder with the files, the products and the state of one brand. Other renditions are a new beginning."""

    def __init__(self, folder: Path, renditions: str) -> None:
        self.folder, self.renditions = folder, renditions
        for name in ("files", "products"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{folder} is being brought up to date by another process.") from None
        path = folder / "state.json"
        self.state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        if self.state.get("renditions") != renditions:
            self.state = {"renditions": renditions, "since": 0, "products": {}}

    def write(self, path: Path, data: bytes) -> None:
        """Write the file in one step, so that nobody reads half of it."""
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(data)
        part.replace(path)

    def save(self) -> None:
        self.write(self.folder / "state.json", json.dumps(self.state, indent=1).encode())

    def product_path(self, sku: str) -> Path:
        name = urllib.parse.quote(sku, safe="!'()*")  # as encodeURIComponent of JavaScript
        return self.folder / "products" / f"{name}.json"

    def remove_unused_files(self) -> None:
        used = set()
        for path in (self.folder / "products").glob("*.json"):
            used |= {file["path"] for image in json.loads(path.read_text()) for file in image["files"]}
        for path in (self.folder / "files").iterdir():
            if f"files/{path.name}" not in used:
                path.unlink()


def pull(api: Api, copy: Copy, brand: str) -> int:
    """Bring the copy up to date; return how many products changed."""
    changed = 0
    while True:
        since = copy.state["since"]
        answer = api.get("changes/", brand=brand, since=since, fields="sku", limit=1000)
        assert answer is not None, "no ETag was sent"
        page = json.loads(answer[0])
        for sku in dict.fromkeys(entry["sku"] for entry in page["changes"]):
            changed += update_product(api, copy, brand, sku)
        copy.remove_unused_files()
        copy.state["since"] = page["next"]  # only now, so that an interrupted page is read again
        copy.save()
        if not page["changes"]:
            return changed


def update_product(api: Api, copy: Copy, brand: str, sku: str) -> bool:
    """Write the images of one product that may be used now; return whether they changed."""
    etags = copy.state["products"]
    path = f"products/{urllib.parse.quote(sku, safe='')}/assets/"
    answer = api.get(path, etag=etags.get(sku, ""), brand=brand, renditions=copy.renditions, fields=FIELDS)
    if answer is None:
        return False
    body, etag = answer
    images = [show_image(api, copy, image) for image in json.loads(body)["assets"]]
    copy.write(copy.product_path(sku), json.dumps(images, ensure_ascii=False).encode())
    etags[sku] = etag
    return True


def show_image(api: Api, copy: Copy, image: dict[str, Any]) -> dict[str, Any]:
    """Download the files that are not there yet; return what the page needs of the image."""
    shown = [{**file, "path": download(api, copy, file)} for file in image["files"]]
    kept = ("path", "spec", "width", "height", "image_format")
    files = [{name: file[name] for name in kept} for file in sorted(shown, key=lambda file: file["width"])]
    return {"alt": image["alt_text"], "disclaimer": image["disclaimer"], "files": files}


def download(api: Api, copy: Copy, file: dict[str, Any]) -> str:
    """Return the path of the file in the folder. Its name is its content, so it is downloaded at most once."""
    folder, sha256 = copy.folder / "files", file["sha256"]
    if sha256 is None or not (folder / f"{sha256}.{file['image_format']}").exists():
        answer = api.get(file["url"])
        assert answer is not None, "no ETag was sent"
        content, etag = answer
        sha256 = sha256 or etag.strip('"')  # it is null for some seconds after the approval
        if hashlib.sha256(content).hexdigest() != sha256:
            raise SystemExit(f"{file['url']} is not the file that is listed; it is left out. Run this again.")
        copy.write(folder / f"{sha256}.{file['image_format']}", content)
    return f"files/{sha256}.{file['image_format']}"


if __name__ == "__main__":
    if len(sys.argv) != 5 or "PROOFLINE_TOKEN" not in os.environ:
        raise SystemExit(__doc__)
    _program, site, brand, folder, renditions = sys.argv
    count = pull(Api(site, os.environ["PROOFLINE_TOKEN"]), Copy(Path(folder), renditions), brand)
    print(f"{count} products changed")
