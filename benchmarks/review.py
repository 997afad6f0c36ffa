"""Measure the pages of review, the library and home over HTTP, with 10,000, 100,000 and 1,000,000 images.

The data are those of review_data.py. The server is the one that `make demo` runs; one client asks over a kept
connection, as a reviewer of one brand, a lead of 30 brands and a superuser. Each page is asked for REQUESTS times
after WARM times that do not count; decisions approve one image after the other as the workspace does.

    make bench NAME=review      SIZES=10000,100000,1000000 REQUESTS=40

The last line is JSON: {"p95_ms": {page: ms of the largest size}, "growth": {page: largest / smallest size}}.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SIZES = [int(size) for size in os.environ.get("SIZES", "10000,100000,1000000").split(",")]
REQUESTS, WARM = int(os.environ.get("REQUESTS", "40")), 5
USERS = tuple(os.environ.get("USERS", "reviewer,lead,superuser").split(","))
PLACE = "/brands/meadow/"


@contextmanager
def web_server() -> Iterator[str]:
    """Run the web server; yield its address."""
    from config.supervisor import web_program

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(web_program(host="127.0.0.1", port=port).command, cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                httpx.get(f"{address}/accounts/login/", timeout=30)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def sign_in(address: str, user: Any) -> httpx.Client:
    """Return a client with a session of the user, as the form of the sign-in page makes one."""
    from tests.support import factories

    client = httpx.Client(base_url=address, timeout=120, follow_redirects=True)
    page = client.get("/accounts/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token is not None
    form = {"csrfmiddlewaretoken": token[1], "login": user.username, "password": factories.PASSWORD}
    client.post("/accounts/login/", data=form, headers={"Referer": address}).raise_for_status()
    return client


def pages(made: dict[str, Any], images: int) -> dict[str, Callable[[int], str]]:
    """Return the address of each page, for the number of the request."""
    searches = cycle(["kissen", "MDW-000123", "vase 17", "becher sage"])
    old = max(1, images // 2)
    return {
        "home": lambda _: PLACE,
        "queue": lambda _: f"{PLACE}review/",
        "library": lambda _: f"{PLACE}library/",
        "library_deep": lambda _: f"{PLACE}library/?after={old}",
        "facet_state": lambda _: f"{PLACE}library/?state=approved&state=rejected",
        "facet_campaign": lambda number: f"{PLACE}library/?campaign={made['campaign'] + number % 100}",
        "finding": lambda _: f"{PLACE}library/?problem=near_duplicate",
        "search": lambda _: f"{PLACE}library/?q={next(searches)}",
        "campaign": lambda _: f"{PLACE}campaigns/campaign-0/",
        "asset": lambda number: f"{PLACE}assets/{_in_meadow(images // 2 + number)}/",
    }


def _in_meadow(number: int) -> int:
    """Return an image of the large brand: every hundredth is another's."""
    return number + (number % 100 == 99)


def measure_pages(client: httpx.Client, addresses: dict[str, Callable[[int], str]]) -> dict[str, list[float]]:
    return {name: _times(lambda number, make=make: client.get(make(number))) for name, make in addresses.items()}


def _times(ask: Callable[[int], httpx.Response]) -> list[float]:
    seconds = []
    for number in range(WARM + REQUESTS):
        started = time.perf_counter()
        answer = ask(number)
        seconds.append(time.perf_counter() - started)
        answer.raise_for_status()
    return seconds[WARM:]


def measure_work(client: httpx.Client) -> dict[str, list[float]]:
    """Measure the workspace: its page, claims, sidebars and decisions, all as its script asks for them."""
    state: dict[str, Any] = {}

    def open_workspace(_: int) -> httpx.Response:
        answer = client.get(f"{PLACE}review/room/")
        found = re.search(r'<script id="[^"]*" type="application/json">(.*?)</script>', answer.text, re.DOTALL)
        assert found is not None
        state["page"] = json.loads(found[1])
        token = re.search(r'data-csrf="([^"]+)"', answer.text)
        assert token is not None
        client.headers["X-CSRFToken"] = token[1]
        return answer

    def post(address: str, **body: Any) -> httpx.Response:
        return client.post(address, json=body, headers={"Referer": str(client.base_url)})

    def approve(_: int) -> httpx.Response:
        if not state["cards"]:
            state["cards"] = post(f"{PLACE}review/more/", known=[]).json()["cards"]
        card = state["cards"].pop(0)
        version = card["versions"][0]
        address = state["page"]["urls"]["approve"].replace("/0/", f"/{card['id']}/")
        return post(address, version=version["id"], seen=version["seen"])

    figures = {"workspace": _times(open_workspace)}
    cards = state["page"]["cards"]
    figures["sidebar"] = _times(lambda number: client.get(cards[number % len(cards)]["sidebar"]))
    figures["claim"] = _times(lambda _: post(f"{PLACE}review/more/", known=[]))
    state["cards"] = list(cards)
    return figures | {"decide": _times(approve)}


def trial(images: int) -> dict[str, list[float]]:
    """Return the seconds of each page, of all users together."""
    import django

    django.setup()
    from django.core.management import call_command

    from benchmarks import review_data

    call_command("migrate", verbosity=0, skip_checks=True)
    call_command("collectstatic", verbosity=0, interactive=False)
    started = time.perf_counter()
    made = review_data.create(images)
    print(f"{images:,} images in {time.perf_counter() - started:.0f} s", flush=True)
    figures: dict[str, list[float]] = {}
    with web_server() as address:
        for name in USERS:
            with closing(sign_in(address, made["users"][name])) as client:
                measured = measure_pages(client, pages(made, images)) | measure_work(client)
            for page, seconds in measured.items():
                print(f"{images:>9,} {name:<9} {page:<14} {_show(seconds)}", flush=True)
                figures.setdefault(page, []).extend(seconds)
    return figures


def _show(seconds: list[float]) -> str:
    return f"p50 {_percentile(seconds, 50):7.1f} ms   p95 {_percentile(seconds, 95):7.1f} ms"


def _percentile(seconds: list[float], share: float) -> float:
    return round(1000 * float(np.percentile(seconds, share)), 1)


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    if len(SIZES) == 1:
        _run_one(SIZES[0])
        return
    results = {}
    for size in SIZES:  # each in a new process, with a database of its own
        command = [sys.executable, __file__]
        output = subprocess.run(command, env=os.environ | {"SIZES": str(size)}, stdout=subprocess.PIPE, check=True)
        *lines, last = output.stdout.decode().splitlines()
        print("\n".join(lines), flush=True)
        results[size] = json.loads(last)["p95_ms"]
    small, large = results[SIZES[0]], results[SIZES[-1]]
    growth = {page: round(large[page] / small[page], 2) for page in large}
    print(json.dumps({"p95_ms": large, "growth": growth}))


def _run_one(size: int) -> None:
    with tempfile.TemporaryDirectory(prefix="review-") as var:
        os.environ["PROOFLINE_VAR"] = var
        from config import embedded

        with embedded.services():
            figures = trial(size)
    print(json.dumps({"p95_ms": {page: _percentile(seconds, 95) for page, seconds in figures.items()}}))


if __name__ == "__main__":
    main()
