"""The interface that every image engine implements.

Engines import no Django models: they take a `Spec` of plain values and return a `Result` of pixels and facts. A local
engine implements `generate`; a remote one `submit`, `find`, `poll`, `fetch` and `cancel`. Planning, dispatch and pages
use only this interface.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from pkgutil import resolve_name
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from campaigns.prompts.tokens import Encoder
from core.fetching import redact_text
from core.plugin_config import Config, OpenConfig, Source, Whole, setting
from core.registry import Registry

Pixels = NDArray[np.uint8]
"""height × width × 3 (sRGB) or × 4 (sRGB with straight alpha), uint8, C-contiguous."""

SCENE: Final = "scene"
"""The role of the image behind a product. It does not show the subject; the parameter of the same name selects it by
the key of a concept."""
CONTROL: Final = "control"
"""The role of a control map, which the generated image follows."""
CONTROL_MAP: Final = "control_map"
"""The parameter that selects the control map by the key of a concept. Without it, the subject's photo is the map."""
MAP: Final = "map"
"""The kind of the control that selects a control map."""

CLOUD, GPU, CPU = "cloud", "gpu", "cpu"
"""The lanes of engines, as core.choices.Lane names them."""

MAX_REMOTE_ID_LENGTH: Final = 2000
"""In characters. If a service keeps no list, the id is the address of the finished image, with its signature."""


class ErrorKind(StrEnum):
    """The kinds of failure, which decide what happens next (docs/errors.md has the table)."""

    TRANSIENT = "transient"  # retry with backoff
    RATE = "rate"  # retry after retry_after_seconds
    MEMORY = "memory"  # smaller batch, then another endpoint
    LOST = "lost"  # resubmit
    UNCERTAIN = "uncertain"  # submitted, but no answer came: looked up, or held if the service cannot be asked
    MODERATION = "moderation"  # a person decides
    INPUT = "input"  # a person decides
    ENDPOINT = "endpoint"  # the endpoint is misconfigured or lacks something: its operator must act, the job is fine
    QUOTA = "quota"  # account empty or credentials refused: hold the endpoint, tell the operator
    STORAGE = "storage"  # made, but the disk or bucket refuses it: the run pauses until there is room
    CHANGED = "changed"  # the engine changed since the job was planned: held until it is planned again
    CANCELLED = "cancelled"


class EngineError(Exception):
    """The failure of an attempt. `message` is for people; `log` is the engine's own text.

    is_unsent: the service could not be reached. The job was never sent, so this does not count as one of its tries.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        log: str = "",
        is_unsent: bool = False,
    ) -> None:
        self.message = redact_text(message)
        super().__init__(self.message)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds
        self.log = redact_text(log)
        self.is_unsent = is_unsent


def memory_or_device_error(error: Exception) -> ErrorKind | None:
    """Return MEMORY if memory was too small, TRANSIENT if the graphics card reported an error, else None.

    It goes by names, because torch has some of these classes and is not imported here.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return ErrorKind.MEMORY
    return ErrorKind.TRANSIENT if "AcceleratorError" in names else None


@dataclass(frozen=True)
class ImageRef:
    """An input image by content: sha256 of the stored file and its storage key. Engines read it through `load`."""

    sha256: str
    key: str


@dataclass(frozen=True)
class Spec:
    """Everything that decides the pixels of one image. It is frozen into the job; equal specs make equal images.

    width, height: pixels of the master. seed: 0 … 2**63-1. parameters: the engine's own, validated by `validate`.
    images: input images by role: "cutout", "photo", "init", "mask"; and "scene" and "control", mostly from a concept.
    """

    prompt: str
    width: int
    height: int
    seed: int
    negative: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, ImageRef] = field(default_factory=dict)
    candidate: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; the caller's encoder sorts the keys. `from_json` is the inverse.

        `dataclasses.asdict` takes twenty times as long, and planning calls this for each job.
        """
        images = {role: dict(vars(ref)) for role, ref in self.images.items()}
        return {**vars(self), "parameters": dict(self.parameters), "images": images}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Spec:
        images = {role: ImageRef(**ref) for role, ref in plain.get("images", {}).items()}
        return cls(**{**plain, "images": images})


@dataclass(frozen=True)
class Task:
    """One spec that an engine works on. `id` is the job's; the engine uses it only for names and markers."""

    id: int
    spec: Spec


@dataclass(frozen=True)
class Result:
    """One finished image, or the reason why there is none (`error` set, `pixels` None).

    model, revision: the model that really made it, in the form of `Engine.model_identity`, or a service's own name and
    version of its model; "" if the engine only knows what `model_identity` said when it got the task. seconds: wall
    time of this image's share of the batch. facts: whatever is needed to make it again, such as device, batch size,
    steps and scheduler. usage: the units that a remote service counted for this image ("images", "seconds",
    "text_input_tokens", "image_input_tokens", "output_tokens"); the endpoint's prices turn them into money. outputs:
    the addresses of a remote result's pixels, for `fetch`. load_pixels: set if a local result was yielded before its
    pixels had left the GPU; `wait_for_pixels` waits for them.
    """

    task_id: int
    pixels: Pixels | None
    model: str = ""
    revision: str = ""
    seed: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    log: str = ""
    error: EngineError | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    load_pixels: Callable[[], Pixels] | None = None

    def wait_for_pixels(self) -> Result:
        """Return this result with its pixels, after waiting for them. Works on any thread. Raises EngineError."""
        return self if self.load_pixels is None else replace(self, pixels=self.load_pixels(), load_pixels=None)


@dataclass(frozen=True)
class Pending:
    """A task that the service has not finished yet. step, steps: its progress, 0 and 0 if unknown. ahead: the number
    of tasks before it in the service's queue, None if unknown."""

    step: int = 0
    steps: int = 0
    ahead: int | None = None


@dataclass(frozen=True)
class Submitted:
    """A task that the service has accepted as `remote_id` (at most MAX_REMOTE_ID_LENGTH characters, all that `poll`
    needs).

    result: the finished image, if the service answered with it at once. is_kept: `poll` would find that image again.
    problem: the reason why a finished image could not be fetched yet; `poll` finds it under `remote_id`.
    """

    remote_id: str
    result: Result | None = None
    problem: EngineError | None = None
    is_kept: bool = False


@dataclass(frozen=True)
class Control:
    """One thing a reviewer may change when asking for a revision, drawn as a form field.

    kind: "number" (minimum, maximum, step), "choice" (choices), "colour", "text", "seed", or a kind whose value is the
    key of a concept ("" or "none" for none): "scene" (the concept's approved image becomes the image "scene") and "map"
    (its photo becomes the image "control").
    `parameter` is the key in Spec.parameters, or "prompt", "negative", "seed".
    """

    parameter: str
    label: str
    kind: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of an engine. `obeys` are the axis and placeholder names that change its pixels: planning
    refuses axes outside it. `needs_images` are the roles without which it cannot work. `open_questions` are sentences
    about what a person has to settle in its settings before anything is planned."""

    is_remote: bool
    obeys: frozenset[str]
    controls: tuple[Control, ...]
    needs_images: frozenset[str] = frozenset()
    optional_images: frozenset[str] = frozenset()
    obeys_prompt: bool = True
    max_width: int = 4096
    max_height: int = 4096
    size_multiple: int = 1
    open_questions: tuple[str, ...] = ()

    def subject_images(self, requested: Iterable[str] = ()) -> frozenset[str]:
        """Return the roles of images of the subject: the needed ones and the supported ones of `requested`."""
        return (self.needs_images | (set(requested) & self.optional_images)) - {SCENE}

    @property
    def takes_scenes(self) -> bool:
        return SCENE in self.needs_images | self.optional_images

    @property
    def takes_maps(self) -> bool:
        return CONTROL_MAP in self.obeys and CONTROL in self.needs_images | self.optional_images


@dataclass(frozen=True)
class Quote:
    """The estimate for one image. cost: in the endpoint's currency. seconds: in its lane. usage: about what its service
    will count, in the units of Result.usage, for endpoints that are charged by usage; empty if nobody knows before."""

    cost: float
    seconds: float
    usage: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: EngineConfig, *, seconds: float) -> Quote:
        """Return the quote in an endpoint's config. seconds: the default of "seconds_per_image"."""
        return cls(config.cost_per_image, seconds if config.seconds_per_image is None else config.seconds_per_image)


@dataclass(frozen=True)
class Health:
    """The health of a service. suggested: settings of the endpoint that would fit what the service reports; {}
    for none."""

    is_ok: bool
    message: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    suggested: Mapping[str, Any] = field(default_factory=dict)


class Context(Protocol):
    """The services that a worker lends an engine while it works."""

    def load(self, ref: ImageRef) -> bytes:
        """Return the bytes of the stored image, in sRGB: a file in another colour space is converted to a PNG."""

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None:
        """Report the progress of these tasks. It is cheap and may be called at every step."""

    def cancelled(self) -> frozenset[int]:
        """Return the ids of tasks that people cancelled or whose lease is lost. Engines check it between steps."""


@runtime_checkable
class Engine(Protocol):
    """One way of making images. Constructed once per worker and endpoint with the endpoint's `config`."""

    name: str

    def capabilities(self) -> Capabilities: ...

    def validate(self, spec: Spec) -> list[str]:
        """Return sentences about what this engine cannot do in `spec`. Planning calls it, so it loads no model."""

    def batch_key(self, spec: Spec) -> str:
        """Return a key. Specs with equal keys may share one `generate` call (same size, steps, scheduler, LoRAs)."""

    def model_identity(self) -> tuple[str, str]:
        """Return the current (model, revision), as far as known without loading the model: part of the fingerprint.

        revision: the model's version, then "+" and a digest of the endpoint's settings that decide pixels. This is
        called before every batch and every submission, so an engine that caches it has to notice changed files.
        """

    def quote(self, spec: Spec) -> Quote: ...

    def health(self) -> Health: ...


def encoder_of(engine: Engine) -> Encoder | None:
    """Return the text encoder, whose limit is the length of prompt that an engine reads; it loads no model. None for an
    engine that reads no prompt, or without a method `text_encoder() -> Encoder`, because its limit is unknown."""
    text_encoder = getattr(engine, "text_encoder", None)
    return text_encoder() if text_encoder and engine.capabilities().obeys_prompt else None


class LocalEngine(Engine, Protocol):
    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        """Yield one Result per task as they finish, in any order. Raises EngineError only when the whole batch failed.
        If a result has `load_pixels`, the caller waits for its pixels and may start the next batch first."""


class RemoteEngine(Engine, Protocol):
    """An engine on somebody else's machine. Many threads call its methods at once, and each call ends within a time
    that the engine sets. Failures are EngineErrors: UNCERTAIN only if the service may have taken the task."""

    can_find_submissions: bool
    """True if `find` can tell, after a crash or a lost answer, whether the service has a task."""
    settle_seconds: float
    """Seconds after a lost submission in which `find` may still miss it."""
    poll_seconds: float
    """Seconds to wait between two polls of a task."""

    def submit(self, task: Task, marker: str, context: Context) -> Submitted:
        """Submit the task, marked with `marker`, a UUID that is new for every submission. The call that starts the work
        goes through service.Service.submit, which sends it when the endpoint's rate limits allow."""

    def find(self, task: Task, marker: str, since: datetime, taken: Collection[str]) -> str | None:
        """Return the remote id of the submission with `marker` at or after `since`; None if the service does not have
        it. Raises EngineError if it could not be asked. taken: remote ids that are known to belong to other tasks."""

    def poll(self, remote_ids: Sequence[str]) -> Mapping[str, Pending | Result]:
        """Return the state of each task. A Result has task_id 0 and its `outputs` or its error, which is LOST for an id
        that the service does not know. An id that is missing in the answer could not be checked; it is polled again."""

    def fetch(self, result: Result, context: Context) -> Result:
        """Return the result with its pixels instead of `outputs`."""

    def cancel(self, remote_id: str) -> None:
        """Ask the service to cancel this task and no other. Nothing happens if it has ended."""


@runtime_checkable
class Unloadable(Protocol):
    """Something that can free its memory."""

    def unload(self) -> None: ...


class EngineConfig(Config):
    """The base of the settings of engines. Costs and seconds are for quotes, if the endpoint has no prices; the worker
    adds the secret and the size of its batches."""

    cost_per_image: float = setting("Cost of one image", default=0.0, minimum=0, maximum=86_400, source=Source.JSON)
    seconds_per_image: float | None = setting("Seconds for one image", minimum=0, maximum=86_400, source=Source.JSON)
    secret: str = setting("Secret", default="", source=Source.PROGRAM)
    batch_size: Whole | None = setting("Images per batch", source=Source.PROGRAM)


def duration(label: str, default: float | None, default_text: str = "", *, minimum: float = 0) -> Any:
    """Declare a setting that is a time, in the unit of its label; those of several engines are below."""
    return setting(label, default=default, default_text=default_text, minimum=minimum, maximum=86_400, is_advanced=True)


advanced = partial(setting, is_advanced=True)
for_operator = partial(setting, is_operator_only=True)
advanced_for_operator = partial(setting, is_advanced=True, is_operator_only=True)
max_side = partial(setting, "Longest side, px", "Larger images are enlarged.", default=2048, minimum=16, maximum=16_384)
size_multiple = partial(advanced, "Sides are multiples of, px", default=8, minimum=1, maximum=256)
timeout_seconds = partial(duration, "Timeout of a call, s", minimum=0.1)
poll_seconds = partial(duration, "Time between two polls, s", minimum=0.1)
settle_seconds = partial(duration, "A lost submission may show up after, s")
output_hosts = partial(advanced, "Images may come from", "Other hosts, one a line, such as minio:9000.")
certificates = partial(advanced_for_operator, "Certificates to trust", "Path of a file on the server.", default="")


@dataclass(frozen=True)
class EnginePlugin:
    """The declaration of an engine. It is read often, so it imports nothing that the engine itself needs.

    make: imports and builds the engine for an endpoint's config. label: its name for people, by default `name`.
    config: its settings.
    lanes: where it may work, the usual lane first; other lanes than cloud are our own machines. is_operator_only: only
    an operator may set up an endpoint, because its settings reach the server's files or network. count_calls_at_once:
    returns the default number of simultaneous submissions of a config; None if it is found out by trying.

    has_workflow: its images come from a workflow that people upload and mark. is_generative: a trained model makes its
    images. uses_local_models: its setting "model" is the path of a model of this server. webhook_key: returns the key
    in an endpoint's secret that signs the service's webhooks, "" if there is none.
    """

    name: str
    make: Callable[[Mapping[str, Any]], Engine]
    label: str = ""
    config: type[Config] = OpenConfig
    lanes: tuple[str, ...] = (CLOUD, GPU, CPU)
    is_operator_only: bool = False
    count_calls_at_once: Callable[[Mapping[str, Any]], int | None] = field(default=lambda config: None)
    has_workflow: bool = False
    is_generative: bool = True
    uses_local_models: bool = False
    webhook_key: Callable[[str], str] = field(default=lambda secret: "")

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.name)

    @property
    def is_local(self) -> bool:
        """Return whether it works only on our own machines: it needs no rate limits and no secrets, and loses no
        answers."""
        return CLOUD not in self.lanes

    @property
    def operator_settings(self) -> frozenset[str]:
        """Return the settings of a service that only the operator may set or remove; for a local engine all are."""
        settings = () if self.is_local else self.config.settings().values()
        return frozenset(setting.name for setting in settings if setting.is_operator_only)


def import_engine(name: str) -> Callable[[Mapping[str, Any]], Engine]:
    """Return a function that makes an engine of this class ("module:Class"), which it imports when it is called."""
    return lambda config: resolve_name(name)(config)


_OWN: Final = ("comfyui", "diffusers", "openai", "packshot", "replicate")
ENGINES: Final[Registry[EnginePlugin]] = Registry(
    "engine", "proofline.engines", {name: f"generation.engines.{name}.config:PLUGIN" for name in _OWN}
)


def find_declaration(name: str) -> EnginePlugin:
    """Return the declaration of an engine; an empty one if it is no longer installed or cannot be loaded."""
    try:
        return ENGINES.get(name)
    except ValueError:
        return EnginePlugin(name, lambda config: build(name, config), label=name)


def list_declarations() -> list[EnginePlugin]:
    """Return the declarations of all engines by name, also of those that cannot be loaded."""
    return [find_declaration(name) for name in ENGINES.names()]


def build(name: str, config: Mapping[str, Any], secret: str = "") -> Engine:
    """Build the engine `name` for one endpoint's config. Raises ValueError that lists the known names.

    secret: the endpoint's API key or token; the engine reads it as config["secret"]. Planning and pages give none.
    """
    return ENGINES.get(name).make({**config, "secret": secret} if secret else config)
