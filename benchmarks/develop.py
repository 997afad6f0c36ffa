"""Measure the cost of developing an image compared with only encoding its master, and compare master formats.

Pixels: 1024 × 1024, smooth plus grain σ = 3 as in a photograph; and a flat packshot as in a catalogue. Times are CPU
time of one thread, the best of several, so that a busy machine disturbs them little.

    make bench NAME=develop         SIZE=… changes the edge
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SIZE = int(os.environ.get("SIZE", "1024"))
REPEATS = 9

from generation.checks.base import Sample, run_checks  # noqa: E402
from generation.engines.base import Pixels  # noqa: E402
from generation.finishing import encode, similarity, subject  # noqa: E402
from generation.finishing.base import Target  # noqa: E402
from generation.finishing.develop import develop  # noqa: E402
from tests.support.engines import noise_pixels  # noqa: E402


def milliseconds(function: Callable[[], object]) -> float:
    """Return the CPU milliseconds of the fastest of REPEATS calls."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.process_time()
        function()
        best = min(best, time.process_time() - started)
    return 1000 * best


def packshot() -> Pixels:
    """Return a shaded disc on white without any grain."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    shade = np.stack([200 - 90 * x, 110 + 40 * y, 80 + 50 * x * y], axis=-1)
    return np.where((np.hypot(x - 0.5, y - 0.55) < 0.33)[..., None], shade, 255.0).astype(np.uint8)


def pillow(pixels: Pixels, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def opencv(pixels: Pixels, strategy: int, filters: int) -> bytes:
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, strategy, cv2.IMWRITE_PNG_FILTER, filters]
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1].tobytes()


FORMATS: dict[str, Callable[[Pixels], bytes]] = {
    "PNG, Pillow's default": lambda p: pillow(p, "PNG"),
    "PNG, Pillow level 1": lambda p: pillow(p, "PNG", compress_level=1),
    "PNG, Pillow level 1, RLE": lambda p: pillow(p, "PNG", compress_level=1, compress_type=3),
    "PNG, OpenCV level 1, RLE, sub": lambda p: opencv(p, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER_SUB),
    "PNG, OpenCV level 1, RLE, average": lambda p: encode.encode_master(p).data,
    "PNG, OpenCV level 1, Huffman only, average": lambda p: opencv(
        p, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY, cv2.IMWRITE_PNG_FILTER_AVG
    ),
    "PNG, OpenCV level 1, filtered, average": lambda p: opencv(
        p, cv2.IMWRITE_PNG_STRATEGY_FILTERED, cv2.IMWRITE_PNG_FILTER_AVG
    ),
    "PNG, OpenCV level 1, RLE, Paeth": lambda p: opencv(p, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER_PAETH),
    "WebP lossless, method 0, effort 0": lambda p: pillow(p, "WEBP", lossless=True, method=0, quality=0, exact=True),
    "WebP lossless, method 0, effort 20": lambda p: pillow(p, "WEBP", lossless=True, method=0, quality=20, exact=True),
    "WebP lossless, Pillow's default": lambda p: pillow(p, "WEBP", lossless=True, exact=True),
}


def formats(images: dict[str, Pixels]) -> None:
    """Print encode time, size and decode time of each format, and assert that it is lossless."""
    for image, pixels in images.items():
        print(f"\n{image}\n{'':44}  encode      size   decode")
        for name, write in FORMATS.items():
            data = write(pixels)
            assert (np.asarray(Image.open(io.BytesIO(data))) == pixels).all(), name
            encoding = milliseconds(lambda write=write, pixels=pixels: write(pixels))
            decoding = milliseconds(lambda data=data: Image.open(io.BytesIO(data)).load())
            print(f"{name:44} {encoding:6.1f} ms {len(data) / 1e6:6.2f} MB {decoding:5.1f} ms", flush=True)


def parts(pixels: Pixels) -> dict[str, float]:
    """Return the milliseconds of each part of `develop`, and of the whole."""
    facts = {"wanted": [SIZE, SIZE], "photo": [SIZE, SIZE], "specs": [{"slug": "shop", "width": SIZE, "height": SIZE}]}
    sample = Sample(pixels, facts)
    figures = {
        "master_ms": milliseconds(lambda: encode.encode_master(pixels)),
        "develop_ms": milliseconds(lambda: develop(pixels, facts, [])),
        "png_default_ms": milliseconds(lambda: FORMATS["PNG, Pillow's default"](pixels)),
        "small_ms": milliseconds(lambda: Sample(pixels).small),
        "checks_ms": milliseconds(lambda: run_checks(sample)),
        "pdq_ms": milliseconds(lambda: similarity.pdq(sample.small)),
        "subject_ms": milliseconds(lambda: subject.find_subject(sample.small)),
        "jpeg_rendition_ms": milliseconds(lambda: encode.encode(pixels, "jpeg")),
        "webp_rendition_ms": milliseconds(lambda: encode.encode(pixels, "webp")),
        "with_two_renditions_ms": milliseconds(
            lambda: develop(pixels, facts, [Target("shop", SIZE, SIZE, "jpeg"), Target("tall", 960, 1200, "webp")])
        ),
    }
    figures["ratio_develop"] = figures["develop_ms"] / figures["master_ms"]
    return figures


def threads(pixels: Pixels, count: int) -> float:
    """Return images developed per second on `count` threads, which shows whether the work releases the GIL."""
    images = 8 * count
    with ThreadPoolExecutor(count) as pool:
        started = time.perf_counter()
        list(pool.map(lambda _: develop(pixels, {}, []), range(images)))
        return images / (time.perf_counter() - started)


def main() -> None:
    cv2.setNumThreads(1)
    photograph = noise_pixels(7, SIZE, SIZE)
    formats({"photograph": photograph, "packshot": packshot()})
    figures = {name: round(value, 2) for name, value in parts(photograph).items()}
    figures["images_per_second_1_thread"] = round(threads(photograph, 1), 1)
    figures["images_per_second_2_threads"] = round(threads(photograph, 2), 1)
    print()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
