"""`python -m examples.render [FILE …]`: draws the catalogue photos again, all of them or those named."""

from __future__ import annotations

import sys
import time

from examples.render.catalogue import PHOTOS, SHOTS, photograph, products


def main(wanted: list[str]) -> None:
    PHOTOS.mkdir(exist_ok=True)
    if unknown := set(wanted) - set(SHOTS):
        raise SystemExit(f"There is no photo {', '.join(sorted(unknown))}; known are {', '.join(SHOTS)}.")
    rows = {row["photo"]: row for row in reversed(products())}
    total = 0
    for name in SHOTS:
        if wanted and name not in wanted:
            continue
        began = time.monotonic()
        data = photograph(name, rows[name]["hex"], rows[name]["material"])
        (PHOTOS / name).write_bytes(data)
        total += len(data)
        print(f"{name:24} {len(data) // 1024:5} KB {time.monotonic() - began:6.1f} s", flush=True)
    print(f"{total / 1e6:.2f} MB in {PHOTOS}")


if __name__ == "__main__":
    main(sys.argv[1:])
