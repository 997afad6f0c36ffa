"""`python -m examples.render [FILE …]`: render the catalogue photos again, all or the named ones."""

from __future__ import annotations

import sys
import time

from examples.render.catalogue import SETS, photograph, products


def main(names: list[str]) -> None:
    shot_names = [name for _, _, shots in SETS for name in shots]
    if unknown := set(names) - set(shot_names):
        raise SystemExit(f"There is no photo {', '.join(sorted(unknown))}; known are {', '.join(shot_names)}.")
    total = 0
    for feed, folder, shots in SETS:
        folder.mkdir(exist_ok=True)
        rows = {row["photo"]: row for row in products(feed)}
        for name in shots:
            if names and name not in names:
                continue
            began = time.monotonic()
            data = photograph(shots[name], rows[name]["hex"], rows[name]["material"])
            (folder / name).write_bytes(data)
            total += len(data)
            print(f"{name:24} {len(data) // 1024:5} KB {time.monotonic() - began:6.1f} s", flush=True)
    print(f"{total / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
