"""Test docs/api.md: run its blocks with bash and curl against a real server, and compare what they print."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from campaigns.models import Subject
from core.models import Brand, User
from generation.models import Asset
from review.models import Decision, Delivery
from review.services import destinations
from tests.support import factories, processes
from tests.support.receiver import receiving

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```sh\n(?P<script>.*?)```(?:\n\n```text\n(?P<output>.*?)```)?", re.S)
MARK = "=== end of block ==="
PASSWORD = "correct horse"


def read_blocks() -> list[tuple[str, str | None]]:
    """Return the scripts of docs/api.md in order, each with the output that the page shows; None if it shows none."""
    return [(match["script"], match["output"]) for match in BLOCK.finditer((ROOT / "docs/api.md").read_text())]


def matches(shown: str, printed: str) -> bool:
    """Return whether the output is the one that the page shows, in which "…" stands for anything within a line."""
    pattern = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", shown.strip()))
    return re.fullmatch(pattern, printed.strip()) is not None


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a ZIP with the photos of two products, as in `make demo`."""
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.write(ROOT / "examples/photos/mug-moss.jpg", "A-1.jpg")
        packed.write(ROOT / "examples/photos/bowl-oat.jpg", "A-2.jpg")
    return path


@pytest.fixture
def workers(clean_redis: Any, settings: Any) -> Iterator[None]:
    """Run a worker and the clock; an approval takes effect after two seconds instead of thirty."""
    settings.PROOFLINE = settings.PROOFLINE | {"undo_seconds": 2, "allow_private_webhooks": True}
    worker = processes.running("worker", "cpu", "io", "housekeeping", PROOFLINE_ALLOW_PRIVATE_WEBHOOKS="1")
    with worker, processes.running("clock"):
        yield


@pytest.fixture
def shop(brand: Brand, lead: User, tmp_path: Path) -> None:
    """Create the destination of which the page lists the deliveries."""
    path = tmp_path / brand.slug / "shop"
    path.mkdir(parents=True)
    destinations.create(brand=brand, by=lead, slug="shop", name="Shop", kind="folder", config={"path": str(path)})


def run(scripts: list[str], folder: Path, environment: dict[str, str]) -> tuple[list[str], str]:
    """Run the scripts in one shell; return what each printed, and how the shell ended if it did not succeed."""
    script = "set -euo pipefail\nexec 2>&1\n" + f"\necho '{MARK}'\n".join(scripts)
    command = ["bash", "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    failure = f"exit {done.returncode}: {done.stdout[-3000:]}" if done.returncode else ""
    return done.stdout.split(f"{MARK}\n"), failure


@pytest.mark.slow
@pytest.mark.usefixtures("workers", "shop")
def test_the_documented_path_works_with_curl_alone(
    live_server: Any, settings: Any, brand: Brand, person: Callable[..., User], tmp_path: Path, photos: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    settings.SITE_URL = live_server.url
    manager, reviewer, lead = person("campaign_manager"), person("reviewer"), person("lead")
    for user in (manager, reviewer, lead):
        user.set_password(PASSWORD)
        user.save()
    factories.EndpointFactory(slug="packshot", engine="packshot", lane="cpu", config={})
    blocks = read_blocks()
    assert len(blocks) > 15
    environment = processes.environment(
        SITE=live_server.url,
        BRAND=brand.slug,
        ENDPOINT="packshot",
        PHOTOS=str(photos),
        LOGIN=f"{manager.username}:{PASSWORD}",
        REVIEWER=f"{reviewer.username}:{PASSWORD}",
        LEAD=f"{lead.username}:{PASSWORD}",
        LC_ALL="C.UTF-8",
    )
    with receiving() as receiver:
        environment["HOOK"] = receiver.url
        printed, failure = run([script for script, _shown in blocks], tmp_path, environment)
    assert not failure, failure
    assert len(printed) == len(blocks)
    for (script, shown), output in zip(blocks, printed, strict=True):
        assert shown is None or matches(shown, output), f"{script}\nshould print\n{shown}\nbut printed\n{output}"
    assert all(shown for _script, shown in blocks if "api " in _script), "the page shows what each request prints"
    assert set(Subject.objects.filter(brand=brand).values_list("key", flat=True)) == {f"A-{n}" for n in range(1, 6)}
    assert Asset.objects.filter(campaign__slug="autumn").count() == 4
    assert Asset.objects.get(state="approved").campaign.slug == "autumn"
    assert Decision.objects.get().decided_by == reviewer
    types = [json.loads(request.body)["type"] for request in receiver.requests]
    assert types == ["webhook.test", "run.finished"]
    assert Delivery.objects.get().desired == "absent"
    names = zipfile.ZipFile(tmp_path / "approved.zip").namelist()
    assert any(name.endswith("manifest.csv") for name in names)
    assert any(name.endswith(".webp") for name in names)


def test_other_output_than_the_page_shows_is_noticed() -> None:
    assert matches('{"next":…}\n304 0\n', '{"next":12}\n304 0')
    assert not matches("304 0\n", "200 12")
    assert not matches("2\n", "2\n1")
    assert not matches("…\n2\n", "2")
