"""`python -m examples.render [FILE …]`: draws the catalogue photos again, all of them or those named."""

from __future__ import annotations

import sys
import time

from examples.render.catalogue import SETS, photograph, products


def main(wanted: list[str]) -> None:
    known = [name for _, _, shots in SETS for name in shots]
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"There is no photo {', '.join(sorted(unknown))}; known are {', '.join(known)}.")
    total = 0
    for feed, folder, shots in SETS:
        folder.mkdir(exist_ok=True)
        rows = {row["photo"]: row for row in products(feed)}
        for name in shots:
            if wanted and name not in wanted:
                continue
            began = time.monotonic()
            data = photograph(shots[name], rows[name]["hex"], rows[name]["material"])
            (folder / name).write_bytes(data)
            total += len(data)
            print(f"{name:24} {len(data) // 1024:5} KB {time.monotonic() - began:6.1f} s", flush=True)
    print(f"{total / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
