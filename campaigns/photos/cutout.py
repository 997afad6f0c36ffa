"""Cuts out the product: takes a photo's pixels, and returns them with a soft alpha and clean edges.

A person may give the alpha instead: a painted or uploaded mask.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from campaigns.photos import backgrounds, intake, silhouettes
from campaigns.photos.backgrounds import Floats, Mask
from campaigns.photos.confidence import confidence_cap

ALGORITHM = 4  # increased whenever the same photo would give other pixels or another confidence
WORKING_SIDE = 1024  # the outline is searched at this size; its edge is then refined at the photo's own size
VISIBLE_ALPHA = 8  # alpha from which a pixel counts as product for its bounding box
AUTO_ACCEPT_CONFIDENCE = 0.25
"""Confidence from which a cut-out is accepted automatically; below it, a person must accept it first."""
MASK_ASPECT_SLACK = 0.01
"""A mask of another size is accepted if its aspect ratio differs from the photo's by at most this share."""
MASK_EDGE = 4.0  # distance from a painted edge, in pixels, within which colours of product and background are taken
LOW_CONFIDENCE = 0.6  # confidence below which a person should look at a cut-out, accepted or not


class NoProduct(ValueError):
    """Nothing in the photo stands out from its background."""


@dataclass(frozen=True)
class CutOut:
    """A cut-out of a photo.

    rgba: height × width × 4, sRGB with straight alpha, uint8, as large as the photo. method: "alpha" (the photo had
    one), "plain" (a plain background was removed), "scene" (another background was removed) or "manual". confidence:
    0 … 1. box: left, top, right, bottom in pixels. note: a sentence for the person who looks at it, or empty.
    """

    rgba: NDArray[np.uint8]
    method: str
    confidence: float
    box: tuple[int, int, int, int]
    note: str = ""


def cut_out(pixels: NDArray[np.uint8]) -> CutOut:
    """Cut the product out of height × width × 3 (sRGB) or × 4 (with alpha) pixels. Raises NoProduct."""
    if pixels.shape[2] == 4:
        if pixels[..., 3].max() < VISIBLE_ALPHA:
            raise NoProduct("The photo is fully transparent.")
        if (pixels[..., 3] < 250).mean() > 0.002:  # the alpha separates the product from its background
            return _with_review_note(np.ascontiguousarray(pixels), "alpha", 1.0)
        pixels = np.ascontiguousarray(pixels[..., :3])
    scale = min(1.0, WORKING_SIDE / max(pixels.shape[:2]))
    small = pixels if scale == 1 else cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    mask, confidence, method = silhouettes.find_silhouette(small)
    if confidence == 0:
        raise NoProduct("No product could be told from the background; use a photo on a plain background or a cut-out.")
    if scale != 1:
        mask = backgrounds.enlarge(mask, pixels.shape, blur=0.7)
    reach = max(3.0, 2.5 / scale)
    part = _product_part(mask, reach)
    rgba = np.zeros((*mask.shape, 4), dtype=np.uint8)
    rgba[part] = _refine_edge(np.ascontiguousarray(pixels[part]), np.ascontiguousarray(mask[part]), reach)
    return _with_review_note(rgba, method, confidence)


def read_mask(data: bytes, *, width: int, height: int) -> NDArray[np.uint8]:
    """Return the alpha of a mask image, height × width uint8: its transparency, or its brightness (white is product).

    Raises intake.Refused if the file is no image, or its aspect ratio is not the photo's.
    """
    pixels = intake.admit(data).pixels
    high, wide = pixels.shape[:2]
    if abs(wide / high * height / width - 1) > MASK_ASPECT_SLACK:
        raise intake.Refused(
            f"The mask is {wide} × {high} px and the photo {width} × {height} px: save it in the photo's own size."
        )
    if pixels.shape[2] == 4 and pixels[..., 3].min() < 250:
        alpha = pixels[..., 3]
    else:
        alpha = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
    if (wide, high) != (width, height):
        method = cv2.INTER_AREA if wide > width else cv2.INTER_LINEAR
        alpha = cv2.resize(np.ascontiguousarray(alpha), (width, height), interpolation=method)
    return np.ascontiguousarray(alpha, dtype=np.uint8)


def cut_out_with_mask(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> CutOut:
    """Apply the alpha to the photo (height × width × 3 or 4, sRGB); the background is removed from mixed pixels.

    The alpha stays exactly as given. Raises NoProduct if nothing in it is opaque.
    """
    box = box_of(alpha)
    rgb = np.ascontiguousarray(pixels[..., :3])
    part = _product_part(alpha >= VISIBLE_ALPHA, MASK_EDGE)
    rgba = np.zeros((*alpha.shape, 4), dtype=np.uint8)
    rgba[part] = _apply_alpha(np.ascontiguousarray(rgb[part]), np.ascontiguousarray(alpha[part]), MASK_EDGE)
    return CutOut(rgba, "manual", 1.0, box)


def _with_review_note(rgba: NDArray[np.uint8], method: str, confidence: float) -> CutOut:
    """Return the cut-out, with a note and perhaps a lower confidence if a person has to look at it."""
    alpha = rgba[..., 3]
    box = box_of(alpha)
    cap = confidence_cap(alpha)
    if cap is not None and cap[0] < confidence:
        return CutOut(rgba, method, cap[0], box, cap[1])
    note = ""
    if confidence < LOW_CONFIDENCE:
        note = f"The cut-out is uncertain ({confidence:.0%}): product and background are much alike. Look at it."
    return CutOut(rgba, method, confidence, box, note)


def to_png(rgba: NDArray[np.uint8]) -> bytes:
    """Return a PNG with fast, weak compression; a cut-out is read once per image."""
    buffer = io.BytesIO()
    Image.fromarray(rgba, "RGBA").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def box_of(alpha: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the visible product, in pixels. Raises NoProduct if nothing is visible."""
    rows, columns = (np.flatnonzero(alpha.max(axis=axis) >= VISIBLE_ALPHA) for axis in (1, 0))
    if not len(rows):
        raise NoProduct("Nothing is left of the photo without its background.")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _product_part(mask: Mask, reach: float) -> tuple[slice, ...]:
    """Return the rows and columns of the product, with a margin for its edge."""
    margin = round(4 * reach) + 2
    places = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return tuple(slice(max(0, place[0] - margin), place[-1] + margin + 1) for place in places)


def _refine_edge(rgb: NDArray[np.uint8], mask: Mask, reach: float) -> NDArray[np.uint8]:
    """Return RGBA with a soft edge along the mask's border.

    Within `reach` pixels of the border, alpha is the pixel's position between the product's colour just inside and the
    background's colour just outside, and the background is removed from its colour. Elsewhere the photo stays.
    """
    inward = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outward = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    # The middle line of a thin handle is product although it is within reach of both borders.
    ridge = (inward >= cv2.dilate(inward, np.ones((3, 3), np.uint8)) - 0.01) & (inward > 1.2)
    inner, outer = (inward > reach) | ridge, outward > reach
    result = np.dstack([rgb, np.where(mask, 255, 0).astype(np.uint8)])
    rows, columns = np.nonzero(~inner & ~outer)
    if not len(rows):
        return result
    photo = rgb.astype(np.float32)
    front = _nearest_colours(photo, inner, reach, rows, columns)
    back = _nearest_colours(photo, outer, reach, rows, columns)
    observed = photo[rows, columns]
    line = front - back
    length = np.einsum("ij,ij->i", line, line)
    measured = np.einsum("ij,ij->i", observed - back, line) / np.maximum(length, 1)
    drawn = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.8, reach / 4))[rows, columns]
    # Below about twenty grey levels of contrast, noise would fray the edge: follow the mask's outline instead.
    trust = length / (length + 22.0**2)
    alpha = np.clip((measured - 0.04) / 0.92, 0, 1) * trust + drawn * (1 - trust)
    signed = inward[rows, columns] - outward[rows, columns]
    # A soft edge causes neither a dent deep inside nor a bump far outside.
    alpha = np.clip(alpha, np.clip((signed - 1) / reach, 0, 1), np.clip(1 + (signed + 1) / reach, 0, 1))
    clean = _product_colour(observed, back, front, alpha)
    result[rows, columns, :3] = np.clip(clean + 0.5, 0, 255).astype(np.uint8)
    result[rows, columns, 3] = np.clip(alpha * 255 + 0.5, 0, 255).astype(np.uint8)
    result[outer] = 0
    return result


def _apply_alpha(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], reach: float) -> NDArray[np.uint8]:
    """Return the photo with a given alpha (height × width), as RGBA.

    Mixed pixels get the product's own colour, transparent ones none. The colours of product and background are taken
    from within about `reach` pixels of the edge.
    """
    result = np.dstack([rgb, alpha])
    rows, columns = np.nonzero((alpha > 0) & (alpha < 254))
    if len(rows):
        photo = rgb.astype(np.float32)
        share: Floats = (alpha[rows, columns] / np.float32(255)).astype(np.float32)
        observed = photo[rows, columns]
        front = _nearest_colours(photo, alpha >= 254, reach, rows, columns)
        back = _nearest_colours(photo, alpha == 0, reach, rows, columns)
        # If a wide soft brush leaves no pure colour nearby, the photo's own colour is used.
        is_pure = np.asarray(front.any(axis=1) & back.any(axis=1), dtype=bool)[:, None]
        clean = np.where(is_pure, _product_colour(observed, back, front, share), observed)
        result[rows, columns, :3] = np.clip(clean + 0.5, 0, 255).astype(np.uint8)
    result[alpha == 0] = 0
    return result


def _product_colour(observed: Floats, back: Floats, front: Floats, alpha: Floats) -> Floats:
    """Return the product's colour in mixed pixels: solved if the pixel is mostly product, else the inner colour."""
    share = alpha[:, None]
    solved = (observed - (1 - share) * back) / np.maximum(share, 0.2)
    trust = np.clip((share - 0.4) / 0.5, 0, 1)
    mixed = solved * trust + front * (1 - trust)
    return np.asarray(np.where(share >= 0.998, observed, mixed), dtype=np.float32)


def _nearest_colours(
    photo: Floats, usable: Mask, reach: float, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> Floats:
    """Return the colour of the nearest usable pixels at (rows, columns), n × 3: averages over three growing squares."""
    result = np.zeros((len(rows), 3), dtype=np.float32)
    missing = np.ones(len(rows), dtype=bool)
    weight = usable.astype(np.float32)
    weighted = photo * weight[..., None]
    for factor in (1.0, 2.5, 6.0):
        size = int(reach * factor) * 2 + 1
        share = cv2.blur(weight, (size, size))[rows, columns]
        use = missing & (share > 1.5 / size**2)
        total = cv2.blur(weighted, (size, size))
        result[use] = total[rows[use], columns[use]] / share[use][:, None]
        missing &= ~use
        if not missing.any():
            break
    return result
