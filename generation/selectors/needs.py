"""What a subject still lacks for a prompt version on an engine: attributes that the prompt names, and photos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaigns import prompts
from campaigns.models import Campaign, OutputSpec, PromptVersion, Subject
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import prompts as prompt_selectors
from campaigns.selectors import readiness
from generation.models import Endpoint, Run
from generation.selectors import endpoints, scenes


@dataclass(frozen=True)
class Verdict:
    """attributes: placeholders of the prompt without a value; photos: what is wrong with its photos; scene: why
    there is no picture of the scene that it is to stand before, or ""."""

    attributes: tuple[str, ...]
    photos: readiness.Readiness
    scene: str = ""

    @property
    def is_ready(self) -> bool:
        return not self.attributes and not self.scene and self.photos.is_ready

    @property
    def sentences(self) -> tuple[str, ...]:
        lacking = (f"It has no {', '.join(self.attributes)}, which the prompt names.",) if self.attributes else ()
        return (*lacking, *([self.scene] if self.scene else []), *self.photos.findings)


def likely_endpoint(campaign: Campaign, version: PromptVersion) -> Endpoint | None:
    """Where the version ran last in this campaign, else the first one of the engine that it was written for."""
    run = Run.objects.filter(campaign=campaign, prompt_version=version, endpoint__is_enabled=True).order_by("-id")
    last = run.select_related("endpoint").first()
    if last is not None:
        return last.endpoint
    fitting = endpoints.usable(campaign.brand)
    wanted = version.needs.get("engine")
    found: Endpoint | None = (fitting.filter(engine=wanted) if wanted else fitting).first()
    return found


def images_needed(version: PromptVersion, endpoint: Endpoint | None) -> frozenset[str]:
    """Input images that each picture gets; none where the engine cannot say."""
    if endpoint is None:
        return frozenset()
    capabilities = endpoints.offer(endpoint).capabilities
    if capabilities is None:
        return frozenset()
    return capabilities.subject_images(version.needs.get("images", ()))


def of(
    subjects: Iterable[Subject],
    *,
    campaign: Campaign,
    version: PromptVersion,
    endpoint: Endpoint | None,
    specs: Sequence[OutputSpec],
) -> Mapping[int, Verdict]:
    """Verdicts by subject id; six queries at most for any number of subjects."""
    listed = list(subjects)
    source = prompt_selectors.source(version)
    photos = readiness.of(listed, specs=specs, images_needed=images_needed(version, endpoint))
    same: dict[str, Any] = {"brand": campaign.brand.name, "campaign": campaign.name}
    same |= dict.fromkeys(version.axes, "one of the axis")
    scene = _scene(campaign, version, endpoint, source)
    found = {}
    for one in listed:
        own = campaign_selectors.values_of(key=one.key, name=one.name, kind=one.kind, attributes=one.attributes)
        found[one.pk] = Verdict(tuple(prompts.missing(source, {**same, **own})), photos[one.pk], scene)
    return found


def _scene(campaign: Campaign, version: PromptVersion, endpoint: Endpoint | None, source: prompts.PromptSource) -> str:
    """Why the first of the version's own scenes that has no picture has none; "" where nothing is lacking."""
    names = scenes.named(source, version.axes)
    capabilities = endpoints.offer(endpoint).capabilities if endpoint and names else None
    if not names or capabilities is None or not capabilities.takes_scenes:
        return ""
    known = scenes.known(campaign.brand, names)
    return next((problem for name in sorted(names) if (problem := known.problem(name))), "")
