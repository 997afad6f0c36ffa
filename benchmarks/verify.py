"""Measure how often "verify an image" finds what was done to an image, and that it finds nothing for other images.

A brand has MASTERS images (tests/support/found_images.py): packshots and products before scenes made by the packshot
engine from the example photos, four candidates a round, and drawn images. IMAGES of them are changed in each of five
ways and looked for; then STRANGERS images of other products, places and patterns. Last, FILES damaged files are sent
through the same function. Everything runs as in the web process: the service, the database, the parsing children.

    make bench NAME=verify      MASTERS=1000 IMAGES=200 STRANGERS=10000 FILES=2000
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
MASTERS, IMAGES = int(os.environ.get("MASTERS", "1000")), int(os.environ.get("IMAGES", "200"))
STRANGERS, FILES = int(os.environ.get("STRANGERS", "10000")), int(os.environ.get("FILES", "2000"))


def measure_changes(user: Any, versions: dict[int, int]) -> dict[str, dict[str, float]]:
    """Return per change: the shares found, found alone, found as one of a few and found wrongly, and milliseconds."""
    from review.selectors import found_images as finder
    from tests.support import found_images

    numbers = np.random.default_rng(5).choice(MASTERS, IMAGES, replace=IMAGES > MASTERS)
    figures = {}
    for name, (change, aim) in found_images.CHANGES.items():
        counts, seconds = Counter[str](), []
        for number in numbers.tolist():
            data = change(found_images.make(number), np.random.default_rng((11, number)))
            started = time.perf_counter()
            match = finder.find_lineage(data, user=user)
            seconds.append(time.perf_counter() - started)
            counts[_outcome(match, versions[number])] += 1
        found = (counts["alone"] + counts["one of a few"]) / IMAGES
        milliseconds = round(1000 * float(np.percentile(seconds, 95)))
        figures[name] = {"found": found, "aim": aim, **{key: counts[key] for key in ("alone", "one of a few", "wrong")}}
        figures[name] |= {"nothing": counts["nothing"], "p95_ms": milliseconds}
        print(name, figures[name], flush=True)
    return figures


def _outcome(match: Any, version_id: int) -> str:
    if match is None:
        return "nothing"
    found = [found.version.pk for found in match.found]
    if version_id not in found:
        return "wrong"
    return "alone" if len(found) == 1 else "one of a few"


def measure_strangers(user: Any) -> dict[str, float]:
    """Return how many of the images of strangers were taken for one of the brand's."""
    from review.selectors import found_images as finder
    from tests.support import found_images

    wrong, seconds = [], []
    for number in range(STRANGERS):
        data = found_images.encode(found_images.make(number, is_foreign=True), quality=85)
        started = time.perf_counter()
        match = finder.find_lineage(data, user=user)
        seconds.append(time.perf_counter() - started)
        if match is not None:
            wrong.append((number, [found.version.pk for found in match.found]))
            print("wrong:", wrong[-1], flush=True)
        if number % 500 == 499:
            print(f"{number + 1} strangers, {len(wrong)} wrong", flush=True)
    return {"strangers": STRANGERS, "wrong": len(wrong), "stranger_p95_ms": _percentile(seconds, 95)}


def _percentile(seconds: list[float], share: float) -> float:
    return round(1000 * float(np.percentile(seconds, share))) if seconds else 0


def measure_damaged(user: Any) -> dict[str, float]:
    """Return how damaged files end, the longest in milliseconds, and the peak memory of the children."""
    from tests.support import damaged_images

    report = damaged_images.send(user, FILES)
    print(report, flush=True)
    return report


def trial() -> dict[str, Any]:
    import django

    django.setup()
    from django.core.management import call_command

    from tests.support import factories, found_masters

    call_command("migrate", verbosity=0, skip_checks=True)
    brand = factories.BrandFactory(slug="kiln")
    user = factories.MembershipFactory(brand=brand, role="viewer").user
    started = time.perf_counter()
    versions = found_masters.create_versions(brand, range(MASTERS))
    print(f"{MASTERS:,} masters in {time.perf_counter() - started:.0f} s", flush=True)
    figures: dict[str, Any] = {"masters": MASTERS, "images": IMAGES}
    if IMAGES:
        figures["changes"] = measure_changes(user, versions)
    if FILES:
        figures |= measure_damaged(user)
    return figures | (measure_strangers(user) if STRANGERS else {})


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    with tempfile.TemporaryDirectory(prefix="verify-") as var:
        os.environ["PROOFLINE_VAR"] = var
        from config import embedded

        with embedded.services():
            figures = trial()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
