"""The canvas of a diffusion job: an image cropped to the frame and, with a mask, the part of it that is repainted.

Outside the mask every pixel keeps its exact value. A model's decoder changes every pixel it returns, so the new part is
blended into the original image along the inner edge of the mask. Nothing here imports torch.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from generation.engines.base import Context, EngineError, ErrorKind, Pixels, Spec

Floats = NDArray[np.float32]

#: Width of the seam in which old and new are mixed, as a share of the long side.
SEAM_WIDTH: Final = 1 / 80
#: The share of white from which the model repaints a pixel; the edge of a soft brush is mixed afterwards.
MASK_THRESHOLD: Final = 0.02
#: How much the proportions of a mask may differ from its image's: rounding makes a pixel more or less.
ASPECT_TOLERANCE: Final = 0.02


@dataclass(frozen=True)
class Canvas:
    """A start image and its mask. init: height × width × 3, sRGB uint8. repaint: height × width float32, 1 where it is
    repainted and 0 where it stays; None if there is no mask and all of it changes. subject_box: the subject's place in
    the frame as shares: left, top, right, bottom; None if it is unknown."""

    init: Pixels
    repaint: Floats | None = None
    subject_box: list[float] | None = None

    def cell_mask(self, cell: int) -> Floats:
        """Return the mask for the model, 0 or 1: every latent cell of `cell` × `cell` pixels that it touches is 1."""
        assert self.repaint is not None
        high, wide = self.repaint.shape
        touched = self.repaint.reshape(high // cell, cell, wide // cell, cell).max(axis=(1, 3)) >= MASK_THRESHOLD
        return np.kron(touched, np.ones((cell, cell))).astype(np.float32)

    def with_repainted(self, made: Pixels) -> Pixels:
        """Return the image with the masked part replaced by `made`; all of `made` if there is no mask."""
        if self.repaint is None:
            return made
        # The share of the new image is 0 outside the mask and rises from its edge inwards.
        width = max(1.0, SEAM_WIDTH * max(self.repaint.shape))
        depth = cv2.distanceTransform((self.repaint >= MASK_THRESHOLD).astype(np.uint8), cv2.DIST_L2, 5)
        ramp = np.clip(depth / width, 0, 1)
        share = np.minimum(self.repaint, ramp * ramp * (3 - 2 * ramp)).astype(np.float32)[..., None]
        mixed = self.init + (made.astype(np.float32) - self.init) * share
        return np.ascontiguousarray(np.rint(mixed).clip(0, 255).astype(np.uint8))


def read(spec: Spec, context: Context) -> Canvas | None:
    """Return the canvas of one job; None if it starts from noise. Raises EngineError of kind INPUT."""
    if "init" not in spec.images:
        return None
    size = (spec.width, spec.height)
    image = open_opaque(context.load(spec.images["init"]), "start image")
    init = np.asarray(ImageOps.fit(image, size, Image.Resampling.LANCZOS), dtype=np.uint8)
    if "mask" not in spec.images:
        return Canvas(init)
    mask = _open(context.load(spec.images["mask"]), "mask")
    if abs(mask.width * image.height / (mask.height * image.width) - 1) > ASPECT_TOLERANCE:
        sizes = f"{mask.width} × {mask.height} and the image {image.width} × {image.height}"
        raise EngineError(ErrorKind.INPUT, f"The mask is {sizes}: draw it on the image, in the same proportions.")
    fitted = ImageOps.fit(_repaint_mask(mask), size, Image.Resampling.BILINEAR)
    repaint = np.asarray(fitted, dtype=np.float32) / np.float32(255)
    if repaint.max() < 0.5:
        raise EngineError(ErrorKind.INPUT, "The mask marks nothing: what is white, or cut out of it, is repainted.")
    return Canvas(init, repaint)


def open_opaque(stored: bytes, what: str) -> Image.Image:
    """Open a stored image in RGB, flattened. Raises EngineError of kind INPUT that names it as `what`."""
    return flatten(_open(stored, what))


def _open(stored: bytes, what: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(stored)) as image:
            image.load()
            return image
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise EngineError(ErrorKind.INPUT, f"The {what} is no image that can be read.", log=str(error)) from error


def flatten(image: Image.Image) -> Image.Image:
    """Return the image in RGB, laid over white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _repaint_mask(image: Image.Image) -> Image.Image:
    """Return a grey mask, white where to repaint. In an image with holes, such as a cut-out, the holes are white."""
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        if np.asarray(alpha).min() < 255:
            return ImageOps.invert(alpha)
    return image.convert("L")
