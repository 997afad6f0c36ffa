"""Needs of subjects for a prompt version on an engine: attributes that the prompt names, and photos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaigns import prompts
from campaigns.choices import SubjectKind
from campaigns.models import Campaign, OutputSpec, PromptVersion, Subject
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import prompts as prompt_selectors
from campaigns.selectors import readiness
from generation.engines.base import CONTROL, MAP, SCENE, Capabilities
from generation.models import Endpoint, Run
from generation.selectors import concepts, endpoints


@dataclass(frozen=True)
class Verdict:
    """attributes: placeholders of the prompt without a value; photos: what is wrong with its photos; scene, map: why
    there is no picture of the scene that it is to stand before, and no map that its picture is to follow, or ""."""

    attributes: tuple[str, ...]
    photos: readiness.Readiness
    scene: str = ""
    map: str = ""

    @property
    def is_ready(self) -> bool:
        return not (self.attributes or self.scene or self.map) and self.photos.is_ready

    @property
    def sentences(self) -> tuple[str, ...]:
        lacking = (f"It has no {', '.join(self.attributes)}, which the prompt names.",) if self.attributes else ()
        return (*lacking, *(one for one in (self.scene, self.map) if one), *self.photos.findings)


def likely_endpoint(campaign: Campaign, version: PromptVersion) -> Endpoint | None:
    """Return where the version ran last in this campaign, else the first one of the engine that it was written for."""
    run = Run.objects.filter(campaign=campaign, prompt_version=version, endpoint__is_enabled=True).order_by("-id")
    last = run.select_related("endpoint").first()
    if last is not None:
        return last.endpoint
    fitting = endpoints.usable(campaign.brand)
    wanted = version.needs.get("engine")
    found: Endpoint | None = (fitting.filter(engine=wanted) if wanted else fitting).first()
    return found


def of(
    subjects: Iterable[Subject],
    *,
    campaign: Campaign,
    version: PromptVersion,
    endpoint: Endpoint | None,
    specs: Sequence[OutputSpec],
) -> Mapping[int, Verdict]:
    """Verdicts by subject id; nine queries at most for any number of subjects."""
    listed = list(subjects)
    source = prompt_selectors.source(version)
    capabilities = endpoints.offer(endpoint).capabilities if endpoint else None
    images = concepts.subject_images(capabilities, version, source, version.axes) if capabilities else frozenset()
    photos = readiness.of(listed, specs=specs, images_needed=images)
    same: dict[str, Any] = {"brand": campaign.brand.name, "campaign": campaign.name}
    same |= dict.fromkeys(version.axes, "one of the axis")
    missing = _missing(campaign, version, capabilities, source) if capabilities else {}
    is_own_map = CONTROL in images and capabilities is not None and capabilities.takes_maps
    found = {}
    for one in listed:
        own = campaign_selectors.values_of(key=one.key, name=one.name, kind=one.kind, attributes=one.attributes)
        no_map = concepts.NO_PRODUCT_MAP if is_own_map and one.kind == SubjectKind.PRODUCT else missing.get(MAP, "")
        lacking = tuple(prompts.missing(source, {**same, **own}))
        found[one.pk] = Verdict(lacking, photos[one.pk], missing.get(SCENE, ""), no_map)
    return found


def _missing(
    campaign: Campaign, version: PromptVersion, capabilities: Capabilities, source: prompts.PromptSource
) -> dict[str, str]:
    """Return why the first of the version's own scenes, and of its maps, that has no picture has none, by what it is
    named for; "" where none is lacking."""
    found = {}
    for use in concepts.taken(capabilities):
        keys = concepts.named(use, source, version.axes) or frozenset()
        known = concepts.known(use, campaign.brand, keys)
        found[use.noun] = next((problem for key in sorted(keys) if (problem := known.problem(key))), "")
    return found
