"""The images that a task starts from or follows: a start image, a kept product, a control map, a reference image.

Outpainting draws the surroundings of an image that is smaller than its frame or of other proportions; the image's own
pixels do not change. A kept product is placed as in a packshot (same size, baseline and lift), and the model repaints
everything around it. Then its shadow is added to the scene, and its own pixels, only scaled, are laid over that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image, ImageOps

from generation.engines import canvas
from generation.engines.base import CONTROL, Context, EngineError, ErrorKind, Pixels, Spec, Task
from generation.engines.canvas import Canvas, Floats
from generation.engines.packshot import engine as packshot
from generation.engines.packshot import studio

PRODUCT_PARAMETERS: Final = ("fill", "baseline", "offset_x", "position", "light", "shadow")
BACKGROUND_GREY: Final = 216
"""The grey around the product before the model has drawn anything."""
EDGE_THRESHOLDS: Final = (60, 160)
"""Canny's, of gradients 0 … 255: the lower continues an edge, the upper starts one."""


@dataclass(frozen=True)
class Source:
    """A task with its images. canvas: None to start from noise. control, reference: height × width × 3, sRGB."""

    task: Task
    canvas: Canvas | None = None
    control: Pixels | None = None
    reference: Pixels | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of this one image, besides those of its batch."""
        box = self.canvas.subject_box if self.canvas is not None else None
        return {"subject_box": box} if box else {}


def read_source(task: Task, settings: Mapping[str, Any], context: Context) -> Source:
    """Read the images of a task. Raises EngineError of kind INPUT if one cannot be used."""
    spec = task.spec
    if settings.get("product"):
        cutout = packshot.decode_cutout(context.load(spec.images["cutout"]))
        setting, problems = parse_product(settings["product"])
        if problems:
            raise EngineError(ErrorKind.INPUT, " ".join(problems))
        start: Canvas | None = place_product(cutout, setting, spec.width, spec.height)
    elif settings.get("extend"):
        start = _read_extended(spec, settings["extend"], context)
    else:
        start = canvas.read(spec, context)
    control = _read_control(spec, start, context) if settings.get("control") else None
    reference = None
    if "reference" in spec.images:
        image = canvas.open_opaque(context.load(spec.images["reference"]), "reference image")
        reference = np.asarray(image, dtype=np.uint8)
    return Source(task, start, control, reference)


def _read_control(spec: Spec, start: Canvas | None, context: Context) -> Pixels:
    """Return the control map, height × width × 3: the given one, or the edges of the start image or reference photo.
    Depth and poses would need models that we do not run."""
    size = (spec.width, spec.height)
    if CONTROL in spec.images:
        given = canvas.open_opaque(context.load(spec.images[CONTROL]), "control map")
        return np.asarray(ImageOps.fit(given, size, Image.Resampling.BILINEAR), dtype=np.uint8)
    if start is not None:
        return find_edges(start.init)
    photo = canvas.open_opaque(context.load(spec.images["photo"]), "reference photo")
    return find_edges(np.asarray(ImageOps.fit(photo, size, Image.Resampling.LANCZOS), dtype=np.uint8))


def find_edges(image: Pixels) -> Pixels:
    """Return the edges of an sRGB image as white lines on black, height × width × 3."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    return np.ascontiguousarray(cv2.merge([cv2.Canny(grey, *EDGE_THRESHOLDS)] * 3), dtype=np.uint8)


def _read_extended(spec: Spec, extend: Any, context: Context) -> Canvas:
    """Return the canvas of an outpainting; its margins are filled by repeating the image's edge. extend: margins by
    side, around the image that is cropped to the space inside; or True to fit it into the frame as a whole."""
    image = canvas.open_opaque(context.load(spec.images["init"]), "start image")
    if extend is True:
        scale = min(spec.width / image.width, spec.height / image.height)
        size = min(spec.width, round(image.width * scale)), min(spec.height, round(image.height * scale))
        left, top = (spec.width - size[0]) // 2, (spec.height - size[1]) // 2
    else:
        left, top = extend["left"], extend["top"]
        size = spec.width - left - extend["right"], spec.height - top - extend["bottom"]
    fitted = np.asarray(image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS))
    borders = (top, spec.height - top - size[1], left, spec.width - left - size[0])
    init = np.asarray(cv2.copyMakeBorder(fitted, *borders, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)
    repaint: Floats = np.ones((spec.height, spec.width), dtype=np.float32)
    repaint[top : top + size[1], left : left + size[0]] = 0
    return Canvas(np.ascontiguousarray(init), repaint)


@dataclass(frozen=True, kw_only=True)
class ProductCanvas(Canvas):
    """A canvas with a kept product. placement: the product in the frame. kept: the share of light that its shadow
    leaves, height × width; None without a shadow."""

    placement: studio.Placement
    kept: Floats | None

    def with_repainted(self, made: Pixels) -> Pixels:
        """Return the new scene with the product's shadow, and the product over it."""
        image = studio.darken(made, self.kept)
        self.placement.lay_over(image)
        return image


def parse_product(parameters: Mapping[str, Any]) -> tuple[studio.Setting, list[str]]:
    """Return (the product's place and shadow, sentences about problems)."""
    given = {name: parameters[name] for name in PRODUCT_PARAMETERS if name in parameters}
    return packshot.Packshot().parse({"shadow": "contact", **given})


def place_product(cutout: Pixels, setting: studio.Setting, width: int, height: int) -> ProductCanvas:
    """Place the product on a canvas. cutout: h × w × 4, sRGB with straight alpha, cropped to the product."""
    placement = studio.place_product(cutout, setting, width, height, has_scene=True)
    init = np.full((height, width, 3), BACKGROUND_GREY, dtype=np.uint8)
    placement.lay_over(init)
    repaint: Floats = np.ones((height, width), dtype=np.float32)
    frame, product = placement.overlap(repaint.shape)
    repaint[frame] -= placement.alpha[product].astype(np.float32) / 255
    kept = studio.shadows(placement, setting, width, height)
    return ProductCanvas(init, repaint, placement.box(width, height), placement=placement, kept=kept)
