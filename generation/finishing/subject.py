"""Find the subject of an image: by its alpha, by its difference from a plain backdrop, or by saliency."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from generation.checks.base import Box
from generation.engines.base import Pixels
from generation.finishing.resample import composite_over, shrink_to_fit

Floats = NDArray[np.float32]

_WORK = 128  # long edge of the copy that is searched: a box needs no more detail
_ALPHA = 16  # below this opacity a pixel is shadow or fringe
_RING = 0.04  # width of the border ring that shows the backdrop, as a share of the short edge
_PLAIN = 0.75  # share of the ring that must follow the smooth model for the backdrop to count as plain
_DIFFERENCE = 9.0  # ΔE76 from the backdrop at which something is there
_COLOURED = 8.0  # difference in a and b from which something cannot be a shadow on the backdrop
_FINE = 1.3  # work pixels: an edge changes within fewer, a shadow within more
_EDGE = 0.5  # ΔE76 between a pixel and its surroundings that makes an edge; a white rim on white reaches it
_GRAINS = 8.0  # an edge must be so many times stronger than the image's own grain
_SPECK = 0.02  # components smaller than this share of the largest are dirt


def find_subject(pixels: Pixels) -> Box | None:
    """Return the subject's box in `pixels` (height × width × 3|4 uint8 sRGB), None if nothing stands out."""
    small = shrink_to_fit(pixels, _WORK)
    if small.shape[2] == 4 and int(small[..., 3].min()) < _ALPHA:
        return _box(small[..., 3] >= _ALPHA)
    lab = cv2.cvtColor(composite_over(small, "").astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    backdrop, is_plain, noise = _backdrop(lab)
    return _solid(lab, backdrop, noise) if is_plain else _salient(lab[..., 0])


def _solid(lab: Floats, backdrop: Floats, noise: float) -> Box | None:
    """Return the box of the object on the backdrop without its soft shadow: an object has colour or fine edges, a
    shadow has neither."""
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.0)
    fine = _distance(lab, cv2.GaussianBlur(lab, (0, 0), _FINE))
    coloured = np.hypot(smooth[..., 1] - backdrop[..., 1], smooth[..., 2] - backdrop[..., 2])
    edge = max(_EDGE, _GRAINS * float(np.median(fine)))
    thing = (fine > edge) | (coloured > max(_COLOURED, 4 * noise))
    thing &= _distance(lab, backdrop) > max(_EDGE, 2 * noise)  # the outer side of an edge is backdrop
    box = _box(_without_specks(cv2.morphologyEx(thing.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))))
    if box is not None:
        return box
    different = (_distance(smooth, backdrop) > max(_DIFFERENCE, 4 * noise)).astype(np.uint8)
    return _box(_without_specks(cv2.morphologyEx(different, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))))


def _backdrop(lab: Floats) -> tuple[Floats, bool, float]:
    """Return a smooth surface fitted to the border ring (quadratic in x and y per channel, outliers dropped twice),
    whether the ring follows it, and how much the ring scatters around it."""
    height, width = lab.shape[:2]
    ring = max(2, round(_RING * min(height, width)))
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij"
    )
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    is_ring = np.zeros((height, width), dtype=bool)
    is_ring[:ring] = is_ring[-ring:] = is_ring[:, :ring] = is_ring[:, -ring:] = True
    sides, colours = terms[is_ring], lab[is_ring]
    kept = np.ones(len(sides), dtype=bool)
    tiny = np.eye(terms.shape[2], dtype=np.float32) * 1e-3  # solvable even when one side is all that was kept
    for _ in range(3):
        weights = np.linalg.solve(sides[kept].T @ sides[kept] + tiny, sides[kept].T @ colours[kept])
        error = _distance(colours, sides @ weights)
        kept = error <= max(4.0, 2.5 * float(np.median(error)))
    is_plain = float((error < 8.0).mean()) >= _PLAIN
    return (terms @ weights).astype(np.float32), is_plain, float(np.median(error))


def _distance(first: Floats, second: Floats) -> Floats:
    """Return ΔE76 between two arrays of Lab colours (… × 3)."""
    apart = first - second
    return np.sqrt(np.einsum("...c,...c->...", apart, apart))


def _salient(luma: Floats) -> Box | None:
    """Return the box of the salient area by spectral residual saliency (Hou and Zhang, CVPR 2007) on 64 × 64."""
    square = cv2.resize(luma, (64, 64), interpolation=cv2.INTER_AREA)
    spectrum = np.fft.fft2(square)
    amplitude = np.log(np.abs(spectrum) + 1e-6).astype(np.float32)
    residual = amplitude - cv2.blur(amplitude, (3, 3))
    field = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    saliency = cv2.GaussianBlur(field.astype(np.float32), (0, 0), 3.0)
    if float(saliency.max()) <= 3 * float(saliency.mean()):
        return _box(saliency > np.quantile(saliency, 0.8))
    return _box(_without_specks((saliency > 3 * saliency.mean()).astype(np.uint8)))


def _without_specks(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    count, labels, stats, _centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return np.zeros(mask.shape, dtype=bool)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return np.isin(labels, 1 + np.flatnonzero(areas >= _SPECK * areas.max()))


def _box(mask: NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    height, width = mask.shape
    return (
        float(columns[0] / width), float(rows[0] / height),
        float((columns[-1] + 1) / width), float((rows[-1] + 1) / height),
    )  # fmt: skip
