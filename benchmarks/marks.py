"""The part "marks" of benchmarks/delivery.py: what XMP and Content Credentials add to a file, in time and bytes."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

SIDE = 1500
ROUNDS = 30


def measure_marks() -> dict[str, float]:
    """Return milliseconds (median) and bytes that each mark costs, for each format, and print them beside encoding."""
    from generation.provenance import containers, credentials, signers, xmp
    from generation.provenance.credentials import Ingredient, Making
    from tests.support.engines import noise_pixels

    identity = signers.self_made(Path(tempfile.mkdtemp(prefix="marks-")))
    image = Image.fromarray(noise_pixels(1, SIDE, SIDE))
    photo = _encode(image, "jpeg")
    fields = xmp.Fields(
        document_id="xmp.did:5c7e0a52-54b5-5a6e-9d0e-2f6f0c1e7a11",
        source_type="compositeWithTrainedAlgorithmicMedia",
        ai_system="stable-diffusion-xl",
        ai_version="462165984030d82259a11f4367a4eed129e94a7b",
        prompt="A sage mug on pale linen in soft morning light, no people",
        made_at="2026-11-30T10:00:00+00:00",
        tool="Proofline",
    )
    parent = Ingredient("product photo", "jpg", lambda: photo, is_parent=True)
    making = Making("MUG-1 square", fields.source_type, fields.ai_system, ingredients=[parent])
    figures = {}
    for name in ("jpeg", "png", "webp", "avif"):
        plain = _encode(image, name)
        with_xmp = containers.insert(plain, name, xmp.write(fields))
        signed = credentials.sign(with_xmp, name, making, identity)
        figures |= {
            f"{name}_encode_ms": _milliseconds(lambda name=name: _encode(image, name), 3),
            f"{name}_xmp_ms": _milliseconds(lambda p=plain, name=name: containers.insert(p, name, xmp.write(fields))),
            f"{name}_xmp_bytes": len(with_xmp) - len(plain),
            f"{name}_c2pa_ms": _milliseconds(lambda w=with_xmp, name=name: credentials.sign(w, name, making, identity)),
            f"{name}_c2pa_bytes": len(signed) - len(with_xmp),
            f"{name}_read_ms": _milliseconds(lambda s=signed, name=name: credentials.read(s, name)),
            f"{name}_bytes": len(plain),
        }
    return {name: round(value, 2) for name, value in figures.items()}


def _encode(image: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name.upper(), **({"quality": 88} if name != "png" else {}))
    return buffer.getvalue()


def _milliseconds(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    def once() -> float:
        started = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - started)

    return statistics.median(once() for _ in range(rounds))
