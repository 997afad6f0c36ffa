"""Keep a product as photographed, in a scene that a model makes around it.

The cut-out is placed as in a packshot (same size, baseline and lift), and the model repaints everything around it.
Then the product's shadow is added to the scene, and the product's own pixels, only scaled, are laid over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from generation.engines.base import Context, EngineError, ErrorKind, Pixels, Spec
from generation.engines.canvas import Canvas, Floats
from generation.engines.packshot import engine as packshot
from generation.engines.packshot import studio

PARAMETERS: Final = ("fill", "baseline", "offset_x", "position", "light", "shadow")
BACKGROUND_GREY: Final = 216
"""The grey around the product before the model has drawn anything."""


@dataclass(frozen=True)
class ProductCanvas(Canvas):
    """A canvas with a kept product. placement: the product in the frame. kept: the share of light that its shadow
    leaves, height × width; None without a shadow."""

    placement: studio.Placement | None = None
    kept: Floats | None = None

    @property
    def subject_box(self) -> list[float] | None:
        assert self.placement is not None
        return packshot.box_of(self.placement, self.init.shape[1], self.init.shape[0])

    def with_repainted(self, made: Pixels) -> Pixels:
        """Return the new scene with the product's shadow, and the product over it."""
        assert self.placement is not None
        image = studio.darken(made, self.kept)
        studio.lay_over(image, self.placement.colour, self.placement.alpha, self.placement.left, self.placement.top)
        return image


def parse(parameters: Mapping[str, Any]) -> tuple[packshot.Setting, list[str]]:
    """Return (the product's place and shadow, sentences about problems)."""
    given = {name: parameters[name] for name in PARAMETERS if name in parameters}
    return packshot.Packshot().parse({"shadow": "contact", **given})


def read(spec: Spec, setting: Mapping[str, Any], context: Context) -> Canvas:
    """Return the canvas of one job. Raises EngineError of kind INPUT if the cut-out cannot be used."""
    cutout = packshot.decode_cutout(context.load(spec.images["cutout"]))
    chosen, problems = parse(setting)
    if problems:
        raise EngineError(ErrorKind.INPUT, " ".join(problems))
    return place_product(cutout, chosen, spec.width, spec.height)


def place_product(cutout: Pixels, setting: packshot.Setting, width: int, height: int) -> ProductCanvas:
    """Place the product on a canvas. cutout: h × w × 4, sRGB with straight alpha, cropped to the product."""
    placement = packshot.placement(cutout, setting, width, height, has_scene=True)
    kept = studio.shadows(placement, width=width, height=height, light=packshot.light_of(setting), kind=setting.shadow)
    init = np.full((height, width, 3), BACKGROUND_GREY, dtype=np.uint8)
    studio.lay_over(init, placement.colour, placement.alpha, placement.left, placement.top)
    solid = np.zeros((height, width, 3), dtype=np.uint8)
    white = np.asarray(cv2.merge([placement.alpha] * 3), dtype=np.uint8)
    studio.lay_over(solid, white, placement.alpha, placement.left, placement.top)
    repaint = 1 - solid[..., 0].astype(np.float32) / 255
    return ProductCanvas(init, np.asarray(repaint, dtype=np.float32), placement, kept)
