"""Measure deliveries: to S3, to a Shopify shop at its rate limit, into one folder, a package of 10 GB, and marks.

Deliveries go through the service: claim, package, write, verify, record, with an embedded PostgreSQL with fsync on. S3
(moto) and the shop (tests/support/shopify_server.py) are servers on real sockets in processes of their own, and real
workers deliver to them. The shop restores RATE points per second; its share of the limit is measured for
SECONDS once its bucket is used up. Into the folder one process delivers one asset after the other.

    make bench NAME=delivery        PARTS=marks,s3,shopify,folder,package and these change the trial: ASSETS,
                                    S3_ASSETS, S3_WORKERS, RATE, SECONDS, SHOP_WORKERS
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PARTS = os.environ.get("PARTS", "marks,s3,shopify,folder,package").split(",")
ASSETS = int(os.environ.get("ASSETS", "10000"))
S3_ASSETS = int(os.environ.get("S3_ASSETS", "1000"))
SECONDS = float(os.environ.get("SECONDS", "120"))
RATE = float(os.environ.get("RATE", "100"))
"""Points per second that the shop restores. It keeps 20 times as many, as recorded of a real one."""
BUCKET = 20 * RATE
PROCESSING_SECONDS = 2.0
"""The shop's time to process an image."""
IMAGE_SIZE = 512  # px; about 100 kB of noise as JPEG
WARM_UP = 50
STEADY_POINTS = RATE / 2
"""The limit counts as reached once the workers' own account of the shop's bucket has fewer points."""
WORKERS = {"s3": int(os.environ.get("S3_WORKERS", "2")), "shopify": int(os.environ.get("SHOP_WORKERS", "8"))}


# -- the other side ----------------------------------------------------------------------------------------------------


def _serve_s3(channel: Any) -> None:
    import logging

    from tests.support import s3_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server.serving_s3() as server:
        s3_server.connect(server.url).create_bucket(Bucket="handover")
        channel.send(server.url)
        channel.recv()


def _serve_shop(channel: Any) -> None:
    """Answer ["add", SKUs] and ["state"] until the channel ends."""
    from tests.support.shopify_server import Bucket, serving_shop

    with serving_shop() as server:
        server.bucket = Bucket(maximum=BUCKET, rate=RATE)
        server.shop.processing_seconds = PROCESSING_SECONDS
        channel.send(server.url)
        while (message := channel.recv())[0] != "end":
            with server.shop.guard:
                for sku in message[1:]:
                    server.shop.add_product(sku, images=("front",))
                server.bucket.take(0)
                state = {"used": server.bucket.used, "available": server.bucket.available, "at": time.monotonic()}
            channel.send({**state, "throttled": server.throttled, "files": len(server.shop.files)})


@contextlib.contextmanager
def served(target: Callable[[Any], None]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Run a server in a process of its own; yield (its address, a function that sends it a message)."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there,), daemon=True)
    process.start()
    there.close()

    def ask(*message: str) -> Any:
        here.send(message)
        return here.recv()

    try:
        yield here.recv(), ask
    finally:
        process.terminate()
        process.join()


# -- our side ----------------------------------------------------------------------------------------------------------


def create_images(count: int) -> Any:
    """Create a brand with approved images, each with the rendition of one output spec; return the brand."""
    import io

    from PIL import Image

    from benchmarks.approved_images import create_approved_images
    from core import stored_files
    from generation.models import AssetVersion, Rendition
    from tests.support import factories
    from tests.support.engines import noise_pixels

    jpeg = io.BytesIO()
    Image.fromarray(noise_pixels(1, IMAGE_SIZE, IMAGE_SIZE)).save(jpeg, "JPEG", quality=60)
    stored = stored_files.put(jpeg.getvalue(), suffix="jpg")
    brand, _user = create_approved_images(count, {"renditions": {"square": stored.sha256}})
    spec = factories.OutputSpecFactory(campaign=brand.campaigns.get(), slug="square", width=IMAGE_SIZE)
    fields = {"output_spec": spec, "recipe_version": 1, "sha256": stored.sha256, "storage_key": stored.key}
    fields |= {"image_format": "jpeg", "width": IMAGE_SIZE, "height": IMAGE_SIZE, "bytes": stored.bytes}
    versions = AssetVersion.objects.filter(asset__brand=brand).order_by("pk")
    Rendition.objects.bulk_create([Rendition(version=version, **fields) for version in versions], batch_size=1000)
    return brand


def create_deliveries(brand: Any, kind: str, config: dict[str, Any], secret: str, start: int, end: int) -> Any:
    """Create a destination, and deliveries of the brand's images from number `start` to `end` that are not due yet."""
    from generation.models import Asset
    from review.models import Delivery, Destination

    destination = Destination(brand=brand, slug=f"{kind}-{start}", name=kind, kind=kind, config=config)
    destination.secret = secret
    destination.save()
    assets = Asset.objects.filter(brand=brand).order_by("pk")[start:end]
    rows = [Delivery(asset=asset, destination=destination, version_id=asset.current_version_id) for asset in assets]
    Delivery.objects.bulk_create(rows, batch_size=1000)
    return destination


def make_due(destination: Any) -> None:
    from django.utils import timezone

    from core.choices import Lane
    from core.services import wake_ups
    from review.models import Delivery

    Delivery.objects.filter(destination=destination).update(due_at=timezone.now())
    wake_ups.wake(Lane.DELIVERY)


@contextlib.contextmanager
def workers(count: int) -> Iterator[None]:
    from generation.models import Worker

    Worker.objects.all().delete()
    command = [sys.executable, "manage.py", "worker", "delivery"]
    started = [subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL) for _ in range(count)]
    try:
        wait(lambda: Worker.objects.count() == count, "the workers do not start", seconds=240)
        yield
    finally:
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.wait()


def wait(done: Callable[[], bool], words: str, *, seconds: float = 600.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, words
        time.sleep(0.5)


def count_open(destination: Any) -> int:
    """Return how many deliveries have not arrived. Raises AssertionError with the words of one that failed."""
    from review.models import Delivery

    rows = Delivery.objects.filter(destination=destination)
    failed = rows.exclude(error="").first()
    assert failed is None, f"asset {failed.asset_id}: {failed.error}"
    return rows.exclude(observed="present").count()


def processor_seconds() -> float:
    """Return the processor time that this process and its database connection have used."""
    import psutil
    from django.db import connection

    connection.ensure_connection()
    server = psutil.Process(connection.connection.info.backend_pid).cpu_times()
    return time.process_time() + server.user + server.system


# -- the trials --------------------------------------------------------------------------------------------------------


def measure_s3(brand: Any) -> dict[str, Any]:
    """Return the assets per second to S3, from the first attempt's start to the last one's end."""
    from django.db.models import Max, Min

    from review.models import Delivery, DeliveryAttempt

    with served(_serve_s3) as (url, _ask), workers(WORKERS["s3"]):
        config = {"bucket": "handover", "prefix": brand.slug, "endpoint_url": url, "region": "us-east-1"}
        edges = (0, min(WARM_UP, S3_ASSETS), min(WARM_UP + S3_ASSETS, ASSETS))
        for start, end in pairwise(edges):  # the first one warms up
            destination = create_deliveries(brand, "s3", config, "key:secret", start, end)
            make_due(destination)
            wait(lambda to=destination: count_open(to) == 0, "deliveries to S3 stand still")
    attempts = DeliveryAttempt.objects.filter(delivery__destination=destination)
    times = attempts.aggregate(start=Min("started_at"), end=Max("ended_at"))
    delivered = Delivery.objects.filter(destination=destination, verification__0__outcome="same").count()
    assert delivered == attempts.count() == edges[2] - edges[1]
    return {"s3_per_second": round(delivered / (times["end"] - times["start"]).total_seconds(), 2)}


def measure_shopify(brand: Any) -> dict[str, Any]:
    """Return the share of the shop's limit that was used while its bucket was empty, and the throttled answers."""
    from generation.models import Asset
    from review.models import Delivery
    from review.services import delivery_sessions
    from tests.support.shopify_server import CLIENT_ID, CLIENT_SECRET

    count = min(int((BUCKET + RATE * (SECONDS + 120)) / 50), ASSETS)
    with served(_serve_shop) as (url, ask), workers(WORKERS["shopify"]):
        ask("add", *Asset.objects.filter(brand=brand).order_by("pk").values_list("subject__key", flat=True)[:count])
        config = {"url": url, "client_id": CLIENT_ID, "allow_private": True}
        destination = create_deliveries(brand, "shopify", config, CLIENT_SECRET, 0, count)
        make_due(destination)
        limiter = delivery_sessions.RedisLimiter(f"destination:{destination.pk}")

        def count_points() -> float:
            return float(limiter.connection.hget(limiter.key, "available") or BUCKET)

        wait(lambda: count_points() < STEADY_POINTS, "the shop's limit is never reached")
        before = ask("state")
        words = f"{before['files']} images; the shop’s bucket has {before['available']:.0f} points"
        print(f"shop: the limit is reached with {words}", flush=True)
        time.sleep(SECONDS)
        after = ask("state")
        remaining = count_open(destination)
    Delivery.objects.filter(destination=destination).update(due_at=None)  # the shop is gone
    assert remaining, "there was not enough to deliver for the whole time"
    seconds = after["at"] - before["at"]
    saved = before["available"] - after["available"]  # points that the shop had restored before
    share = (after["used"] - before["used"] - saved) / (RATE * seconds)
    rate = (after["files"] - before["files"]) / seconds
    print(f"shop: {rate:.2f} images/s, {share:.1%} of {RATE:g} points/s; throttled before that: {before['throttled']}")
    return {"shopify_share_of_limit": round(share, 4), "shopify_throttled": after["throttled"] - before["throttled"]}


def measure_folder(brand: Any, folder: str) -> dict[str, Any]:
    """Return the cost per asset of the last tenth of ASSETS into one folder, divided by that of the first tenth.

    The cost is the processor time of this process and of its database connection, because the time that passes also
    measures what else the machine does. Both are printed.
    """
    from review.models import Delivery
    from review.services import deliveries

    path = Path(folder) / "approved" / brand.slug
    path.mkdir(parents=True)
    destination = create_deliveries(brand, "folder", {"path": str(path)}, "", 0, ASSETS)
    make_due(destination)
    tenth, costs = ASSETS // 10, []
    for number in range(10):
        started, before = time.perf_counter(), processor_seconds()
        assert deliveries.attempt_due(limit=tenth) == tenth
        passed = 1000 * (time.perf_counter() - started) / tenth
        costs.append(1000 * (processor_seconds() - before) / tenth)
        print(f"folder: to asset {(number + 1) * tenth:6}: {passed:6.1f} ms, processor {costs[-1]:5.2f} ms", flush=True)
    count_open(destination)
    same = Delivery.objects.filter(destination=destination, verification__0__outcome="same").count()
    assert same == ASSETS and len(list(path.rglob("*.jpg"))) == ASSETS
    return {"folder_growth": round(costs[-1] / costs[0], 3)}


def measure_package() -> dict[str, Any]:
    from benchmarks.delivery_package import measure

    return {"package_peak_mb": measure()}


def trial(folder: str) -> dict[str, Any]:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from benchmarks.marks import measure_marks

    call_command("migrate", verbosity=0)
    brand = create_images(ASSETS)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "marks": measure_marks,
        "s3": partial(measure_s3, brand),
        "shopify": partial(measure_shopify, brand),
        "folder": partial(measure_folder, brand, folder),
        "package": measure_package,
    }
    figures: dict[str, Any] = {}
    for name, part in parts.items():
        if name in PARTS:
            figures |= part()
            print(json.dumps(figures), flush=True)
    return figures


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="delivery-") as folder:
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        os.environ |= {
            "PROOFLINE_VAR": folder,
            "PROOFLINE_ALLOW_PRIVATE_WEBHOOKS": "1",
            "LOG_LEVEL": "ERROR",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PROOFLINE_PLAIN_STATIC": "1",
        }
        from config import embedded

        with embedded.services():
            figures = trial(folder)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
