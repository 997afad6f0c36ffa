"""Sources of a drawing besides its prompt: a canvas, the map of a ControlNet, a reference image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from generation.engines import canvas
from generation.engines.base import Context, Pixels, Spec
from generation.engines.canvas import Canvas
from generation.engines.diffusers import controlnets, extending, products


@dataclass(frozen=True)
class Source:
    """The sources of one image. canvas: None to start from noise. control, reference: height × width × 3, sRGB."""

    canvas: Canvas | None = None
    control: Pixels | None = None
    reference: Pixels | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of this one image, besides those of its batch."""
        box = self.canvas.subject_box if self.canvas is not None else None
        return {"subject_box": box} if box else {}

    def finish_image(self, made: Pixels) -> Pixels:
        """Return the image with the kept parts of its start image."""
        return self.canvas.with_repainted(made) if self.canvas is not None else made


def read(spec: Spec, settings: Mapping[str, Any], context: Context) -> Source:
    """Read the sources of a job. Raises EngineError of kind INPUT if an image cannot be used."""
    start = _canvas(spec, settings, context)
    control = controlnets.read(spec, settings, start, context) if settings.get("control") else None
    reference = None
    if "reference" in spec.images:
        image = canvas.open_opaque(context.load(spec.images["reference"]), "reference image")
        reference = np.asarray(image, dtype=np.uint8)
    return Source(start, control, reference)


def _canvas(spec: Spec, settings: Mapping[str, Any], context: Context) -> Canvas | None:
    if settings.get("product"):
        return products.read(spec, settings["product"], context)
    if settings.get("extend"):
        return extending.read(spec, settings["extend"], context)
    return canvas.read(spec, context)
