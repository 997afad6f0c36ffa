"""Damaged image files: flipped bits, cut ends, wrong lengths and impossible sizes; equal numbers give equal files."""

from __future__ import annotations

import os
import random
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import Busy, Invalid
from core.models import User
from core.parsing import processes
from review.selectors import found_images as finder
from tests.support import found_images, hostile_files

KINDS = ("JPEG", "PNG", "WEBP", "AVIF")


def whole_files() -> list[bytes]:
    """Return a small photo in each format, a progressive one, and one with an XMP packet."""
    pixels = found_images.draw_pattern(np.random.default_rng(1), 160)
    files = [found_images.encode(pixels, kind) for kind in KINDS]
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
    return [*files, found_images.encode(pixels, progressive=True), found_images.encode(pixels, "WEBP", xmp=packet)]


def damage(data: bytes, number: int) -> bytes:
    """Return the file damaged in one of seven ways."""
    chance, damaged = random.Random(number), bytearray(data)
    way = number % 7
    if way == 0:  # bits
        for _ in range(chance.randint(1, 40)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    elif way == 1:  # its end
        del damaged[chance.randrange(len(damaged)) :]
    elif way == 2:  # a length or size anywhere in the head
        place = chance.randrange(max(1, min(len(damaged), 400) - 4))
        damaged[place : place + 4] = struct.pack(">I", chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000)))
    elif way == 3:  # a part twice
        start = chance.randrange(len(damaged))
        damaged[start:start] = damaged[start : start + chance.randint(1, 4000)]
    elif way == 4:  # a part left out
        start = chance.randrange(len(damaged))
        del damaged[start : start + chance.randint(1, 2000)]
    elif way == 5:  # a part of noise
        start = chance.randrange(len(damaged))
        damaged[start : start + 64] = chance.randbytes(64)
    else:  # the beginning of one format before another
        damaged[: chance.randint(1, 64)] = chance.randbytes(chance.randint(1, 64))
    return bytes(damaged)


def send(user: User, count: int) -> dict[str, Any]:
    """Verify `count` damaged files and the photos that cost a lot to open; return how they ended and what it took.

    longest_ms, p99_ms, p50_ms: of one file, with the start of a child if it waits for one. longest_cpu_ms: of the
    processor for one file. children_mb: the peak memory of a parsing child.
    """
    whole, ends, seconds, peak = whole_files(), Counter[str](), [], 0.0
    before: dict[int, float] = {}
    longest_cpu = 0.0
    hostile = list(hostile_files.photos().values())[:count]
    damaged = (damage(whole[number % len(whole)], number) for number in range(count - len(hostile)))
    for data in [*hostile, *damaged]:
        started = time.perf_counter()
        ends[_end(data, user)] += 1
        seconds.append(time.perf_counter() - started)
        for child in processes.answer_pool._idle:
            peak, pid, used = max(peak, _peak_mb(child)), child._process.pid, _cpu_seconds(child)
            if pid in before:  # the first file of a child waits for its start
                longest_cpu = max(longest_cpu, used - before[pid])
            before[pid] = used
    p50, p99 = (round(1000 * float(np.percentile(seconds, share))) for share in (50, 99))
    figures = {
        "longest_ms": round(1000 * max(seconds)),
        "p99_ms": p99,
        "p50_ms": p50,
        "longest_cpu_ms": round(1000 * longest_cpu),
    }
    return {"files": count, **ends, **figures, "children_mb": round(peak)}


def _peak_mb(child: Any) -> float:
    """Return the peak memory of a parsing child so far."""
    status = Path(f"/proc/{child._process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _cpu_seconds(child: Any) -> float:
    """Return the processor time of a parsing child so far."""
    fields = Path(f"/proc/{child._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _end(data: bytes, user: User) -> str:
    try:
        return "found" if finder.find_lineage(data, user=user) else "not found"
    except Invalid:
        return "refused"
    except Busy:
        return "busy"
