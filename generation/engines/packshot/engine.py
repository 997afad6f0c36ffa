"""The packshot engine: a product's accepted cut-out on a drawn, lit studio backdrop, or before a scene.

It is our own, deterministic, and needs no model and no GPU. The product's pixels are scaled and otherwise unchanged;
the surroundings are drawn (studio.py) or taken from an image of an empty place (scenes.py).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import cv2
import numpy as np

from generation.engines import base
from generation.engines.base import SCENE, Context, Control, EngineError, ErrorKind, Pixels, Result, Spec, Task
from generation.engines.packshot import scenes, studio
from generation.engines.packshot.config import Config, parse_hex
from generation.engines.packshot.scenes import BlurredScene
from generation.engines.packshot.studio import Floats, Layer, Setting

T = TypeVar("T", Pixels, BlurredScene)

REVISION: Final = "1"
"""Part of every fingerprint. It is increased whenever equal specs would give other pixels."""

COLOURS: Final = {
    "white": "#ffffff", "snow": "#f7f7f5", "ivory": "#f6f1e4", "cream": "#f1e7d3", "sand": "#e0d0b4", "oat": "#d8c7a6",
    "stone": "#cfcac1", "grey": "#d4d4d2", "mist": "#dfe3e4", "slate": "#6b7378", "charcoal": "#3a3b3d",
    "black": "#141414", "clay": "#c48f70", "terracotta": "#b9603c", "blush": "#e8cfc6", "ochre": "#cf9a35",
    "sage": "#b4bfa6", "moss": "#6f7f58", "celadon": "#a9c4b0", "sky": "#c9dbe6", "ink": "#2b3650",
}  # fmt: skip
TRANSPARENT: Final = "transparent"
CACHE_BYTES: Final = 96 * 1024 * 1024
"""For cut-outs and as much for scenes: variants of a product, and all images before one scene, decode a file once."""
NO_SCENE: Final = "none"


CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "surface": ("seamless", "table", "flat"),
    "light": ("left", "right", "top", "hard left", "hard right", "hard top"),
    "shadow": ("none", "contact", "soft", "strong"),
    "reflection": ("none", "soft", "mirror"),
    "position": ("auto", "baseline"),
}
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "fill": (0.1, 1.0), "baseline": (0.2, 1.0), "offset_x": (-0.5, 0.5), "scene_blur": (0.0, 1.0),
}  # fmt: skip
PARAMETERS: Final = ("backdrop", SCENE, *CHOICES, *RANGES)


class Packshot:
    """The engine. config: see config.py; its colours add to, or override, the named backdrops."""

    name = "packshot"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        named = Config.read(config or {}).colours
        self.colours = COLOURS | {name.strip().lower(): value for name, value in named.items()}
        self._cutouts: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._scenes: OrderedDict[Hashable, BlurredScene] = OrderedDict()

    def capabilities(self) -> base.Capabilities:
        return base.Capabilities(
            is_remote=False,
            obeys=frozenset(PARAMETERS),
            controls=self._controls(),
            needs_images=frozenset({"cutout"}),
            optional_images=frozenset({SCENE}),
            obeys_prompt=False,
            max_width=8192,
            max_height=8192,
        )

    def validate(self, spec: Spec) -> list[str]:
        setting, problems = self.parse(spec.parameters)
        if setting.scene and SCENE not in spec.images:
            problems.append(f"There is no image of the scene {setting.scene!r}; approve one, or leave the scene out.")
        if "cutout" not in spec.images:
            problems.append("The packshot needs a cut-out of the product; add a photo on a plain background.")
        if not (16 <= spec.width <= 8192 and 16 <= spec.height <= 8192):
            problems.append(f"The size {spec.width} × {spec.height} is outside 16 to 8192 pixels a side.")
        return problems

    def batch_key(self, spec: Spec) -> str:
        return f"packshot {spec.width}x{spec.height}"

    def model_identity(self) -> tuple[str, str]:
        if self.colours == COLOURS:
            return "packshot", REVISION
        named = repr(sorted(self.colours.items()))  # the same name may be another colour now
        return "packshot", f"{REVISION}+{hashlib.sha256(named.encode()).hexdigest()[:12]}"

    def quote(self, spec: Spec) -> base.Quote:
        return base.Quote(cost=0.0, seconds=round(0.02 + 9e-8 * spec.width * spec.height, 3))

    def health(self) -> base.Health:
        return base.Health(True, "Ready; needs neither model nor network.", {"opencv": cv2.__version__})

    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        for task in batch:
            if task.id in context.cancelled():
                error = EngineError(ErrorKind.CANCELLED, "Given up before it was started.")
                yield Result(task.id, None, *self.model_identity(), error=error)
                continue
            context.progress([task.id], 0, 1)
            result = self._make(task, context)
            context.progress([task.id], 1, 1)
            yield result

    def _make(self, task: Task, context: Context) -> Result:
        started = time.perf_counter()
        model, revision = self.model_identity()
        try:
            if problems := self.validate(task.spec):
                raise EngineError(ErrorKind.INPUT, " ".join(problems))
            setting = self.parse(task.spec.parameters)[0]
            ref = task.spec.images["cutout"]
            cutout = _cached(self._cutouts, ref.sha256, lambda: decode_cutout(context.load(ref)))
            scene = self._scene(task.spec, setting, context)
            pixels, box = compose(cutout, setting, task.spec.width, task.spec.height, scene=scene)
        except EngineError as error:
            return Result(task.id, None, model, revision, task.spec.seed, error=error)
        facts = {"device": "cpu", "opencv": cv2.__version__, "subject_box": box}
        seconds = time.perf_counter() - started
        return Result(task.id, pixels, model, revision, task.spec.seed, seconds=seconds, facts=facts)

    def _scene(self, spec: Spec, setting: Setting, context: Context) -> BlurredScene | None:
        """Return the blurred scene behind the product; None without one."""
        if (ref := spec.images.get(SCENE)) is None:
            return None
        width, height, blur, foot = spec.width, spec.height, setting.scene_blur, setting.baseline

        def make() -> BlurredScene:
            if (decoded := scenes.decode(context.load(ref))) is None:
                raise EngineError(ErrorKind.INPUT, f"The scene {setting.scene!r} is no image; approve another one.")
            return scenes.blur_scene(decoded, width=width, height=height, blur=blur, foot=foot)

        return _cached(self._scenes, (ref.sha256, width, height, blur, foot), make)

    def parse(self, parameters: Mapping[str, Any]) -> tuple[Setting, list[str]]:
        """Return (setting, sentences about problems). Numbers may be text, as placeholders give them."""
        unknown = sorted(set(parameters) - set(PARAMETERS))
        problems = [f"packshot knows no parameter {name!r}; it knows {', '.join(PARAMETERS)}." for name in unknown]
        values: dict[str, Any] = {}
        for name in PARAMETERS:
            given = parameters.get(name)
            if given is None or given == "":
                continue
            try:
                values[name] = self._value(name, given)
            except ValueError as error:
                problems.append(str(error))
        return Setting(**values), problems

    def _value(self, name: str, given: Any) -> Any:
        text = str(given).strip().lower()
        if name == SCENE:
            return "" if text == NO_SCENE else str(given).strip()
        if name == "backdrop":
            return self._backdrop(given, text)
        if name in RANGES:
            least, most = RANGES[name]
            try:
                number = float(text)
            except ValueError:
                raise ValueError(f"{name} is {given!r}; it is a number from {least:g} to {most:g}.") from None
            if not least <= number <= most:
                raise ValueError(f"{name} is {number:g}; it goes from {least:g} to {most:g}.")
            return number
        plain = " ".join(re.split(r"[\s_-]+", text))
        plain = re.sub(r"^soft (?=left|right|top)", "", plain) if name == "light" else plain
        if plain not in CHOICES[name]:
            raise ValueError(f"{name} is {given!r}; it is one of {', '.join(CHOICES[name])}.")
        return plain

    def _backdrop(self, given: Any, text: str) -> tuple[int, int, int] | None:
        if text == TRANSPARENT:
            return None
        if (colour := parse_hex(self.colours.get(text, text))) is None:
            names = ", ".join([*sorted(self.colours), TRANSPARENT])
            raise ValueError(f"backdrop is {given!r}; it is a colour such as #e6dac3, or one of {names}.")
        return colour

    def _controls(self) -> tuple[Control, ...]:
        standard = Setting()
        return (
            Control("fill", "Size", "number", standard.fill, 0.1, 1.0, 0.02, unit="of the frame"),
            Control("offset_x", "Across", "number", standard.offset_x, -0.5, 0.5, 0.01, unit="of the width"),
            Control("baseline", "Stands at", "number", standard.baseline, 0.2, 1.0, 0.01, unit="of the height"),
            Control("position", "Low products", "choice", standard.position, choices=CHOICES["position"]),
            Control("backdrop", "Backdrop", "colour", "white", choices=(*sorted(self.colours), TRANSPARENT)),
            Control(SCENE, "Scene", SCENE, NO_SCENE),
            Control("scene_blur", "Scene out of focus", "number", standard.scene_blur, 0.0, 1.0, 0.05),
            *(
                Control(name, name.capitalize(), "choice", getattr(standard, name), choices=CHOICES[name])
                for name in ("surface", "light", "shadow", "reflection")
            ),
        )


def _cached(cache: OrderedDict[Hashable, T], key: Hashable, make: Callable[[], T]) -> T:
    """Return the value of `key`, made if it is not in the cache, which keeps the last used up to CACHE_BYTES."""
    if key not in cache:
        cache[key] = make()
    cache.move_to_end(key)
    while len(cache) > 1 and sum(kept.nbytes for kept in cache.values()) > CACHE_BYTES:
        cache.popitem(last=False)
    return cache[key]


def decode_cutout(stored: bytes) -> Pixels:
    """Decode a stored cut-out and crop it to the product, h × w × 4. Raises EngineError of kind INPUT."""
    coded = np.frombuffer(stored, dtype=np.uint8)
    decoded = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED) if coded.size else None
    if decoded is None or decoded.ndim != 3 or decoded.shape[2] != 4 or decoded.dtype != np.uint8:
        raise EngineError(ErrorKind.INPUT, "The cut-out is no image with transparency; make it again.")
    seen = decoded[..., 3] >= 8
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        raise EngineError(ErrorKind.INPUT, "The cut-out is empty: nothing in it is opaque.")
    product = decoded[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(cv2.cvtColor(product, cv2.COLOR_BGRA2RGBA), dtype=np.uint8)


def compose(
    cutout: Pixels, setting: Setting, width: int, height: int, *, scene: BlurredScene | None = None
) -> tuple[Pixels, list[float]]:
    """Return (pixels of the frame, the product's box as shares of it: left, top, right, bottom).

    cutout: h × w × 4, cropped to the product. The pixels are height × width × 3, or × 4 with straight alpha when the
    setting has no backdrop. scene: replaces the backdrop.
    """
    placed = studio.place_product(cutout, setting, width, height, has_scene=scene is not None)
    kept = studio.shadows(placed, setting, width, height)
    mirrored = studio.reflection(placed, setting, height)
    layers: list[Layer] = [placed] if mirrored is None else [mirrored, placed]
    if scene is None and setting.backdrop is None:
        return _transparent_master(layers, kept, width, height), placed.box(width, height)
    pixels = studio.paint(setting, scene, kept, width, height)
    for layer in layers:
        layer.lay_over(pixels)
    return pixels, placed.box(width, height)


def _transparent_master(layers: list[Layer], kept: Floats | None, width: int, height: int) -> Pixels:
    """Return the master with alpha, height × width × 4; shadows are black with some alpha."""
    colour = np.zeros((height, width, 3), dtype=np.float32)
    alpha = np.zeros((height, width), dtype=np.float32) if kept is None else (1 - kept) * np.float32(255)
    for layer in layers:
        frame, part = layer.overlap(alpha.shape)
        rest = 1 - layer.alpha[part].astype(np.float32) / 255
        colour[frame] = colour[frame] * rest[..., None] + layer.colour[part]
        alpha[frame] = alpha[frame] * rest + layer.alpha[part]
    merged = np.dstack([colour * (255 / np.maximum(alpha, 1))[..., None], alpha])
    return np.ascontiguousarray(np.clip(merged + 0.5, 0, 255).astype(np.uint8))
