"""Requests for runs, loaded and checked as a whole before any image is drafted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from generation.axes import PHOTO_AXIS, SEED_AXIS
from generation.choices import RunShape, Stage
from generation.engines import base as engines
from generation.models import Endpoint
from generation.selectors import concepts, coverage, scenes
from generation.services.endpoints import local_models
from generation.services.planning import fingerprints
from generation.services.planning.fingerprints import Maker

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


@dataclass(frozen=True)
class AspectGroup:
    """Output specs of one aspect, which share one generation. width, height: pixels of the master."""

    aspect: str
    width: int
    height: int
    specs: tuple[OutputSpec, ...]


@dataclass(frozen=True)
class PlanRequest:
    """Everything about a run that is the same for all its images."""

    campaign: Campaign
    version: PromptVersion
    endpoint: Endpoint
    stage: str
    shape: str
    engine: engines.Engine
    capabilities: engines.Capabilities
    source: PromptSource
    guide: GuideVersion | None
    groups: tuple[AspectGroup, ...]
    axes: Mapping[str, Sequence[Any]]
    variants: tuple[dict[str, Any], ...]
    subject_ids: tuple[int, ...] | None
    rows: tuple[Mapping[str, Any], ...]
    sample: int | None
    #: The scenes and maps that it names, if the engine takes them, looked up once for all images.
    named: tuple[concepts.ConceptImages, ...]
    #: The engine, model and revision of now, under which the images are planned and stored.
    maker: Maker
    notes: tuple[str, ...]
    #: The requested aspects, None for all of the campaign; covered: (subject id, aspect) to leave out, None for none.
    aspects: tuple[str, ...] | None = None
    covered: frozenset[tuple[int, str]] | None = None
    all_or_nothing: bool = False

    @property
    def is_sandbox(self) -> bool:
        """Return whether this is a try-out: its images are not delivered, so a row may have any size."""
        return self.campaign.is_sandbox and self.stage == Stage.SANDBOX

    @property
    def image_roles(self) -> tuple[str, ...]:
        """Return the roles of the subject's input images: those that the engine needs or that the prompt uses."""
        columns = _listed_names(self.rows) if self.shape == RunShape.LIST else self.axes
        return tuple(sorted(concepts.subject_images(self.capabilities, self.version, self.source, columns)))

    @property
    def injected(self) -> frozenset[str]:
        """Return names of axes and row values that become parameters, because the engine obeys them by that name."""
        return self.capabilities.obeys - {"prompt", "negative", SEED_AXIS} - set(self.source.parameters)

    @property
    def blocks_banned_words(self) -> bool:
        """Return whether a banned word in a prompt prevents the run; it never does so for try-outs."""
        is_strict = self.campaign.brand.banned_words == BannedWords.BLOCK
        return is_strict and self.guide is not None and self.stage != Stage.SANDBOX and self.capabilities.obeys_prompt

    @property
    def candidates(self) -> int:
        """Return the images per cell; 1 if the engine ignores the seed, because all would be equal."""
        return self.version.candidates if SEED_AXIS in self.capabilities.obeys else 1

    @property
    def colour_parameters(self) -> frozenset[str]:
        """Return the parameters that are colours, in which names of the brand's colour palette may be used."""
        return frozenset(control.parameter for control in self.capabilities.controls if control.kind == "colour")

    def definition(self) -> dict[str, Any]:
        """Return the request as plain data, for the run's row."""
        subjects: Any = "all" if self.subject_ids is None else list(self.subject_ids)
        plain: dict[str, Any] = {
            "subjects": subjects,
            "axes": {name: list(values) for name, values in self.axes.items()},
        }
        if self.shape == RunShape.LIST:
            plain = {"rows": [dict(row) for row in self.rows]}
        elif self.sample:
            plain["sample"] = self.sample
        if self.aspects is not None:
            plain["aspects"] = list(self.aspects)
        return {**plain, "missing_only": True} if self.covered is not None else plain


def load(arguments: PlanArguments) -> PlanRequest:
    """Load a request and check everything that does not depend on a subject. Raises NotAllowed and Invalid."""
    campaign, version, endpoint = arguments.campaign, arguments.prompt_version, arguments.endpoint
    stage = arguments.stage
    require(arguments.by, Action.RUN_SANDBOX if stage == Stage.SANDBOX else Action.RUN, campaign.brand)
    rows = tuple(arguments.rows or ())
    axes = _used_axes(arguments)
    engine = open_engine(endpoint)
    capabilities = engine.capabilities()
    source = prompt_selectors.prompt_source(version)
    names = list(axes) if arguments.shape == RunShape.MATRIX else _listed_names(rows)
    variants, axis_problems = _variants(axes)
    specs = list(campaign.output_specs.order_by("id"))
    problems = [
        *_whole_problems(arguments, rows),
        *_find_ineffective_names(names, source, version, endpoint.engine, capabilities),
        *_find_ineffective_axes(source, axes, capabilities),
        *_unavailable_images(version, capabilities),
        *(
            Problem("endpoint", f"{endpoint.name}: {sentence}", endpoint.slug)
            for sentence in capabilities.open_questions
        ),
        *axis_problems,
        *_output_problems(specs, arguments),
    ]
    if problems:
        raise Invalid("This run cannot be planned as it is.", problems)
    aspects, subjects = arguments.aspects, arguments.subjects
    groups, notes = _groups([spec for spec in specs if aspects is None or spec.aspect in aspects], capabilities)
    return PlanRequest(
        campaign=campaign,
        version=version,
        endpoint=endpoint,
        stage=stage,
        shape=arguments.shape,
        engine=engine,
        capabilities=capabilities,
        source=source,
        guide=guides.get_published(campaign.brand_id),
        groups=groups,
        axes=axes,
        variants=variants,
        subject_ids=None if subjects is None else tuple(_id(subject) for subject in subjects),
        rows=rows,
        sample=arguments.sample,
        named=tuple(
            concepts.load_images(use, campaign.brand, concepts.list_named_keys(use, source, axes, rows))
            for use in concepts.supported_uses(capabilities)
        ),
        maker=maker_of(endpoint, engine),
        notes=(*notes, *_notes(version, endpoint, capabilities, stage)),
        aspects=None if aspects is None else tuple(aspects),
        covered=coverage.list_existing_images(campaign.pk) if arguments.missing_only else None,
        all_or_nothing=arguments.all_or_nothing,
    )


def _used_axes(arguments: PlanArguments) -> dict[str, Sequence[Any]]:
    """Return the axes of the request, or else of the prompt version; a list has none."""
    if arguments.shape == RunShape.LIST:
        return {}
    return dict(arguments.prompt_version.axes if arguments.axes is None else arguments.axes)


def _variants(axes: Mapping[str, Sequence[Any]]) -> tuple[tuple[dict[str, Any], ...], list[Problem]]:
    """Return the combinations of the axes' values, and the problems of these axes."""
    try:
        return tuple(prompts.expand_axes(axes)), []
    except prompts.AxisError as error:
        return (), [Problem(f"axes/{error.axis}", error.message)]


def _output_problems(specs: list[OutputSpec], arguments: PlanArguments) -> list[Problem]:
    problems = _unknown_aspects(specs, arguments.aspects)
    if arguments.stage != Stage.SANDBOX:
        problems += _bad_names(specs)
    if not specs:
        problems.append(Problem("output_specs", "This campaign has no output spec yet; add what the channel wants."))
    return problems


def _listed_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({name for row in rows if isinstance(row, Mapping) for name in listing.placeholders(row)})


def _notes(version: PromptVersion, endpoint: Endpoint, capabilities: engines.Capabilities, stage: str) -> list[str]:
    notes = []
    if version.candidates > 1 and SEED_AXIS not in capabilities.obeys:
        notes.append(
            f"{endpoint.name} ignores the seed, so its candidates would be equal: "
            f"one of {version.candidates} is planned."
        )
    if version.status != PromptStatus.APPROVED:
        sentence = f"{version} is a draft: no lead has approved it yet."
        needed = " A full run is released with an approved version, or with a reason that a lead writes."
        notes.append(sentence + needed if stage == Stage.FULL else sentence)
    return notes


def _id(subject: Any) -> int:
    return subject if isinstance(subject, int) else int(subject.pk)


def open_engine(endpoint: Endpoint) -> engines.Engine:
    """Return the endpoint's engine without loading a model. Raises Invalid, with the reason."""
    try:
        return engines.build(endpoint.engine, endpoint.config)
    except (ValueError, TypeError, KeyError, OSError, engines.EngineError) as error:
        message = f"The endpoint {endpoint.name} cannot be used: {error}"
        raise Invalid(message, [Problem("endpoint", message, endpoint.slug)]) from error


def maker_of(endpoint: Endpoint, engine: engines.Engine) -> Maker:
    """Return the maker (engine, model, revision) of the endpoint now. Raises Invalid, with the reason, if unknown."""
    try:
        return fingerprints.get_maker(endpoint, engine)
    except (OSError, engines.EngineError) as error:
        message = f"The endpoint {endpoint.name} cannot say which model it has: {error}"
        raise Invalid(message, [Problem("endpoint", message, endpoint.slug)]) from error


def _whole_problems(arguments: PlanArguments, rows: tuple[Any, ...]) -> list[Problem]:
    campaign, version, endpoint = arguments.campaign, arguments.prompt_version, arguments.endpoint
    stage, shape = arguments.stage, arguments.shape
    problems = []
    if stage not in Stage.values:
        problems.append(Problem("stage", f"Known stages are {', '.join(Stage.values)}.", stage))
    if campaign.is_sandbox and stage != Stage.SANDBOX:
        problems.append(
            Problem("stage", f"Nothing of {campaign.name} goes on to review; only try-outs are made in it.", stage)
        )
    if shape not in RunShape.values:
        problems.append(Problem("shape", f"Known shapes are {', '.join(RunShape.values)}.", shape))
    if version.template.brand_id != campaign.brand_id:
        problems.append(Problem("prompt_version", "This prompt belongs to another brand.", str(version.pk)))
    if endpoint.brand_id not in (None, campaign.brand_id):
        problems.append(Problem("endpoint", "This endpoint serves another brand.", endpoint.slug))
    if not endpoint.is_enabled:
        problems.append(Problem("endpoint", f"{endpoint.name} is switched off.", endpoint.slug))
    model = local_models.find_for_endpoint(endpoint) if endpoint.engine == "diffusers" else None
    if model is not None and not model.is_usable:
        message = f"{endpoint.name} draws with {model.name}, which may not be used any more; take another endpoint."
        problems.append(Problem("endpoint", message, endpoint.slug))
    engine = version.needs.get("engine", endpoint.engine)
    if engine != endpoint.engine:
        message = f"{version} was written for {engine}; {endpoint.name} is {endpoint.engine}."
        problems.append(Problem("endpoint", message, endpoint.slug))
    if shape == RunShape.LIST and not rows:
        problems.append(Problem("rows", "A list run needs rows; each names its subject."))
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping) or not row.get("subject"):
            problems.append(
                Problem(f"rows/{number}", 'A row is {"subject": "SKU", "backdrop": "clay"}.', str(row)[:100])
            )
    return problems


def _find_ineffective_names(
    names: Sequence[str],
    source: PromptSource,
    version: PromptVersion,
    engine: str,
    capabilities: engines.Capabilities,
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
    if concepts.subject_images(capabilities, version, source, names):
        alive.add(PHOTO_AXIS)
    return [Problem(f"axes/{name}", _ignored(name, engine, capabilities), name) for name in names if name not in alive]


def _ignored(name: str, engine: str, capabilities: engines.Capabilities) -> str:
    obeyed = ", ".join(sorted(capabilities.obeys)) or "nothing"
    sentence = f"{engine} ignores “{name}”, so its images would be equal. It uses: {obeyed}."
    if name in {"angle", "view", "pose"} and capabilities.needs_images:
        roles = ", ".join(PhotoRole.values)
        sentence += f" It shows the photo that it is given: for other views use the axis “{PHOTO_AXIS}” ({roles})."
    return sentence


def _find_ineffective_axes(
    source: PromptSource, axes: Mapping[str, Sequence[Any]], capabilities: engines.Capabilities
) -> list[Problem]:
    hidden = scenes.find_hidden_axes(source, axes) if capabilities.takes_scenes else {}
    return [Problem(f"axes/{name}", sentence, name) for name, sentence in hidden.items()]


def _unavailable_images(version: PromptVersion, capabilities: engines.Capabilities) -> list[Problem]:
    requested = set(version.needs.get("images", ()))
    unknown = requested - capabilities.needs_images - capabilities.optional_images
    return [Problem("needs/images", f"This engine takes no image “{role}”.", role) for role in sorted(unknown)]


def _unknown_aspects(specs: list[OutputSpec], aspects: Sequence[str] | None) -> list[Problem]:
    available = dict.fromkeys(spec.aspect for spec in specs)
    if aspects is not None and not aspects:
        return [Problem("aspects", "Choose at least one of the campaign's outputs.")]
    return [
        Problem("aspects", f"No output of this campaign is {aspect}; it wants {', '.join(available)}.", aspect)
        for aspect in aspects or ()
        if aspect not in available
    ]


def _bad_names(specs: list[OutputSpec]) -> list[Problem]:
    """Return problems of file name patterns that would fail at delivery, before an image is made."""
    return [
        Problem(f"output_specs/{spec.slug}/name_pattern", sentence, spec.name_pattern)
        for spec in specs
        for sentence in name_patterns.lint(spec.name_pattern)
    ]


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
            notes.append(
                f"This engine makes at most {width}×{height} of {aspect}; {largest.slug} wants "
                f"{largest.width}×{largest.height} and will be enlarged."
            )
        groups.append(AspectGroup(aspect, width, height, tuple(members)))
    return tuple(groups), tuple(notes)


def master_size(width: int, height: int, capabilities: engines.Capabilities) -> tuple[int, int]:
    """Return the size to make for a requested size: within the engine's limits, rounded to its multiple (up if that
    fits)."""
    scale = min(1.0, capabilities.max_width / width, capabilities.max_height / height)
    return (
        _fit(width * scale, capabilities.size_multiple, capabilities.max_width),
        _fit(height * scale, capabilities.size_multiple, capabilities.max_height),
    )


def _fit(length: float, multiple: int, limit: int) -> int:
    up = -(-round(length) // multiple) * multiple
    return up if up <= limit else max(multiple, limit // multiple * multiple)
