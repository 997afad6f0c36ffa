"""Finds the product's pixels in a photo: a hard mask from edges, colour and reachability on a plain background.

The background is everything that can be reached from the border without crossing a step in colour. Shadows are ramps,
not steps, so they count as background; a white product on white is kept by its faint outline. Areas that the outline
encloses (the hole of a handle) count as background if they look like it. The dark inside of a cup counts as product
even if the rim of the cup has no visible edge against the wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns.photos import backgrounds, confidence
from campaigns.photos.backgrounds import Departure, Floats, Mask, Part

#: A change of colour is a step, not the ramp of a shadow, if it is this much steeper at the fine scale than the coarse.
STEP_RATIO = 1.25
FINE, COARSE = 1.0, 2.0
CLEAR_DIFFERENCE = 12.0  # difference to the background, in L*a*b* units, from which a product is easy to separate
#: Radii of the balls that roll in from the border, as shares of the longer side.
BALL_RADII = (0.06, 0.03, 0.015, 0.008, 0.004)
#: Noise of the border, in L*a*b* units, above which it is not camera grain but a texture: wood, cloth, a wall.
MAX_CAMERA_NOISE = 2.0
#: Radius of the ball that finds notches in the outline, as a share of the longer side; and L* below the background from
#: which a notch above any shadow is the inside of a cup.
NOTCH_RADIUS, CUP_DARKNESS = 0.5, 8.0
MAX_SHADOW_COLOUR = 5.0  # L*a*b* units of colour that few shadows have after their darkening is subtracted
CERTAIN_PRODUCT_DIFFERENCE = 9.0  # L*a*b* units, not explained by a shadow, from which a pixel is certainly product


def find_silhouette(rgb: NDArray[np.uint8]) -> tuple[Mask, float, str]:
    """Find the product in height × width × 3 sRGB pixels.

    Return a mask (True on the product), the confidence (0 … 1), and "plain", or "scene" if the background is not.
    """
    lab = backgrounds.to_lab(rgb)
    smooth = cv2.GaussianBlur(lab, (0, 0), 0.8)
    border = backgrounds.border_mask(lab.shape)
    background = backgrounds.fit_background(smooth, border)
    if background.plainness < 0.6 or background.noise > MAX_CAMERA_NOISE:
        return *backgrounds.find_product(rgb), "scene"
    steep = _steepness(lab, FINE)
    outline = _outline(lab, steep, background.noise)
    departure = backgrounds.departure_from(smooth, background)
    first = backgrounds.connected_to(border, ~outline & (departure.colour < CERTAIN_PRODUCT_DIFFERENCE))
    flat = first & (np.abs(departure.light) < 4)
    if flat.mean() > 0.15:  # now that more of it is known, follow the light more closely
        background = backgrounds.fit_background(smooth, flat | (border & first), degree=4)
    departure = backgrounds.departure_from(smooth, background)
    sure = departure.colour > max(CERTAIN_PRODUCT_DIFFERENCE, 5 * background.noise)
    tight = 1.2 + background.noise
    barrier = outline | sure
    outside = _reachable_from_border(barrier, steep, departure, tight)
    outside |= _windows(barrier, outside, departure, tight)
    mask = _without_crumbs(_refine_border(smooth, outside, sure), departure, tight)
    return mask, confidence.confidence(mask, smooth, background, border), "plain"


def _steepness(lab: Floats, sigma: float) -> Floats:
    """Return the length of the colour gradient at a scale, in L*a*b* units per pixel."""
    soft = cv2.GaussianBlur(lab, (0, 0), sigma)
    total = np.zeros(lab.shape[:2], dtype=np.float32)
    # JPEG stores chroma coarsely. It gets a third of its weight, so that JPEG blocks cause no outlines.
    for channel, weight in zip(cv2.split(soft), (1.0, 0.1, 0.1), strict=True):
        across = cv2.Scharr(channel, cv2.CV_32F, 1, 0, scale=1 / 32)
        down = cv2.Scharr(channel, cv2.CV_32F, 0, 1, scale=1 / 32)
        cv2.accumulateSquare(across * np.float32(weight**0.5), total)
        cv2.accumulateSquare(down * np.float32(weight**0.5), total)
    return np.asarray(cv2.sqrt(total), dtype=np.float32)


def _outline(lab: Floats, fine: Floats, noise: float) -> Mask:
    """Return the pixels on strong steps in colour and on weaker steps that continue them. fine: steepness at FINE."""
    coarse = _steepness(lab, COARSE)
    border = backgrounds.border_mask(lab.shape)
    floor = float(np.percentile(fine[border], 90))
    strong = max(0.42, 2.4 * floor, 0.5 * noise)
    # JPEG causes ringing up to a block away from a strong edge, so faint steps near a strong one are ignored.
    nearby = cv2.dilate(fine, np.ones((17, 17), np.uint8))
    step = (fine > STEP_RATIO * coarse) & (fine > 0.12 * nearby)
    weak = step & (fine > 0.55 * strong)
    # Small specks of grain are not outlines.
    least = 0.012 * max(lab.shape[:2])
    steps = backgrounds.connected_to(step & (fine > strong), weak, connectivity=8, least=least)
    return steps | (fine > 6)


def _reachable_from_border(barrier: Mask, steep: Floats, departure: Departure, tight: float) -> Mask:
    """Return the area that balls reach from the border without touching the barrier: a large ball, then smaller ones.

    An area that only a smaller ball reaches is included if it is as narrow as the ball, or looks like the background. A
    wide room behind a narrow neck is product behind a gap in its faint outline, and stays closed. Pixels are added to
    `barrier` where the result of the large ball shows that a ramp cannot be a shadow.
    """
    border = backgrounds.border_mask(barrier.shape)
    room = cv2.distanceTransform((~barrier).astype(np.uint8), cv2.DIST_L2, 5)
    side = max(barrier.shape)
    outside = np.zeros_like(barrier)
    closed = np.zeros_like(barrier)
    before, rough = 0.0, None
    for share in BALL_RADII:
        radius = max(1.5, share * side)
        core = ((room > radius) | outside | (border & ~barrier)) & ~closed
        reached = backgrounds.connected_to(border, core)
        # Only the ball's centres are dilated: from a pixel beside the barrier, dilation would go through it.
        gap = cv2.distanceTransform((~(reached & (room > radius))).astype(np.uint8), cv2.DIST_L2, 5)
        reached = (((gap <= radius + 0.5) | reached) & ~barrier & ~closed) | outside
        if rough is None:
            rough = _find_rough_shape(~reached, departure, tight)
            bites = _cup_insides(reached, departure.light, rough.ceiling, tight)
            barrier |= bites
            reached &= ~bites
            # Above the ceiling, a steep dark ramp is no shadow but the inside of a cup whose rim has no visible edge.
            beyond = (departure.light < -8) | (steep > 2)
            beyond[rough.ceiling :] = False
            barrier |= beyond & ~reached
            room = cv2.distanceTransform((~barrier).astype(np.uint8), cv2.DIST_L2, 5)
        else:
            rooms = _rooms_behind_necks(reached & ~outside, room, 1.15 * before, departure, tight, rough)
            closed |= rooms
            reached &= ~rooms
        outside, before = reached, radius
    return outside


def _cup_insides(reached: Mask, light: Floats, ceiling: int, tight: float) -> Mask:
    """Return the parts of `reached` above the row `ceiling` that are the dark inside of a cup, with their strip of rim.

    They were reached where the rim has no visible edge against the wall. They are notches in the product's outline, far
    darker than the background, where no shadow falls.
    """
    bites = np.zeros_like(reached)
    side = max(reached.shape)
    notches = _close_notches(~reached, NOTCH_RADIUS * side) & reached
    for (_, top, _, height, area), part, inside in backgrounds.iter_regions(notches & (light < -tight)):
        # An area that continues below is a shadow beside a flat bowl.
        is_usable = area >= (0.01 * side) ** 2 and top + height <= ceiling
        if is_usable and np.median(light[part][inside]) < -CUP_DARKNESS:
            bites[part] |= inside
    if not bites.any():
        return bites
    beside = cv2.distanceTransform((~bites).astype(np.uint8), cv2.DIST_L2, 5) < 0.03 * side
    strip = _close_notches(~reached | bites, 2 * NOTCH_RADIUS * side) & reached & beside
    strip[ceiling:] = False
    return bites | strip


def _close_notches(mask: Mask, radius: float) -> Mask:
    """Return `mask` with all notches filled that a ball of `radius` pixels cannot enter; computed at quarter size."""
    quarter = mask[::4, ::4].astype(np.uint8)
    margin = int(radius / 4) + 2
    wide = cv2.copyMakeBorder(quarter, *(margin,) * 4, cv2.BORDER_CONSTANT, value=0)
    grown = cv2.distanceTransform(1 - wide, cv2.DIST_L2, 5) <= radius / 4
    shrunk = cv2.distanceTransform(grown.astype(np.uint8), cv2.DIST_L2, 5) > radius / 4
    back = shrunk[margin:-margin, margin:-margin].astype(np.uint8)
    large = cv2.resize(back, (4 * back.shape[1], 4 * back.shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large[: mask.shape[0], : mask.shape[1]] > 0, dtype=bool)


@dataclass(frozen=True)
class _RoughShape:
    """The result of the large ball. No shadow falls above the row `ceiling`; shadows lie below the row `floor`.

    typical: lower quartile of the product's difference to its background; coloured: median difference that no shadow
    explains; both are small for white on white. body: the main part, without handles and spouts.
    """

    ceiling: int
    floor: int
    typical: float
    coloured: float
    body: Mask


def _find_rough_shape(inside: Mask, departure: Departure, tight: float) -> _RoughShape:
    light, colour = departure.light[inside], departure.colour[inside]
    total = np.hypot(light, colour)
    departs = total > tight
    typical = float(np.percentile(total[departs], 25)) if departs.any() else 0.0
    coloured = float(np.median(colour[departs])) if departs.any() else 0.0
    rows = np.flatnonzero(inside.any(axis=1))
    top, height = (int(rows[0]), int(rows[-1] - rows[0])) if len(rows) else (0, 0)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    radius = 0.85 * float(depth.max())
    body = cv2.distanceTransform((depth <= radius).astype(np.uint8), cv2.DIST_L2, 5) <= radius
    return _RoughShape(top + round(0.4 * height), top + round(0.65 * height), typical, coloured, body)


def _rooms_behind_necks(
    fresh: Mask, room: Floats, wide: float, departure: Departure, tight: float, rough: _RoughShape
) -> Mask:
    """Return the parts of `fresh` that are wider than `wide`, and are neither background nor a shadow on the floor."""
    rooms = np.zeros_like(fresh)
    for (_, top, width, height, _), part, inside in backgrounds.iter_regions(fresh):
        if min(width, height) <= 2 * wide or room[part][inside].max() <= wide:
            continue
        is_beside = rough.body[part][inside].mean() < 0.5
        is_shadow = top + height / 2 > rough.floor and _is_shadow(inside, departure, part, rough)
        # The shadow of a product with the wall's hue fades: it is colourless, and darker at the product's foot.
        low, high = np.percentile(departure.light[part][inside], (8, 92))
        is_fading = high - low > 8 and np.percentile(departure.colour[part][inside], 92) < 0.5
        is_shadow |= top + height > rough.floor and is_beside and is_fading
        if not is_shadow and not (is_beside and _is_background(inside, departure, part, tight)):
            rooms[part] |= inside
    return rooms


def _is_shadow(inside: Mask, departure: Departure, part: Part, rough: _RoughShape) -> bool:
    """Return True if a room differs far less from the background than the product, or has none of its colour."""
    light, colour = departure.light[part][inside], departure.colour[part][inside]
    if np.percentile(np.hypot(light, colour), 85) < 0.6 * rough.typical:
        return True
    # In the body, an area with little of the glaze's colour, but more than a shadow has, is an unglazed foot.
    most = CERTAIN_PRODUCT_DIFFERENCE if rough.body[part][inside].mean() < 0.5 else MAX_SHADOW_COLOUR
    return rough.coloured > 8 and float(np.percentile(colour, 85)) < min(0.4 * rough.coloured, most)


def _is_background(inside: Mask, departure: Departure, part: Part, tight: float) -> bool:
    """Return True if an enclosed room has the background's colour and is as even as the background."""
    light, colour = departure.light[part][inside], departure.colour[part][inside]
    low, middle, high = np.percentile(light, (8, 50, 92))
    return bool(abs(middle) < tight and np.median(colour) < tight and high - low < 2 * tight)


def _windows(barrier: Mask, outside: Mask, departure: Departure, tight: float) -> Mask:
    """Return the enclosed rooms through which the background is visible, such as the hole of a handle.

    A room beside the body may be partly in shadow. A room in the middle must be large, and as even as the background
    and of the same colour; otherwise it is the inside of a white cup, or a highlight.
    """
    closed = ~barrier & ~outside
    rough = _find_rough_shape(~outside, departure, tight)
    total = np.hypot(departure.light, departure.colour)
    alike = (departure.light > -2 * tight) & (departure.colour < 2 * tight)
    alike |= (total < 0.6 * rough.typical) | (~rough.body & (departure.light > -12) & (departure.colour < 0.4 * tight))
    alike &= closed & (departure.light < 1.5 * tight)
    alike = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, centres = cv2.connectedComponentsWithStats(alike, connectivity=4)
    seen = np.zeros_like(barrier)
    size, columns = int((~outside).sum()), np.flatnonzero((~outside).any(axis=0))
    is_conspicuous = rough.typical > CLEAR_DIFFERENCE
    near, middle = (9, 0.15) if is_conspicuous else (5, 0.2)
    edge = cv2.dilate(barrier.astype(np.uint8), np.ones((near, near), np.uint8)) > 0
    beyond = cv2.dilate(outside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    for index in range(1, count):
        left, top, width, height, area = stats[index]
        if area < 0.008 * size:
            continue
        part = np.s_[max(0, top - 3) : top + height + 3, max(0, left - 3) : left + width + 3]
        inside = labels[part] == index
        rim = (cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~inside
        outlined = float(edge[part][rim].mean())
        is_flat = _is_background(inside, departure, part, tight)
        along = (centres[index][0] - columns[0]) / (columns[-1] - columns[0])
        if abs(along - 0.5) < middle:
            # Inside the body it is a softbox reflected in the glaze, unless it is as large as the hole of a ring.
            is_above = rough.body[part][inside].mean() < 0.3 or area > 0.15 * size
            fits = is_flat and outlined > 0.95 and area > 0.02 * size and is_above
        elif is_conspicuous:
            fits = outlined > 0.8 and _is_lit(inside, departure, part, tight, rough)
        else:
            # A hole beside the body may have some shadow: it is partly darker, without colour. The inside of a pale
            # handle touches the surroundings, its hole does not.
            is_colourless = np.percentile(departure.colour[part][inside], 85) < 0.4 * tight
            is_hardly_darker = np.median(departure.light[part][inside]) > -2 * tight
            is_beside = rough.body[part][inside].mean() < 0.3 and beyond[part][rim].mean() <= 0.05
            shaded = is_colourless and is_hardly_darker and is_beside
            fits = outlined > 0.9 and (is_flat or shaded) and _is_lit(inside, departure, part, tight, rough)
        if fits:
            seen[part] |= inside
    return seen


def _is_lit(inside: Mask, departure: Departure, part: Part, tight: float, rough: _RoughShape) -> bool:
    """Return True if part of a room is as bright as the background, and hardly coloured.

    This is true for a hole, however dark the shadow in it is, and false for a highlight reflected in the glaze.
    """
    brightest = float(np.percentile(departure.light[part][inside], 92))
    is_bright = brightest > -max(0.6 * tight, 0.06 * rough.typical)
    return is_bright and bool(np.median(departure.colour[part][inside]) < 2 * tight)


def _refine_border(smooth: Floats, outside: Mask, sure: Mask) -> Mask:
    """Return the mask with its border on the steepest line between certain outside and certain product (watershed)."""
    depth = cv2.distanceTransform((~outside).astype(np.uint8), cv2.DIST_L2, 5)
    ridge = (depth >= cv2.dilate(depth, np.ones((5, 5), np.uint8)) - 0.01) & (depth >= 1.9)
    inner = (depth > 4.5) | ridge
    markers = np.zeros(outside.shape, dtype=np.int32)
    markers[outside] = 1
    markers[inner & ~outside] = 2
    markers[sure & (depth > 2.5)] = 2
    # L* stretched, so that a white edge of two units is seen in eight bits.
    stretched = np.clip((smooth - smooth.reshape(-1, 3).mean(axis=0)) * (3.0, 2.0, 2.0) + 128, 0, 255)
    cv2.watershed(stretched.astype(np.uint8), markers)
    product = markers != 1
    product[[0, -1], :] = ~outside[[0, -1], :]  # watershed leaves the outermost pixels undecided
    product[:, [0, -1]] = ~outside[:, [0, -1]]
    return backgrounds.without_small_parts(product)


def _without_crumbs(product: Mask, departure: Departure, tight: float) -> Mask:
    """Remove the bits of shadow at the product's foot, and fill the notches there.

    The bits are small, not brighter than the background, and hardly coloured. Long thin parts (handles, stems) stay.
    """
    radius = max(2, round(0.01 * max(product.shape)))
    smooth = cv2.medianBlur(product.astype(np.uint8), 2 * radius + 1) > 0
    rows = np.flatnonzero(product.any(axis=1))
    floor = rows[0] + 0.65 * (rows[-1] - rows[0]) if len(rows) else 0
    result = product.copy()
    for changed, is_added in ((product & ~smooth, False), (smooth & ~product, True)):
        for (_, top, width, height, area), part, inside in backgrounds.iter_regions(changed, connectivity=8):
            if max(width, height) > 8 * radius or area < 4 or (is_added and top < floor):
                continue
            light, colour = np.median(departure.light[part][inside]), np.median(departure.colour[part][inside])
            if is_added:
                result[part] |= inside & (light < -3)
            elif light < tight and colour < (8 if top > floor else 2 * tight):
                result[part] &= ~inside
    return backgrounds.without_small_parts(_with_smooth_foot(result))


def _with_smooth_foot(product: Mask) -> Mask:
    """Smooth the line on which the product stands, column by column: the dark between foot and shadow frays it.

    A running median leaves slopes and corners as they are; a change larger than a fortieth of the image, such as
    between the legs of a chair, is not made.
    """
    rows = np.flatnonzero(product.any(axis=1))
    if not len(rows):
        return product
    side = max(product.shape)
    floor = rows[0] + 0.6 * (rows[-1] - rows[0])
    last = product.shape[0] - 1 - product[::-1].argmax(axis=0)
    stands = product.any(axis=0) & (last > floor)
    result = product.copy()
    height = np.arange(product.shape[0])[:, None]
    turns = np.flatnonzero(np.diff(np.concatenate([[False], stands, [False]]).astype(np.int8)))
    for start, end in zip(turns[::2], turns[1::2], strict=True):
        if end - start < 8:  # too short for smoothing
            continue
        line = last[start:end].astype(np.float32)
        size = min(max(3, round(0.085 * side) | 1), 255)
        padded = np.pad(line, size, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, size)
        middle = np.median(windows, axis=1)[None, :].astype(np.float32)
        smooth = cv2.GaussianBlur(middle, (0, 0), max(0.8, 0.004 * side))[0, size - size // 2 :][: len(line)]
        smooth = np.where(np.abs(smooth - line) <= side / 40, smooth, line)
        part = result[:, start:end]
        part &= height <= np.round(smooth)[None, :]
        part |= (height > line[None, :] - 2) & (height <= np.round(smooth)[None, :]) & product[:, start:end].any(axis=0)
    return result
