"""The interface of engines: the one Protocol behind which every way of making an image sits.

Engines import no models: a `Spec` of plain values goes in, a `Result` of pixels and facts comes out. A local engine
implements `generate`; a remote one `submit`, `find`, `poll`, `fetch` and `cancel`. Planning, dispatch and pages know
only this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from core.fetching import without_secrets

Pixels = NDArray[np.uint8]
"""height × width × 3 (sRGB) or × 4 (sRGB with straight alpha), uint8, C-contiguous."""


SCENE: Final = "scene"
"""The image role of what a product stands before. It is no picture of the subject: the parameter of the same name tells
which one, by the key of a concept."""
CONTROL: Final = "control"
"""The image role of a map that the picture follows."""
CONTROL_MAP: Final = "control_map"
"""The parameter that tells which map, by the key of a concept; without it the map is the subject's own photo."""
MAP: Final = "map"
"""The kind of that parameter's control."""


LONGEST_REMOTE_ID: Final = 2000
"""Characters: where a service keeps no list, the address of a finished image is its id, with its signature."""


class ErrorKind(StrEnum):
    """The kinds of failure, which decide what happens next (docs/errors.md has the table)."""

    TRANSIENT = "transient"  # retry with backoff
    RATE = "rate"  # retry after retry_after_seconds
    MEMORY = "memory"  # smaller batch, then another endpoint
    LOST = "lost"  # resubmit
    DOUBT = "doubt"  # handed over without an answer: looked up, or held where nobody can be asked
    MODERATION = "moderation"  # to a person
    INPUT = "input"  # to a person
    ENDPOINT = "endpoint"  # the endpoint lacks something or is set up wrongly: to its operator, the job is not to blame
    QUOTA = "quota"  # account empty or credentials refused: hold the endpoint, tell the operator
    STORAGE = "storage"  # made, and the disk or bucket refuses it: the run pauses until somebody has made room
    CHANGED = "changed"  # the engine is not what the job was planned for: held until it is planned anew
    CANCELLED = "cancelled"


class EngineError(Exception):
    """An attempt failed. `message` is for a person; `log` is the engine's own words.

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
        self.message = without_secrets(message)
        super().__init__(self.message)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds
        self.log = without_secrets(log)
        self.is_unsent = is_unsent


@dataclass(frozen=True)
class ImageRef:
    """An input image by content: sha256 of the stored file and its storage key. Engines read it through `load`."""

    sha256: str
    key: str


@dataclass(frozen=True)
class Spec:
    """Everything that decides the pixels of one image. Frozen into the job; equal specs make equal pictures.

    width, height: pixels of the master. seed: 0 … 2**63-1. parameters: the engine's own, validated by `validate`.
    images: input images by role: "cutout", "photo", "init", "mask" and, mostly of a concept, "scene" and "control".
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
        """Plain JSON, keys sorted by the caller's encoder; `from_json` is its inverse."""
        return {
            "prompt": self.prompt,
            "negative": self.negative,
            "width": self.width,
            "height": self.height,
            "seed": self.seed,
            "candidate": self.candidate,
            "parameters": dict(self.parameters),
            "images": {role: {"sha256": ref.sha256, "key": ref.key} for role, ref in self.images.items()},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Spec:
        images = {role: ImageRef(**ref) for role, ref in plain.get("images", {}).items()}
        return cls(**{**plain, "images": images})


@dataclass(frozen=True)
class Task:
    """One spec on its way through an engine. `id` is the job's; the engine uses it for names and markers only."""

    id: int
    spec: Spec


@dataclass(frozen=True)
class Result:
    """One finished image, or why there is none (`error` set, `pixels` None).

    model, revision: what really made it, in the form of `Engine.model_identity`, or a service's own name and version of
    its model; "" where the engine only knows what `model_identity` said when it got the task. seconds: wall time of
    this image's share of the batch. facts: device, batch size, steps, scheduler: whatever making it again needs. usage:
    what a remote service counted for this image, by unit ("images", "seconds", "text_input_tokens",
    "image_input_tokens", "output_tokens"); the endpoint's prices make money of it. outputs: of a remote result, where
    its pixels are, for `fetch`. arriving: of a local result that was yielded while its pixels are still on their way
    from the card; `arrived` waits for them.
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
    arriving: Callable[[], Pixels] | None = None

    def arrived(self) -> Result:
        """This result with its pixels, waited for where they are not there yet; on any thread. Raises EngineError."""
        return self if self.arriving is None else replace(self, pixels=self.arriving(), arriving=None)


@dataclass(frozen=True)
class Pending:
    """A task that the service has and has not ended. step of steps: how far it is, 0 of 0 where it does not say.
    ahead: tasks before it in the service's queue, None where it does not say."""

    step: int = 0
    steps: int = 0
    ahead: int | None = None


@dataclass(frozen=True)
class Submitted:
    """The service has the task under `remote_id` (at most LONGEST_REMOTE_ID characters, all that `poll` needs).

    result: the finished image, where the service answered with it at once. is_kept: `poll` would find that image again.
    problem: why an image that is finished could not be fetched yet; `poll` finds it under `remote_id`.
    """

    remote_id: str
    result: Result | None = None
    problem: EngineError | None = None
    is_kept: bool = False


@dataclass(frozen=True)
class Control:
    """One thing a reviewer may change when asking for a revision, drawn as a form field.

    kind: "number" (minimum, maximum, step), "choice" (choices), "colour", "text", "seed", or the key of a concept, ""
    or "none" for none: "scene" (its approved picture becomes the image "scene"), "map" (its photo, "control").
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
    refuses axes outside it. `needs_images` are the roles without which it cannot work. `unsettled` are sentences about
    what a person has to settle in its settings before anything is planned."""

    is_remote: bool
    obeys: frozenset[str]
    controls: tuple[Control, ...]
    needs_images: frozenset[str] = frozenset()
    optional_images: frozenset[str] = frozenset()
    obeys_prompt: bool = True
    max_width: int = 4096
    max_height: int = 4096
    size_multiple: int = 1
    unsettled: tuple[str, ...] = ()

    def subject_images(self, asked: Iterable[str] = ()) -> frozenset[str]:
        """The roles that pictures of the subject itself fill: the needed ones, and of `asked` what the engine takes."""
        return (self.needs_images | (set(asked) & self.optional_images)) - {SCENE}

    @property
    def takes_scenes(self) -> bool:
        return SCENE in self.needs_images | self.optional_images

    @property
    def takes_maps(self) -> bool:
        return CONTROL_MAP in self.obeys and CONTROL in self.needs_images | self.optional_images


@dataclass(frozen=True)
class Quote:
    """The estimate for one image: money in the endpoint's currency, seconds of the lane. usage: about what its service
    will count, in the units of Result.usage, for endpoints that are charged by it; empty where nobody knows before."""

    cost: float
    seconds: float
    usage: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Health:
    """The health of a service. suggested: settings of the endpoint that would fit what it says of itself; {} for
    none."""

    is_ok: bool
    message: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    suggested: Mapping[str, Any] = field(default_factory=dict)


class Context(Protocol):
    """The services that a worker lends an engine while it works."""

    def load(self, ref: ImageRef) -> bytes:
        """The bytes of the stored image. Its colours are sRGB: a file in another colour space comes as a PNG of it."""

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None:
        """Say how far these tasks are; cheap, may be called every step."""

    def cancelled(self) -> frozenset[int]:
        """Ids of tasks whose people gave up on them, or whose lease is lost; looked at between steps."""


@runtime_checkable
class Engine(Protocol):
    """One way of making images. Constructed once per worker and endpoint with the endpoint's `config`."""

    name: str

    def capabilities(self) -> Capabilities: ...

    def validate(self, spec: Spec) -> list[str]:
        """Sentences about what in `spec` this engine cannot do; empty if it can. Called by planning, loads no model."""

    def batch_key(self, spec: Spec) -> str:
        """Specs with equal keys may share one `generate` call (same size, steps, scheduler, LoRAs)."""

    def model_identity(self) -> tuple[str, str]:
        """(model, revision) as it is now, as far as known without loading it: part of the fingerprint.

        revision: the model's version, and behind a "+" a digest of the endpoint's settings that decide pixels. This is
        called before every batch and every order, so an engine that caches it has to notice changed files.
        """

    def quote(self, spec: Spec) -> Quote: ...

    def health(self) -> Health: ...


class LocalEngine(Engine, Protocol):
    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        """Yield one Result per task, as they finish, in any order; of a picture whose pixels are still `arriving` the
        caller waits for them, and may start the next batch before. Raises EngineError only when the whole batch failed.
        """


class RemoteEngine(Engine, Protocol):
    """An engine on somebody else's machine. Its methods are called from many threads at once; each call is bounded in
    time by the engine. Failures are EngineErrors: DOUBT only where the service may have taken the task."""

    looks_up: bool
    """True if `find` can tell, after a crash or a lost answer, whether the service has a task."""
    settle_seconds: float
    """How long after a lost hand-over `find` may still miss it."""
    poll_seconds: float
    """How long to wait between two looks at a task."""

    def submit(self, task: Task, marker: str, context: Context) -> Submitted:
        """Hand the task over, marked with `marker`, a UUID that is new for every submission. The call that makes the
        service work goes through service.Service.order, which lets it leave when the endpoint's limits allow."""

    def find(self, task: Task, marker: str, since: datetime, taken: Collection[str]) -> str | None:
        """The remote id of what was submitted under `marker` at or after `since`; None if the service does not have
        it, and EngineError if it could not be asked. taken: remote ids that are known to belong to other tasks."""

    def poll(self, remote_ids: Sequence[str]) -> Mapping[str, Pending | Result]:
        """Return where each stands; a Result has its `outputs` or its error, LOST for an id that the service does not
        know, and task_id 0. An id that is missing in the answer could not be asked for and is asked again."""

    def fetch(self, result: Result, context: Context) -> Result:
        """The result with its pixels instead of `outputs`."""

    def cancel(self, remote_id: str) -> None:
        """Ask the service to give up on this one task and no other. Nothing happens if it has ended."""


Factory = Callable[[Mapping[str, Any]], Engine]
_factories: dict[str, Callable[[], Factory]] = {}


def register(name: str, loader: Callable[[], Factory]) -> None:
    """Make an engine known by name; `loader` imports it, so that heavy imports wait until it is used."""
    _factories[name] = loader


def names() -> list[str]:
    return sorted(_factories)


def build(name: str, config: Mapping[str, Any], secret: str = "") -> Engine:
    """The engine called `name` for one endpoint's config; ValueError lists the known names.

    secret: the endpoint's API key or token, which the engine finds as config["secret"]. Planning and pages give none.
    """
    if name not in _factories:
        raise ValueError(f"There is no engine {name!r}; known are {', '.join(names())}.")
    return _factories[name]()({**config, "secret": secret} if secret else config)
