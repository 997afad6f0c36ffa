"""The settings of endpoints, by engine: the fields of the form and the checks before an endpoint is saved.

An engine of another package that has no table here is configured in plain JSON and checks its config itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from typing import Any, Final

from generation.engines import base
from generation.engines.diffusers import acceleration
from generation.engines.openai import profiles as openai_profiles


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole"  # a number without a fraction
    SWITCH = "switch"  # true or false
    CHOICE = "choice"
    LINES = "lines"  # a list of texts
    JSON = "json"  # an object or a list
    ANY = "any"  # JSON, or a word


@dataclass(frozen=True)
class Setting:
    """One setting. default_text: a description of the default. minimum, maximum: of numbers, both included.

    is_advanced: most endpoints never need it. is_operator_only: only the operator may set it, because it reaches the
    server's files or network.
    """

    name: str
    label: str
    kind: Kind = Kind.TEXT
    hint: str = ""
    _: KW_ONLY
    default_text: str = ""
    example: str = ""
    minimum: float = 0
    maximum: float = 86_400
    choices: tuple[str, ...] = ()
    is_advanced: bool = False
    is_operator_only: bool = False

    def problem(self, value: Any) -> str:
        """Return a sentence about what is wrong with a JSON value; "" if nothing is."""
        if value is None or value == "":
            return "Leave it out, and what is usual counts."
        match self.kind:
            case Kind.TEXT:
                return "" if isinstance(value, str) else "Write a text."
            case Kind.NUMBER | Kind.WHOLE:
                return self._number(value)
            case Kind.SWITCH:
                return "" if isinstance(value, bool) else "It is true or false."
            case Kind.CHOICE:
                return "" if value in self.choices else f"It is one of {', '.join(self.choices)}."
            case Kind.LINES:
                is_list = isinstance(value, list) and all(isinstance(line, str) for line in value)
                return "" if is_list else 'Write a list of texts, such as ["one", "two"].'
            case Kind.JSON:
                example = f", such as {self.example}" if self.example else ""
                return "" if isinstance(value, dict | list) else f"Write JSON{example}."
        return ""

    def _number(self, value: Any) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_within = is_number and self.minimum <= value <= self.maximum
        if is_within and (self.kind == Kind.NUMBER or float(value).is_integer()):
            return ""
        noun = "whole number" if self.kind == Kind.WHOLE else "number"
        return f"Give a {noun} from {self.minimum:.15g} to {self.maximum:.15g}."


_advanced = partial(Setting, is_advanced=True)
_by_operator = partial(Setting, is_operator_only=True)
_advanced_by_operator = partial(Setting, is_advanced=True, is_operator_only=True)

_MAX_SIDE: Final = Setting(
    "max_side",
    "Longest side, px",
    Kind.WHOLE,
    "Larger images are enlarged.",
    default_text="2048",
    minimum=16,
    maximum=16_384,
)
_SIZE_MULTIPLE: Final = _advanced(
    "size_multiple", "Sides are multiples of, px", Kind.WHOLE, default_text="8", minimum=1, maximum=256
)
_TIMEOUT: Final = _advanced("timeout_seconds", "Timeout of a call, s", Kind.NUMBER, default_text="30", minimum=0.1)
_POLL: Final = _advanced("poll_seconds", "Time between two polls, s", Kind.NUMBER, default_text="2", minimum=0.1)
_SETTLE: Final = _advanced("settle_seconds", "A lost submission may show up after, s", Kind.NUMBER, default_text="5")
_HOSTS: Final = _advanced(
    "output_hosts", "Images may come from", Kind.LINES, "Other hosts, one a line, such as minio:9000."
)
_CA: Final = _advanced_by_operator("ca", "Certificates to trust", hint="Path of a file on the server.")

SETTINGS_BY_ENGINE: Final[Mapping[str, tuple[Setting, ...]]] = {
    "comfyui": (
        _by_operator("servers", "Servers", Kind.LINES, "Addresses, one a line.", example="http://gpu-a:8188"),
        _MAX_SIDE,
        _SIZE_MULTIPLE,
        _advanced("allow_partial", "Accept partial runs of the workflow", Kind.SWITCH, default_text="no"),
        _advanced_by_operator("headers", "Headers of every call", Kind.JSON, example='{"X-Team": "art"}'),
        _advanced("lost_after_seconds", "Give up when the server is away for, s", Kind.NUMBER, default_text="120"),
        _SETTLE,
        _POLL,
        _TIMEOUT,
        _CA,
    ),
    "diffusers": (
        _by_operator("model", "Model", hint="A diffusers folder, or one .safetensors file."),
        Setting("tier", "Quality tier", Kind.CHOICE, default_text="final", choices=acceleration.TIERS),
        _MAX_SIDE,
        _by_operator(
            "loras",
            "LoRAs",
            Kind.JSON,
            "Those with a weight are always on.",
            example='{"glaze": {"path": "/models/glaze.safetensors", "weight": 0.8}}',
        ),
        _by_operator(
            "controlnets",
            "ControlNets",
            Kind.JSON,
            "Folders, of canny, depth and pose.",
            example='{"canny": "/models/canny"}',
        ),
        _advanced_by_operator(
            "ip_adapter",
            "IP-Adapter",
            Kind.JSON,
            example='{"folder": "/models/ip", "file": "ip.safetensors", "encoder": "/models/encoder"}',
        ),
        _advanced_by_operator("refiner", "Refiner", hint="A folder for image to image."),
        _advanced_by_operator("model_config", "Configuration of a single file", hint="A folder of the same family."),
        _advanced("device", "Device", default_text="a GPU if there is one"),
        _advanced(
            "dtype", "Numbers", Kind.CHOICE, default_text="by the device", choices=("bfloat16", "float16", "float32")
        ),
        _advanced("compile", "Compile", Kind.CHOICE, default_text="by the tier", choices=acceleration.COMPILES),
        _advanced("compile_mode", "Compile mode", Kind.CHOICE, default_text="default", choices=acceleration.MODES),
        _advanced("shapes", "Sizes that are compiled", Kind.JSON, example="[[1024, 1024]]"),
        _advanced("warm_up", "Draw once when a worker starts", Kind.SWITCH, default_text="no"),
        _advanced("fuse_qkv", "Fused attention", Kind.SWITCH, "Without LoRAs only.", default_text="no"),
        _advanced("fp8", "8-bit multiplication", Kind.SWITCH, "In fast and draft.", default_text="no"),
        _advanced_by_operator("draft", "Options of the draft tier", Kind.JSON, example='{"threshold": 0.1}'),
        _advanced("overlap", "Decode while the next batch is drawn", Kind.SWITCH, default_text="on a GPU"),
        _advanced("threads", "Threads of the CPU", Kind.WHOLE, default_text="torch’s choice", minimum=1, maximum=1024),
        _advanced("idle_unload_minutes", "Unload when idle for, min", Kind.NUMBER, default_text="never"),
        _advanced("reserve_bytes", "Working memory, bytes", Kind.WHOLE, default_text="8 GiB on a GPU", maximum=2**43),
        _advanced(
            "memory_limit_bytes", "Memory of all models, bytes", Kind.WHOLE, default_text="what is free", maximum=2**43
        ),
        _advanced("safety_checker", "The model’s safety checker", Kind.SWITCH, default_text="no"),
    ),
    "openai": (
        Setting("model", "Model", hint="Its id, as the service calls it.", example="gpt-image-2"),
        _by_operator(
            "base_url", "Address", hint="Of another server with the same API.", default_text="https://api.openai.com/v1"
        ),
        Setting(
            "profile",
            "What the model takes",
            Kind.ANY,
            "A family’s name, or JSON with what differs.",
            default_text="found by the model’s id",
        ),
        _advanced("organisation", "Organisation"),
        _advanced("project", "Project"),
        _advanced("output_format", "File format", Kind.CHOICE, default_text="png", choices=("png", "webp", "jpeg")),
        _advanced("keep_outside", "Outside a mask, keep what was sent", Kind.SWITCH, default_text="yes"),
        replace(_TIMEOUT, default_text="600"),
        _HOSTS,
        _CA,
    ),
    "packshot": (Setting("colours", "Named backdrops", Kind.JSON, example='{"clay": "#b5651d"}'),),
    "replicate": (
        Setting("model", "Official model", example="black-forest-labs/flux-dev"),
        Setting("version", "Or a version", hint="Its hash; owner/name: before it if you like."),
        Setting("deployment", "Or a deployment", example="owner/name"),
        Setting(
            "inputs",
            "Names of the model’s inputs",
            Kind.JSON,
            "Without it prompt, seed, width and height.",
            example='{"prompt": "text", "seed": "seed"}',
        ),
        _MAX_SIDE,
        _SIZE_MULTIPLE,
        Setting("cancel_after", "Cancel after", default_text="never", example="10m"),
        _advanced("webhook_url", "Webhook", hint="This site’s own address for it."),
        _advanced("wait_seconds", "Wait for the result in the call, s", Kind.WHOLE, default_text="0", maximum=60),
        replace(_POLL, default_text="2, with a webhook 10"),
        replace(_SETTLE, default_text="15"),
        _TIMEOUT,
        _advanced("cog", "A Cog server of our own", Kind.SWITCH, default_text="no"),
        _advanced_by_operator("base_url", "Address", hint="Of the Cog server, or of another service."),
        _advanced("answer_seconds", "A Cog server’s image takes, s", Kind.NUMBER, default_text="600", minimum=1),
        replace(_HOSTS, default_text="replicate.delivery"),
        _CA,
    ),
}
"""The settings by engine, in the order of the form."""

EDITED_ELSEWHERE: Final[Mapping[str, frozenset[str]]] = {
    "comfyui": frozenset({"workflow", "workflow_name", "inputs", "output_node", "ranges", "meant_as_is", "model_files"})
}
"""Settings that a page of its own writes."""
_QUOTES: Final = (
    Setting("cost_per_image", "Cost of one image", Kind.NUMBER),
    Setting("seconds_per_image", "Seconds for one image", Kind.NUMBER),
)
"""Settings for quotes, used if the endpoint has no price and time of its own. They have no form fields."""


def list_settings(engine: str, config: Mapping[str, Any]) -> Sequence[Setting]:
    """Return the settings of an endpoint; empty if its engine has no table. The parameters of an OpenAI model, beside
    prompt and size, are settings too: the defaults of submissions that do not give them."""
    table = SETTINGS_BY_ENGINE.get(engine, ())
    return (*table, *_of_profile(config)) if engine == "openai" else table


def problems(engine: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (setting, sentence) for every setting that the engine does not know or whose value is invalid."""
    if engine not in SETTINGS_BY_ENGINE:
        return
    settings = {setting.name: setting for setting in (*list_settings(engine, config), *_QUOTES)}
    for name, value in config.items():
        if name in settings:
            if sentence := settings[name].problem(value):
                yield name, sentence
        elif name not in EDITED_ELSEWHERE.get(engine, ()):
            near = get_close_matches(name, settings, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(sorted(settings))}."
            yield name, f"The engine {engine} has no setting {name!r}. {hint}"


def calls_at_once(engine: str, config: Mapping[str, Any]) -> int | None:
    """Return the default number of simultaneous submissions to an endpoint; None if it is found out by trying."""
    return 1 if engine == "replicate" and config.get("cog") else None


def operator_settings(engine: str) -> frozenset[str]:
    """Return the settings of a service that only the operator may set or remove; for a local engine all are."""
    return frozenset(
        setting.name
        for setting in SETTINGS_BY_ENGINE.get(engine, ())
        if setting.is_operator_only and not base.ENGINES.get(engine).is_local
    )


def _of_profile(config: Mapping[str, Any]) -> Iterator[Setting]:
    try:
        profile = openai_profiles.read(config.get("profile"), str(config.get("model") or ""))
    except ValueError:  # the engine reports it
        return
    own = {setting.name for setting in SETTINGS_BY_ENGINE["openai"]}
    for name, choices in profile.parameters.items():
        if name in own:
            continue
        label = name.replace("_", " ").capitalize()
        kind = Kind.CHOICE if choices else Kind.ANY
        yield Setting(name, label, kind, default_text="the service’s choice", choices=choices)
