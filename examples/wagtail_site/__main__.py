"""`python -m examples.wagtail_site --folder FOLDER`: make the example's magazine if there is none, and serve it.

The file site.json in the folder has the address, the number of the collection and the tokens. A line "ready" is printed
when requests are answered.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
from pathlib import Path
from typing import Any

import django

HOST = "127.0.0.1"
PASSWORD = "clay-and-glaze"  # noqa: S105 - public, like that of the example's people; the site listens on this machine only


def main() -> None:
    parser = argparse.ArgumentParser(prog="examples.wagtail_site")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8100)
    given = parser.parse_args()
    folder, url = given.folder.absolute(), f"http://{HOST}:{given.port}"
    facts = _read_facts(folder)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "examples.wagtail_site.settings",
        "WAGTAIL_SITE_FOLDER": str(folder),
        "WAGTAIL_SITE_KEY": facts["key"],
        "WAGTAIL_SITE_URL": url,
    }
    django.setup()
    _prepare(folder, url, facts)
    _serve(given.port)


def _read_facts(folder: Path) -> dict[str, Any]:
    """Return what site.json has; a new one has only a key."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "site.json"
    if file.exists():
        facts: dict[str, Any] = json.loads(file.read_text())
        return facts
    return {"key": secrets.token_hex(32)}


def _prepare(folder: Path, url: str, facts: dict[str, Any]) -> None:
    from django.core.management import call_command
    from wagtail.models import Collection, Site

    from examples.wagtail_site import contents

    if "tokens" not in facts:
        (folder / "site.sqlite3").unlink(missing_ok=True)  # of a start that was interrupted
        call_command("migrate", run_syncdb=True, verbosity=0)
        facts["tokens"] = contents.create(url=url, password=PASSWORD)
    Site.objects.update(port=int(url.rpartition(":")[2]))
    Site.clear_site_root_paths_cache()
    collection = Collection.objects.get(name=contents.COLLECTION)
    file = folder / "site.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({**facts, "url": url, "collection": collection.pk}))


def _serve(port: int) -> None:
    from django.core.servers.basehttp import run
    from django.core.wsgi import get_wsgi_application

    run(HOST, port, get_wsgi_application(), threading=True, on_bind=lambda _port: print("ready", flush=True))


if __name__ == "__main__":
    main()
