"""Requests for runs, loaded and checked as a whole before any image is drafted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from campaigns import name_patterns, prompts
from campaigns.choices import PhotoRole, PromptStatus
from campaigns.models import Campaign, GuideVersion, OutputSpec, PromptVersion
from campaigns.prompts import PromptSource, listing
from campaigns.selectors import guides
from campaigns.selectors import prompts as prompt_selectors
from core.access import Action, require
from core.choices import BannedWords
from core.errors import Invalid, Problem
from core.models import User
from generation.choices import PHOTO_AXIS, SEED_AXIS, RunShape, Stage
from generation.engines import base as engines
from generation.models import Endpoint
from generation.selectors import concepts, coverage
from generation.services.endpoints import local_models
from generation.services.planning import fingerprints

#: Guide columns that become parameters where the engine obeys them and the prompt says nothing.
GUIDE_PARAMETERS = {"backdrop": "backdrop", "light": "light", "fill": "fill_ratio", "baseline": "baseline"}


@dataclass(frozen=True)
class PlanArguments:
    """The request for a run, before it is loaded and checked (PlanRequest).

    subjects: ids or Subjects, None for all active ones of the campaign; sample: only this number of them, spread.
    shape "list" takes rows, {"subject": SKU or id, "backdrop": "clay"}, one image each (per aspect, unless the row
    names one). axes: replace those of the prompt version. aspects: only these of the campaign, such as ["4:5"].
    missing_only: only subjects × aspects without an image that exists or is being made. all_or_nothing: refuse the run
    if any image cannot be made, instead of leaving it out.
    """

    campaign: Campaign
    prompt_version: PromptVersion
    endpoint: Endpoint
    stage: str
    by: User
    subjects: Iterable[Any] | None = None
    shape: str = RunShape.MATRIX
    rows: Iterable[Mapping[str, Any]] | None = None
    axes: Mapping[str, Sequence[Any]] | None = None
    sample: int | None = None
    aspects: Sequence[str] | None = None
    missing_only: bool = False
    all_or_nothing: bool = False

    @property
    def used_axes(self) -> dict[str, Sequence[Any]]:
        """Return the axes of the request, or else of the prompt version; a list has none."""
        if self.shape == RunShape.LIST:
            return {}
        return dict(self.prompt_version.axes if self.axes is None else self.axes)


@dataclass(frozen=True)
class AspectGroup:
    """Output specs of one aspect, which share one generation. width, height: pixels of the master."""

    aspect: str
    width: int
    height: int
    specs: tuple[OutputSpec, ...]


@dataclass(frozen=True, kw_only=True)
class PlanRequest(PlanArguments):
    """A request that was loaded and checked, with everything that is the same for all its images."""

    rows: tuple[Mapping[str, Any], ...]
    axes: Mapping[str, Sequence[Any]]
    subject_ids: tuple[int, ...] | None
    engine: engines.Engine
    capabilities: engines.Capabilities
    source: PromptSource
    guide: GuideVersion | None
    groups: tuple[AspectGroup, ...]
    variants: tuple[dict[str, Any], ...]
    #: The scenes and maps that it names, if the engine takes them, looked up once for all images.
    named: tuple[concepts.ConceptImages, ...]
    #: The engine, model and revision of now, under which the images are planned and stored.
    maker: fingerprints.Maker
    notes: tuple[str, ...]
    #: (subject id, aspect) of images to leave out, because they exist.
    covered: frozenset[tuple[int, str]]

    @property
    def is_sandbox(self) -> bool:
        """Return whether this is a try-out: its images are not delivered, so a row may have any size."""
        return self.campaign.is_sandbox and self.stage == Stage.SANDBOX

    @property
    def image_roles(self) -> tuple[str, ...]:
        """Return the roles of the subject's input images: those that the engine needs or that the prompt uses."""
        columns = _listed_names(self.rows) if self.shape == RunShape.LIST else self.axes
        return tuple(sorted(concepts.subject_images(self.capabilities, self.prompt_version, self.source, columns)))

    @property
    def blocks_banned_words(self) -> bool:
        """Return whether a banned word in a prompt prevents the run; it never does so for try-outs."""
        is_strict = self.campaign.brand.banned_words == BannedWords.BLOCK
        return is_strict and self.guide is not None and self.stage != Stage.SANDBOX and self.capabilities.obeys_prompt

    @property
    def candidates(self) -> int:
        """Return the images per cell; 1 if the engine ignores the seed, because all would be equal."""
        return self.prompt_version.candidates if SEED_AXIS in self.capabilities.obeys else 1

    def definition(self) -> dict[str, Any]:
        """Return the request as plain data, for the run's row."""
        if self.shape == RunShape.LIST:
            plain: dict[str, Any] = {"rows": [dict(row) for row in self.rows]}
        else:
            plain = {
                "subjects": "all" if self.subject_ids is None else list(self.subject_ids),
                "axes": {name: list(values) for name, values in self.axes.items()},
                **({"sample": self.sample} if self.sample else {}),
            }
        if self.aspects is not None:
            plain["aspects"] = list(self.aspects)
        return {**plain, "missing_only": True} if self.missing_only else plain


def load(arguments: PlanArguments) -> PlanRequest:
    """Load a request and check everything that does not depend on a subject. Raises NotAllowed and Invalid."""
    campaign, version, endpoint = arguments.campaign, arguments.prompt_version, arguments.endpoint
    stage = arguments.stage
    require(arguments.by, Action.RUN_SANDBOX if stage == Stage.SANDBOX else Action.RUN, campaign.brand)
    rows = tuple(arguments.rows or ())
    axes = arguments.used_axes
    engine = open_engine(endpoint)
    capabilities = engine.capabilities()
    source = prompt_selectors.prompt_source(version)
    names = list(axes) if arguments.shape == RunShape.MATRIX else _listed_names(rows)
    variants, axis_problems = _variants(axes)
    specs = list(campaign.output_specs.order_by("id"))
    problems = [
        *_whole_problems(arguments, rows),
        *_find_ineffective_names(names, arguments, source, capabilities),
        *_engine_problems(arguments, source, capabilities),
        *axis_problems,
        *_output_problems(specs, arguments),
    ]
    if problems:
        raise Invalid(_("This run cannot be planned as it is."), problems)
    aspects, subjects = arguments.aspects, arguments.subjects
    groups, notes = _groups([spec for spec in specs if aspects is None or spec.aspect in aspects], capabilities)
    unchanged = {name: value for name, value in vars(arguments).items() if name not in ("rows", "axes")}
    return PlanRequest(
        **unchanged,
        engine=engine,
        capabilities=capabilities,
        source=source,
        guide=guides.get_published(campaign.brand_id),
        groups=groups,
        axes=axes,
        variants=variants,
        subject_ids=None if subjects is None else tuple(getattr(subject, "pk", subject) for subject in subjects),
        rows=rows,
        named=tuple(
            concepts.load_images(use, campaign.brand, concepts.list_named_keys(use, source, axes, rows))
            for use in concepts.supported_uses(capabilities)
        ),
        maker=maker_of(endpoint, engine),
        notes=(*notes, *_notes(version, endpoint, capabilities, stage)),
        covered=coverage.list_existing_images(campaign.pk) if arguments.missing_only else frozenset(),
    )


def _variants(axes: Mapping[str, Sequence[Any]]) -> tuple[tuple[dict[str, Any], ...], list[Problem]]:
    """Return the combinations of the axes' values, and the problems of these axes."""
    try:
        return tuple(prompts.expand_axes(axes)), []
    except prompts.AxisError as error:
        return (), [Problem(f"axes/{error.axis}", error.message)]


def _output_problems(specs: list[OutputSpec], arguments: PlanArguments) -> Iterator[Problem]:
    available = dict.fromkeys(spec.aspect for spec in specs)
    if arguments.aspects is not None and not arguments.aspects:
        yield Problem("aspects", _("Choose at least one of the campaign's outputs."))
    for aspect in arguments.aspects or ():
        if aspect not in available:
            message = _("No output of this campaign is %(aspect)s; it wants %(aspects)s.")
            yield Problem("aspects", message % {"aspect": aspect, "aspects": ", ".join(available)}, aspect)
    if arguments.stage != Stage.SANDBOX:  # a wrong file name would fail only at delivery, after all images are made
        for spec in specs:
            for sentence in name_patterns.lint(spec.name_pattern):
                yield Problem(f"output_specs/{spec.slug}/name_pattern", sentence, spec.name_pattern)
    if not specs:
        yield Problem("output_specs", _("This campaign has no output spec yet; add what the channel wants."))


def _listed_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({name for row in rows if isinstance(row, Mapping) for name in listing.placeholders(row)})


def _notes(version: PromptVersion, endpoint: Endpoint, capabilities: engines.Capabilities, stage: str) -> Iterator[str]:
    if version.candidates > 1 and SEED_AXIS not in capabilities.obeys:
        message = _("%(endpoint)s ignores the seed, so its candidates would be equal: one of %(n)d is planned.")
        yield message % {"endpoint": endpoint.name, "n": version.candidates}
    if version.status != PromptStatus.APPROVED:
        note = _("%(version)s is a draft: no lead has approved it yet.") % {"version": version}
        if stage == Stage.FULL:
            note += " " + _("A full run is released with an approved version, or with a reason that a lead writes.")
        yield note


def open_engine(endpoint: Endpoint) -> engines.Engine:
    """Return the endpoint's engine without loading a model. Raises Invalid, with the reason."""
    try:
        return engines.build(endpoint.engine, endpoint.config)
    except (ValueError, TypeError, KeyError, OSError, engines.EngineError) as error:
        message = _("The endpoint %(endpoint)s cannot be used: %(error)s") % {"endpoint": endpoint.name, "error": error}
        raise Invalid(message, [Problem("endpoint", message, endpoint.slug)]) from error


def maker_of(endpoint: Endpoint, engine: engines.Engine) -> fingerprints.Maker:
    """Return the maker (engine, model, revision) of the endpoint now. Raises Invalid, with the reason, if unknown."""
    try:
        return fingerprints.get_maker(endpoint, engine)
    except (OSError, engines.EngineError) as error:
        message = _("The endpoint %(endpoint)s cannot say which model it has: %(error)s")
        message %= {"endpoint": endpoint.name, "error": error}
        raise Invalid(message, [Problem("endpoint", message, endpoint.slug)]) from error


def _whole_problems(arguments: PlanArguments, rows: tuple[Any, ...]) -> Iterator[Problem]:
    campaign, version, endpoint = arguments.campaign, arguments.prompt_version, arguments.endpoint
    stage, shape = arguments.stage, arguments.shape
    if stage not in Stage.values:
        yield Problem("stage", _("Known stages are %(stages)s.") % {"stages": ", ".join(Stage.values)}, stage)
    if campaign.is_sandbox and stage != Stage.SANDBOX:
        message = _("Nothing of %(campaign)s goes on to review; only try-outs are made in it.")
        yield Problem("stage", message % {"campaign": campaign.name}, stage)
    if shape not in RunShape.values:
        yield Problem("shape", _("Known shapes are %(shapes)s.") % {"shapes": ", ".join(RunShape.values)}, shape)
    if version.template.brand_id != campaign.brand_id:
        yield Problem("prompt_version", _("This prompt belongs to another brand."), str(version.pk))
    if endpoint.brand_id not in (None, campaign.brand_id):
        yield Problem("endpoint", _("This endpoint serves another brand."), endpoint.slug)
    if not endpoint.is_enabled:
        yield Problem("endpoint", _("%(endpoint)s is switched off.") % {"endpoint": endpoint.name}, endpoint.slug)
    model = local_models.find_for_endpoint(endpoint) if endpoint.plugin.uses_local_models else None
    if model is not None and not model.is_usable:
        message = _("%(endpoint)s draws with %(model)s, which may not be used any more; take another endpoint.")
        yield Problem("endpoint", message % {"endpoint": endpoint.name, "model": model.name}, endpoint.slug)
    needed = version.needs.get("engine", endpoint.engine)
    if needed != endpoint.engine:
        message = _("%(version)s was written for %(needed)s; %(endpoint)s is %(engine)s.")
        names = {"version": version, "needed": needed, "endpoint": endpoint.name, "engine": endpoint.engine}
        yield Problem("endpoint", message % names, endpoint.slug)
    if shape == RunShape.LIST and not rows:
        yield Problem("rows", _("A list run needs rows; each names its subject."))
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping) or not row.get("subject"):
            message = _('A row is {"subject": "SKU", "backdrop": "clay"}.')
            yield Problem(f"rows/{number}", message, str(row)[:100])


def _find_ineffective_names(
    names: Sequence[str], arguments: PlanArguments, source: PromptSource, capabilities: engines.Capabilities
) -> list[Problem]:
    """Return problems for axes (or row values) that do not change the image."""
    in_words = {slot.name for text in (source.text, source.negative) for slot in prompts.placeholders(text)}
    alive = {
        slot.name
        for key, value in source.parameters.items()
        if key in capabilities.obeys
        for slot in prompts.placeholders(PromptSource("", parameters={key: value}))
    }
    alive |= in_words if capabilities.obeys_prompt else set()
    alive |= capabilities.obeys - {"prompt", "negative"} - set(source.parameters)
    if concepts.subject_images(capabilities, arguments.prompt_version, source, names):
        alive.add(PHOTO_AXIS)
    return [
        Problem(f"axes/{name}", _ignored(name, arguments.endpoint.engine, capabilities), name)
        for name in names
        if name not in alive
    ]


def _ignored(name: str, engine: str, capabilities: engines.Capabilities) -> str:
    obeyed = ", ".join(sorted(capabilities.obeys)) or _("nothing")
    sentence = _("%(engine)s ignores “%(name)s”, so its images would be equal. It uses: %(obeyed)s.")
    sentence %= {"engine": engine, "name": name, "obeyed": obeyed}
    if name in {"angle", "view", "pose"} and capabilities.needs_images:
        hint = _("It shows the photo that it is given: for other views use the axis “%(axis)s” (%(roles)s).")
        sentence += " " + hint % {"axis": PHOTO_AXIS, "roles": ", ".join(PhotoRole.values)}
    return sentence


def _engine_problems(
    arguments: PlanArguments, source: PromptSource, capabilities: engines.Capabilities
) -> Iterator[Problem]:
    endpoint = arguments.endpoint
    hidden = concepts.find_hidden_axes(source, arguments.used_axes) if capabilities.takes_scenes else {}
    for name, sentence in hidden.items():
        yield Problem(f"axes/{name}", sentence, name)
    requested = set(arguments.prompt_version.needs.get("images", ()))
    for role in sorted(requested - capabilities.needs_images - capabilities.optional_images):
        yield Problem("needs/images", _("This engine takes no image “%(role)s”.") % {"role": role}, role)
    for sentence in capabilities.open_questions:
        yield Problem("endpoint", f"{endpoint.name}: {sentence}", endpoint.slug)


def _groups(
    specs: list[OutputSpec], capabilities: engines.Capabilities
) -> tuple[tuple[AspectGroup, ...], tuple[str, ...]]:
    """Group the specs by aspect, with the size of each master, and note sizes that the engine cannot make."""
    by_aspect: dict[str, list[OutputSpec]] = {}
    for spec in specs:
        by_aspect.setdefault(spec.aspect, []).append(spec)
    groups, notes = [], []
    for aspect, members in by_aspect.items():
        largest = max(members, key=lambda spec: spec.width * spec.height)
        width, height = master_size(largest.width, largest.height, capabilities)
        if width < largest.width or height < largest.height:
            message = _(
                "This engine makes at most %(most)s of %(aspect)s; %(spec)s wants %(size)s and will be enlarged."
            )
            size = f"{largest.width}×{largest.height}"
            notes.append(message % {"most": f"{width}×{height}", "aspect": aspect, "spec": largest.slug, "size": size})
        groups.append(AspectGroup(aspect, width, height, tuple(members)))
    return tuple(groups), tuple(notes)


def master_size(width: int, height: int, capabilities: engines.Capabilities) -> tuple[int, int]:
    """Return the size to make for a given one: within the engine's limits, rounded to its multiple, up if it fits."""
    scale = min(1.0, capabilities.max_width / width, capabilities.max_height / height)
    return (
        _fit(width * scale, capabilities.size_multiple, capabilities.max_width),
        _fit(height * scale, capabilities.size_multiple, capabilities.max_height),
    )


def _fit(length: float, multiple: int, limit: int) -> int:
    up = -(-max(1, round(length)) // multiple) * multiple
    return up if up <= limit else max(multiple, limit // multiple * multiple)
