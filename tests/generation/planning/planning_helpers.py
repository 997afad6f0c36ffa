"""Test data for planning: an engine that needs cut-outs, and helpers that change rows."""

from __future__ import annotations

from typing import Any

from campaigns.models import Campaign, PromptVersion
from generation.engines.base import ENGINES, Capabilities, EnginePlugin, Spec
from tests.support import engines, factories


class NeedsCutout(engines.ReadyEngine):
    """A test engine that sets a cut-out on a backdrop of at most 512 px, in steps of 64 px."""

    name = "needs-cutout"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            is_remote=False,
            obeys=frozenset({"backdrop", "fill"}),
            controls=(),
            needs_images=frozenset({"cutout"}),
            optional_images=frozenset({"photo"}),
            obeys_prompt=False,
            max_width=512,
            max_height=512,
            size_multiple=64,
        )

    def validate(self, spec: Spec) -> list[str]:
        return ["There is no backdrop “tartan”."] if spec.parameters.get("backdrop") == "tartan" else []


ENGINES.register("needs-cutout", EnginePlugin("needs-cutout", NeedsCutout))


def with_cutouts(campaign: Campaign) -> None:
    for subject in campaign.subjects.all():
        factories.CutoutFactory(photo=factories.ReferencePhotoFactory(subject=subject))


def update_version(version: PromptVersion, **fields: Any) -> PromptVersion:
    PromptVersion.objects.filter(pk=version.pk).update(**fields)
    version.refresh_from_db()
    return version
