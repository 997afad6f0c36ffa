"""Test `demo --once` as a new user runs it: first from nothing, then a second time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import env

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 1500


@pytest.fixture(scope="module")
def var() -> Iterator[Path]:
    """Yield a var/ folder for the demo, with a space in its path."""
    root = Path(tempfile.mkdtemp(prefix="demo-"))
    root.chmod(0o755)
    yield root / "the demo's var"
    shutil.rmtree(root, ignore_errors=True)


def run_once(var: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    kept = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    done = subprocess.run(
        [sys.executable, "manage.py", "demo", "--once", *more],
        cwd=env.ROOT,
        env=kept | {"PROOFLINE_VAR": str(var)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


def test_every_image_of_the_example_arrives_in_review_and_a_second_time_adds_none(var: Path) -> None:
    code, first, errors = run_once(var)
    assert code == 0, errors
    assert first["products"] == 28
    assert first["assets"] == first["in_review"] == first["jobs"] > 28
    assert first["failed"] == 0
    assert first["images_per_second"] > 0
    drawn = first["little_model"]
    assert first["left_out"] == ""
    assert (drawn["places"], drawn["ideas"], drawn["failed"]) == (12, 8, 0)
    assert drawn["packshots"] == 12
    assert drawn["chosen_places"] >= 2
    assert drawn["waiting"] == 20
    assert first["published"] == {"destination": "magazine", "approved": 6, "arrived": 6}

    code, second, errors = run_once(var)
    assert code == 0, errors
    counted = ("products", "jobs", "assets", "in_review", "failed", "little_model", "published")
    assert {name: second[name] for name in counted} == {name: first[name] for name in counted}
    assert second["seconds"] < first["seconds"]


def test_without_its_weights_the_demo_goes_on_and_says_so(var: Path) -> None:
    code, summary, errors = run_once(var, "--weights", str(var / "nowhere"))
    assert code == 0, errors
    assert "there are no weights in" in summary["left_out"]
    assert "left out" in errors
    assert set(summary["little_model"].values()) == {0}


def test_nothing_is_left_running_behind_it(var: Path) -> None:
    code, summary, _ = run_once(var, "--no-model")
    assert (code, summary["left_out"]) == (0, "--no-model was asked for.")
    shown = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(var) not in shown
