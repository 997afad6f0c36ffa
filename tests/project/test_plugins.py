"""Test plug-ins of another package: an installed package adds one of each kind, and nothing else is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from core.registry import Registry
from tests.support.processes import ROOT

PLUGINS = """
from pathlib import Path

import numpy as np

from campaigns.feeds.merchant import MerchantLayout
from core.plugin_config import Config, Whole, setting
from generation.checks.base import CheckResult
from generation.engines import base
from review.delivery.base import Destination, Receipt
from review.image_feeds.base import ImageFeedLayout


class CrayonConfig(base.EngineConfig):
    level: Whole = setting("Grey level", "0 is black.", default=7, minimum=0, maximum=255)


class Crayon:
    name = "crayon"

    def __init__(self, config):
        self.config = CrayonConfig.read(config)

    def capabilities(self):
        return base.Capabilities(is_remote=False, obeys=frozenset({"prompt"}), controls=())

    def generate(self, batch, context):
        for task in batch:
            pixels = np.full((task.spec.height, task.spec.width, 3), self.config.level, np.uint8)
            yield base.Result(task.id, pixels)


PLUGIN = base.EnginePlugin("crayon", Crayon, label="Wax crayons", config=CrayonConfig, lanes=(base.CPU,))


class DarkConfig(Config):
    level: float = setting("Dark below", "Below, it is flagged.", default=9.0, minimum=0, maximum=255)


class Dark:
    name, label, config = "dark", "Darkness", DarkConfig

    def inspect(self, sample):
        is_dark = sample.pixels.max() < sample.read_config(self.name, DarkConfig).level
        return CheckResult(self.name, "flag" if is_dark else "pass", "Dark." if is_dark else "Bright.")


class Negative:
    name, label, config = "negative", "Negative", Config

    def __init__(self, facts):
        pass

    def apply(self, pixels, target):
        return 255 - pixels


class Ledger(MerchantLayout):
    name, label = "ledger", "Ledger"

    def matches(self, header):
        return header.names[:1] == ("ledger",)


class DrawerConfig(Config):
    path: str = setting("Drawer", needed="Name the drawer.")


class Drawer(Destination):
    kind, label, config = "drawer", "A drawer", DrawerConfig

    def __init__(self, config, secret):
        self.path = Path(DrawerConfig.read(config).path)

    def push(self, package, session):
        for file in package.files:
            (self.path / file.name).write_bytes(file.read())
        return Receipt(package.delivered_files)


class Postcards(ImageFeedLayout):
    name, label, description = "postcards", "Postcards", "One line per product."
    media_type, suffix = "text/plain; charset=utf-8", "txt"

    def product(self, product, identifiers):
        return f"{identifiers[0]} {product.images[0].url}\\n"
"""
ENTRY_POINTS = """
[proofline.engines]
crayon = crayons:PLUGIN
[proofline.checks]
dark = crayons:Dark
[proofline.finishing]
negative = crayons:Negative
[proofline.feeds]
ledger = crayons:Ledger
[proofline.destinations]
drawer = crayons:Drawer
[proofline.image_feeds]
postcards = crayons:Postcards
"""


def run_with_package(folder: Path, code: str, *, entries: str = ENTRY_POINTS) -> Any:
    """Install the package into `folder`, run the code in a process of its own, and return the JSON that it prints."""
    information = folder / "crayons-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: crayons\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entries)
    (folder / "crayons.py").write_text(PLUGINS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "PROOFLINE_PLUGINS": ""}
    setup = "import django, json\nfrom pathlib import Path\ndjango.setup()\n"
    done = subprocess.run(
        [sys.executable, "-c", setup + dedent(code)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_broken_engine_of_another_package_stops_nothing_else(tmp_path: Path) -> None:
    code = """
        from generation.engines import base as engines
        from generation.models import Endpoint
        from generation.services.endpoints import rules
        from generation.views.endpoint_form import list_engines
        (problem,) = rules.find_problems(Endpoint(name="Old", slug="old", engine="broken", lane="cpu"))
        print(json.dumps([list_engines(is_operator=True), problem.message]))
    """
    entries = "[proofline.engines]\nbroken = crayons:NO_SUCH_ENGINE\n"
    listed, message = run_with_package(tmp_path, code, entries=entries)
    assert listed["broken"] == "broken" and listed["packshot"] == "Packshot studio, no model"
    assert "The engine 'broken' cannot be loaded: " in message


def test_a_package_adds_one_plug_in_of_each_kind(tmp_path: Path) -> None:
    code = f"""
        import io
        from campaigns import thresholds
        from campaigns.feeds import LAYOUTS, open_feed
        from generation.engines import base as engines
        from generation.engines.base import Spec, Task
        from generation.finishing.base import STEPS, Target
        from generation.finishing.develop import develop
        from generation.finishing.decode import decode
        from generation.checks.base import Sample
        from generation.checks.base import CHECKS, run_checks
        from generation.views.endpoint_form import EndpointForm, list_engines
        from generation.models import Endpoint
        from generation.services.endpoints import rules
        from review.admin import DestinationForm
        from review.delivery import base as delivery
        from review.delivery.base import DeliveryFile, Package
        from review.image_feeds import base as image_feeds

        (result,) = engines.build("crayon", {{}}).generate([Task(1, Spec("a", 64, 64, 1))], None)
        developed = develop(result.pixels, {{}}, [Target("shop", 32, 32, "png")])
        ((_target, file),) = developed.renditions
        package = Package("e", 1, "A1", "b", "c", [DeliveryFile(
            "shop", "a.png", "image/png", file.sha256, 32, 32, len(file.data), lambda: file.data)], {{}})
        delivery.build("drawer", {{"path": {str(tmp_path)!r}}}).push(package, None)
        given = {{"name": "Wax", "lane": "cpu", "batch_size": 1, "seconds_per_image": 1, "price_per_image": 0}}
        form = EndpointForm(given | {{"slug": "wax", "setting_level": "9"}}, engine="crayon", is_operator=True)
        refused = EndpointForm(given | {{"slug": "wax", "setting_level": "grey"}}, engine="crayon", is_operator=True)
        assert form.is_valid(), form.errors
        feed = open_feed(io.BytesIO(b"ledger,id,title\\n1,A1,Vase\\n"))
        print(json.dumps({{
            "engine": list_engines(is_operator=True)["crayon"],
            "lanes": [lane for lane, _ in form.fields["lane"].choices],
            "settings": [form.fields["setting_level"].label, form.cleaned_data["config"]],
            "refusal": refused.errors["setting_level"],
            "drawer": DestinationForm().fields["drawer_path"].label,
            "checks": [[result.check, result.outcome] for result in developed.check_results],
            "lane": [problem.message for problem in rules.find_problems(Endpoint(
                name="Wax", slug="wax", engine="crayon", lane="gpu"))],
            "bright": run_checks(Sample(result.pixels, {{"limits": {{"dark": {{"level": 5}}}}}}))[-1].outcome,
            "thresholds": thresholds.thresholds_by_check()["dark"][0].label,
            "delivered": int(decode((Path({str(tmp_path)!r}) / "a.png").read_bytes()).max()),
            "layout": feed.dialect["layout"],
            "names": [CHECKS.names(), STEPS.names(), LAYOUTS.names(), delivery.DESTINATIONS.names(),
                image_feeds.LAYOUTS.names()],
        }}))
    """
    seen = run_with_package(tmp_path, code)
    assert seen["engine"] == "Wax crayons" and seen["lanes"] == ["cpu"]
    assert seen["settings"] == ["Grey level", {"level": 9}]
    assert seen["refusal"] == ["Give a whole number from 0 to 255."]
    assert seen["drawer"] == "Drawer"
    assert seen["lane"] == ["crayon does not work there: its lane is cpu."]
    assert seen["bright"] == "pass", "the guide lowers its threshold"
    assert ["dark", "flag"] in seen["checks"] and seen["thresholds"] == "Dark below"
    assert seen["delivered"] == 248, "the step turned 7 into 248, and the destination got that file"
    assert seen["layout"] == "ledger"
    assert all(
        name in names
        for name, names in zip(("dark", "negative", "ledger", "drawer", "postcards"), seen["names"], strict=True)
    )


def make_registry() -> Registry[Any]:
    return Registry("shape", "proofline.shapes", {"square": "math:sqrt", "gone": "math:no_such_thing"})


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"There is no shape 'round'; known are gone, square\."):
        make_registry().get("round")


def test_a_plug_in_is_loaded_when_it_is_used() -> None:
    shapes = make_registry()
    assert "gone" in shapes and shapes.names() == ["gone", "square"]
    assert shapes.get("square")(9) == 3
    with pytest.raises(ValueError, match=r"The shape 'gone' cannot be loaded: .*no_such_thing"):
        shapes.get("gone")


def test_a_name_is_given_once() -> None:
    shapes = make_registry()
    with pytest.raises(ValueError, match="two plug-ins called 'square'"):
        shapes.register("square", abs)
    shapes.register("flat", abs)
    shapes.register("flat", abs)
    with pytest.raises(ValueError, match="two plug-ins called 'flat'"):
        shapes.register("flat", len)
    shapes.remove("flat")
    assert "flat" not in shapes
