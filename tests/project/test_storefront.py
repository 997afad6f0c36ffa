"""Test the example of a headless shop: a client that pulls approved images, and the script that shows them."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image

from campaigns.models import Subject
from core import stored_files
from core.models import Brand, User
from core.services import tokens
from generation.models import Asset, Rendition
from review.services import consequences, decisions, retractions
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.marked_images import mark_released_files
from tests.support.sealing import seal

pytestmark = pytest.mark.django_db(transaction=True)

STOREFRONT = Path(__file__).resolve().parents[2] / "examples/storefront"
SIZES = {"web": 480, "web-small": 240}


@pytest.fixture
def pull(live_server: Any, settings: Any, brand: Brand, integrator: User, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs the client as a cron job does, and returns how it ended."""
    settings.SITE_URL = live_server.url
    token = tokens.create(user=integrator)

    def run(renditions: str = "web,web-small") -> subprocess.CompletedProcess[str]:
        seal()
        command = [sys.executable, "-I", str(STOREFRONT / "pull_client.py")]
        command += [live_server.url, brand.slug, str(tmp_path / "images"), renditions]
        environment = {"PATH": os.environ["PATH"], "PROOFLINE_TOKEN": token}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


def approve(brand: Brand, key: str, reviewer: User, *, is_marked: bool = True) -> Asset:
    """Return an approved image of a product, with a JPEG of each size; is_marked: with marks of origin."""
    task = create_image_in_review(brand, specs=[])
    asset = task.asset
    Subject.objects.filter(pk=asset.subject_id).update(key=key, name=f"Mug {key}")
    for slug, width in SIZES.items():
        stored = stored_files.put(jpeg(width, asset.pk), suffix="jpg")
        factories.RenditionFactory(
            version=asset.versions.get(),
            output_spec=factories.OutputSpecFactory(campaign=asset.campaign, slug=slug, width=width, height=width),
            sha256=stored.sha256,
            storage_key=stored.key,
            bytes=stored.bytes,
            width=width,
            height=width,
        )
    decisions.approve(**decision_arguments(task), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    if is_marked:
        mark_released_files()
    return asset


def jpeg(width: int, number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, width), (number * 40 % 256, 120, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def read_product(folder: Path, name: str) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = json.loads((folder / "products" / f"{name}.json").read_text())
    return images


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "files").iterdir()}


def shas(asset: Asset) -> set[str]:
    files = Rendition.objects.filter(version__asset=asset)
    return {f"{sha256}.jpeg" for sha256 in files.values_list("marked_file__sha256", flat=True)}


# -- the client -------------------------------------------------------------------------------------------------------


def test_the_client_copies_what_is_approved_and_asks_for_nothing_twice(
    pull: Callable[..., Any], folder: Path, brand: Brand, reviewer: User
) -> None:
    mug, jug = approve(brand, "A-1", reviewer), approve(brand, "B 2/(red)", reviewer)
    done = pull()
    assert (done.returncode, done.stdout) == (0, "2 products changed\n"), done.stderr
    [image] = read_product(folder, "A-1")
    assert (image["alt"], [file["width"] for file in image["files"]]) == ("Mug A-1", [240, 480])
    assert [image["alt"] for image in read_product(folder, "B%202%2F(red)")] == ["Mug B 2/(red)"]
    assert names(folder) == shas(mug) | shas(jug)
    assert pull().stdout == "0 products changed\n"
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "since": 0}))
    assert pull().stdout == "0 products changed\n", "each product was answered with 304"


def test_the_client_needs_not_wait_for_the_marks(
    pull: Callable[..., Any], folder: Path, brand: Brand, reviewer: User
) -> None:
    mug = approve(brand, "A-1", reviewer, is_marked=False)
    assert pull().stdout == "1 products changed\n"
    assert names(folder) == shas(mug)
    for name in names(folder):
        assert name == f"{hashlib.sha256((folder / 'files' / name).read_bytes()).hexdigest()}.jpeg"


def test_the_client_removes_what_was_recalled(
    pull: Callable[..., Any], folder: Path, brand: Brand, reviewer: User, lead: User
) -> None:
    mug, jug = approve(brand, "A-1", reviewer), approve(brand, "A-2", reviewer)
    pull("web")
    assert len(names(folder)) == 2, "one rendition of each"
    retractions.revoke(asset_id=mug.pk, by=lead, note="licence ended")
    assert pull("web").stdout == "1 products changed\n"
    assert read_product(folder, "A-1") == []
    assert names(folder) <= shas(jug)


def test_the_client_takes_no_file_that_is_not_the_approved_one_and_goes_on_later(
    pull: Callable[..., Any], folder: Path, brand: Brand, reviewer: User
) -> None:
    file = approve(brand, "A-1", reviewer).versions.get().renditions.get(output_spec__slug="web")
    assert file.marked_file is not None
    path = Path(default_storage.path(file.marked_file.storage_key))
    right = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(jpeg(480, 7))
    refused = pull("web")
    assert refused.returncode != 0
    assert "is not the file that is listed" in refused.stderr
    assert not (folder / "products/A-1.json").exists()
    path.write_bytes(right)
    assert pull("web").stdout == "1 products changed\n"
    assert len(names(folder)) == 1


def test_the_client_fetches_what_is_missing_when_other_renditions_are_chosen(
    pull: Callable[..., Any], folder: Path, brand: Brand, reviewer: User
) -> None:
    approve(brand, "A-1", reviewer)
    pull("web")
    assert len(names(folder)) == 1
    assert pull().stdout == "1 products changed\n"
    assert len(names(folder)) == 2


def test_two_clients_do_not_disturb_each_other(
    pull: Callable[..., Any], folder: Path, brand: Brand, reviewer: User
) -> None:
    approve(brand, "A-1", reviewer)
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = pull()
        assert second.returncode != 0
        assert "another process" in second.stderr
    assert pull().stdout == "1 products changed\n"


def test_the_client_says_what_was_refused(pull: Callable[..., Any], brand: Brand, reviewer: User) -> None:
    approve(brand, "A-1", reviewer)
    refused = pull("poster")
    assert refused.returncode != 0
    assert "Known are: web, web-small." in refused.stderr


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(folder: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the script and the folder as a shop does; yield its address and the log of its answers."""
    answers: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            answers.append(f"{int(code)} {self.path}")

    shutil.copy(STOREFRONT / "picture.js", tmp_path)
    (tmp_path / "index.html").write_text('<!doctype html><meta charset="utf-8"><main></main>')
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()
        thread.join()


SHOW = """async ([sku, sizes]) => {
    const { showImages } = await import('/picture.js');
    const main = document.querySelector('main');
    await showImages(main, sku, { base: '/images/', sizes });
    for (const image of main.querySelectorAll('img')) { image.loading = 'eager'; await image.decode(); }
    return [...main.querySelectorAll('img')].map((image) => ({
        alt: image.alt, file: image.currentSrc.split('/').pop(), width: image.naturalWidth, srcset: image.srcset }));
}"""


@pytest.mark.browser
def test_the_page_shows_the_size_that_fits(
    browser_page: Any, shop: tuple[str, list[str]], pull: Callable[..., Any], brand: Brand, reviewer: User
) -> None:
    address, answers = shop
    asset = approve(brand, "B 2/(red)", reviewer)
    pull()
    browser_page.goto(address)
    sha = dict(Rendition.objects.filter(version__asset=asset).values_list("width", "marked_file__sha256"))
    for sizes, width in (("100px", 240), ("400px", 480)):
        [shown] = browser_page.evaluate(SHOW, ["B 2/(red)", sizes])
        assert (shown["alt"], shown["file"]) == ("Mug B 2/(red)", f"{sha[width]}.jpeg")
        assert shown["srcset"] == f"/images/files/{sha[240]}.jpeg 240w, /images/files/{sha[480]}.jpeg 480w"
    products = [answer[:3] for answer in answers if "/products/" in answer]
    assert products == ["200", "304"], "the second time, nothing had changed"
    assert browser_page.evaluate(SHOW, ["unknown", "100px"]) == []
