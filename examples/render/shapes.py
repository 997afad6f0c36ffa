"""The shapes of the twelve kinds, in a few variants each. Lengths are in units of about one product height."""

from __future__ import annotations

from collections.abc import Callable

from examples.render.curves import Form, Lathe, Tube, box_outline, closed, foot, smooth, solid_of, straight
from examples.render.more_shapes import candle, goblet, pitcher, planter


def mug(variant: int = 0) -> Form:
    """0: straight barrel, 1: round belly, 2: flared beaker with a thumb handle."""
    if variant == 1:
        wall = smooth(
            (0, 0.04, 0.035),
            (0.24, 0.04, 0.035),
            (0.36, 0.12, 0.032),
            (0.43, 0.34, 0.028),
            (0.40, 0.62, 0.026),
            (0.355, 0.80, 0.022),
            (0.37, 0.90, 0.017),
        )
        handle = smooth(
            (0.40, 0.66, 0.052),
            (0.52, 0.71, 0.048),
            (0.62, 0.62, 0.044),
            (0.645, 0.48, 0.043),
            (0.57, 0.31, 0.044),
            (0.42, 0.24, 0.052),
        )
    elif variant == 2:
        wall = smooth(
            (0, 0.04, 0.035),
            (0.25, 0.04, 0.035),
            (0.315, 0.09, 0.032),
            (0.33, 0.30, 0.027),
            (0.37, 0.60, 0.024),
            (0.42, 0.94, 0.017),
        )
        handle = smooth(
            (0.385, 0.74, 0.050),
            (0.50, 0.80, 0.046),
            (0.605, 0.73, 0.042),
            (0.60, 0.58, 0.040),
            (0.51, 0.42, 0.042),
            (0.36, 0.33, 0.050),
        )
    else:
        wall = smooth(
            (0, 0.036, 0.034),
            (0.27, 0.036, 0.034),
            (0.355, 0.065, 0.033),
            (0.388, 0.15, 0.029),
            (0.392, 0.45, 0.026),
            (0.388, 0.86, 0.018),
        )
        handle = smooth(
            (0.40, 0.69, 0.052),
            (0.52, 0.725, 0.047),
            (0.625, 0.66, 0.043),
            (0.65, 0.50, 0.042),
            (0.60, 0.32, 0.043),
            (0.50, 0.235, 0.046),
            (0.40, 0.215, 0.052),
        )
    return Form([Lathe([wall]), Tube(handle, flatten=1.25, blend=0.05)], pitch=17, turn=-28)


def bowl(variant: int = 0) -> Form:
    """0: open, 1: deep, 2: low and wide with an upright wall."""
    walls = [
        smooth((0, 0.10, 0.034), (0.20, 0.10, 0.034), (0.44, 0.18, 0.030), (0.60, 0.34, 0.026), (0.69, 0.56, 0.018)),
        smooth((0, 0.10, 0.034), (0.18, 0.10, 0.034), (0.40, 0.19, 0.030), (0.52, 0.40, 0.027), (0.55, 0.68, 0.018)),
        smooth((0, 0.09, 0.034), (0.40, 0.09, 0.034), (0.62, 0.125, 0.030), (0.70, 0.22, 0.027), (0.72, 0.42, 0.019)),
    ]
    return Form([Lathe([walls[variant], foot(0.25 if variant < 2 else 0.40, 0.10)])], pitch=23, turn=0)


def plate(variant: int = 0) -> Form:
    """0: coupe, 1: with a flat rim."""
    if variant:
        wall = smooth(
            (0, 0.055, 0.028),
            (0.50, 0.055, 0.028),
            (0.60, 0.085, 0.026),
            (0.665, 0.125, 0.023),
            (0.80, 0.14, 0.021),
            (0.95, 0.165, 0.017),
        )
    else:
        wall = smooth(
            (0, 0.05, 0.028), (0.45, 0.05, 0.028), (0.70, 0.068, 0.026), (0.86, 0.12, 0.023), (0.95, 0.205, 0.017)
        )
    return Form([Lathe([wall, foot(0.52, 0.05)])], pitch=36, turn=0)


def vase(variant: int = 0) -> Form:
    """0: shoulder with a short neck, 1: slender bottle neck, 2: fluted, opening upward, 3: moon."""
    walls = [
        smooth(
            (0, 0.035, 0.034),
            (0.20, 0.035, 0.034),
            (0.27, 0.07, 0.033),
            (0.38, 0.40, 0.030),
            (0.44, 0.78, 0.028),
            (0.36, 1.04, 0.027),
            (0.20, 1.15, 0.026),
            (0.165, 1.24, 0.024),
            (0.225, 1.34, 0.018),
        ),
        smooth(
            (0, 0.035, 0.034),
            (0.24, 0.035, 0.034),
            (0.31, 0.08, 0.033),
            (0.395, 0.30, 0.030),
            (0.35, 0.52, 0.028),
            (0.20, 0.74, 0.026),
            (0.125, 0.98, 0.024),
            (0.115, 1.24, 0.021),
            (0.165, 1.36, 0.015),
        ),
        smooth(
            (0, 0.035, 0.034),
            (0.19, 0.035, 0.034),
            (0.245, 0.07, 0.033),
            (0.285, 0.35, 0.030),
            (0.33, 0.75, 0.027),
            (0.40, 1.20, 0.020),
        ),
        smooth(
            (0, 0.035, 0.034),
            (0.16, 0.035, 0.034),
            (0.26, 0.08, 0.033),
            (0.455, 0.34, 0.030),
            (0.475, 0.60, 0.029),
            (0.37, 0.86, 0.028),
            (0.19, 0.985, 0.026),
            (0.15, 1.03, 0.024),
            (0.165, 1.10, 0.018),
        ),
    ]
    ribs = {"flutes": 22, "flute_depth": 0.034, "flute_range": (0.09, 1.13)} if variant == 2 else {}
    return Form([Lathe([walls[variant]], **ribs)], pitch=11, turn=0)  # type: ignore[arg-type]


def lamp(variant: int = 0) -> Form:
    """A glazed foot, a brass stem and a linen shade. 0: gourd foot, 1: ball foot, 2: fluted column."""
    feet = [
        smooth(
            (0.0, 0.0, 0),
            (0.24, 0.0, 0),
            (0.285, 0.035, 0),
            (0.30, 0.20, 0),
            (0.35, 0.36, 0),
            (0.30, 0.52, 0),
            (0.17, 0.64, 0),
            (0.085, 0.74, 0),
            (0.07, 0.80, 0),
            (0.0, 0.81, 0),
        ),
        smooth(
            (0.0, 0.0, 0),
            (0.17, 0.0, 0),
            (0.215, 0.025, 0),
            (0.26, 0.06, 0),
            (0.395, 0.26, 0),
            (0.385, 0.46, 0),
            (0.25, 0.63, 0),
            (0.10, 0.69, 0),
            (0.065, 0.73, 0),
            (0.0, 0.74, 0),
        ),
        smooth(
            (0.0, 0.0, 0),
            (0.27, 0.0, 0),
            (0.325, 0.035, 0),
            (0.31, 0.08, 0),
            (0.255, 0.13, 0),
            (0.235, 0.40, 0),
            (0.215, 0.60, 0),
            (0.165, 0.70, 0),
            (0.08, 0.75, 0),
            (0.0, 0.76, 0),
        ),
    ]
    ribs = {"flutes": 20, "flute_depth": 0.022, "flute_range": (0.13, 0.66)} if variant == 2 else {}
    shade = [
        straight((0.545, 0.90, 0.011), (0.40, 1.48, 0.011)),
        straight((0.50, 0.88, 0.011), (0.46, 1.40, 0.011)),
        straight((0.56, 0.92, 0.011), (0.29, 1.44, 0.011)),
    ][variant]
    top = float(shade[1][1])
    return Form(
        [
            Lathe([solid_of(feet[variant])], solid=True, **ribs),  # type: ignore[arg-type]
            Lathe(
                [
                    box_outline(0.028, 0.70, top + 0.02, 0.01),
                ],
                material="brass",
                solid=True,
            ),
            Lathe([box_outline(0.060, 0.735, 0.775, 0.012)], material="brass", solid=True),
            Lathe([shade], material="shade", inner="shade"),
            Lathe(
                [
                    solid_of(
                        smooth(
                            (0, top + 0.01, 0),
                            (0.03, top + 0.02, 0),
                            (0.042, top + 0.05, 0),
                            (0.02, top + 0.085, 0),
                            (0, top + 0.09, 0),
                        )
                    )
                ],
                material="brass",
                solid=True,
            ),
        ],
        pitch=7,
        turn=0,
    )


def teapot(variant: int = 0) -> Form:
    """0: round with an ear handle, 1: low and wide with a bridge handle."""
    if variant:
        body = smooth(
            (0, 0.035, 0.034),
            (0.26, 0.035, 0.034),
            (0.36, 0.07, 0.033),
            (0.54, 0.24, 0.031),
            (0.535, 0.40, 0.031),
            (0.38, 0.55, 0.030),
            (0.20, 0.605, 0.026),
            (0.165, 0.61, 0.02),
        )
        lid = smooth((0.205, 0.615, 0.024), (0.16, 0.645, 0.026), (0.0, 0.665, 0.026))
        knob = smooth(
            (0, 0.66, 0), (0.035, 0.665, 0), (0.032, 0.70, 0), (0.065, 0.745, 0), (0.05, 0.785, 0), (0, 0.80, 0)
        )
        spout = smooth(
            (-0.42, 0.24, 0.115), (-0.60, 0.33, 0.088), (-0.70, 0.46, 0.066), (-0.79, 0.60, 0.052), (-0.85, 0.68, 0.05)
        )
        handle = smooth(
            (0.40, 0.52, 0.050),
            (0.47, 0.72, 0.042),
            (0.40, 0.97, 0.038),
            (0.0, 1.13, 0.037),
            (-0.40, 0.97, 0.038),
            (-0.47, 0.72, 0.042),
            (-0.40, 0.52, 0.050),
        )
        cut = (-0.805, 0.625, -0.50, 0.866)
    else:
        body = smooth(
            (0, 0.035, 0.034),
            (0.22, 0.035, 0.034),
            (0.31, 0.07, 0.033),
            (0.485, 0.27, 0.031),
            (0.50, 0.48, 0.031),
            (0.38, 0.70, 0.030),
            (0.22, 0.775, 0.026),
            (0.18, 0.785, 0.02),
        )
        lid = smooth((0.215, 0.79, 0.024), (0.16, 0.835, 0.026), (0.0, 0.865, 0.026))
        knob = smooth(
            (0, 0.86, 0), (0.035, 0.865, 0), (0.032, 0.90, 0), (0.066, 0.95, 0), (0.05, 0.995, 0), (0, 1.01, 0)
        )
        spout = smooth(
            (-0.38, 0.26, 0.125), (-0.56, 0.36, 0.092), (-0.65, 0.52, 0.068), (-0.73, 0.70, 0.052), (-0.80, 0.80, 0.05)
        )
        handle = smooth(
            (0.42, 0.64, 0.050),
            (0.56, 0.72, 0.046),
            (0.69, 0.66, 0.042),
            (0.735, 0.50, 0.041),
            (0.67, 0.32, 0.042),
            (0.55, 0.235, 0.045),
            (0.45, 0.23, 0.050),
        )
        cut = (-0.755, 0.735, -0.45, 0.893)
    return Form(
        [
            Lathe([body]),
            Tube(handle, flatten=1.2, blend=0.06),
            Tube(spout, blend=0.08, wall=0.018, cut=cut),
            Lathe([lid], inner="body"),
            Lathe([solid_of(knob)], solid=True, blend=0.03),
        ],
        pitch=15,
        turn=-12,
    )


def jar(variant: int = 0) -> Form:
    """0: wooden lid with a knob, 1: glazed lid and a belly, 2: straight with a flush wooden lid."""
    if variant == 1:
        wall = smooth(
            (0, 0.035, 0.034),
            (0.24, 0.035, 0.034),
            (0.33, 0.07, 0.033),
            (0.455, 0.30, 0.030),
            (0.45, 0.52, 0.029),
            (0.36, 0.74, 0.027),
            (0.315, 0.79, 0.022),
        )
        lid = smooth((0.36, 0.815, 0.022), (0.32, 0.845, 0.024), (0.18, 0.905, 0.026), (0.0, 0.93, 0.026))
        knob = smooth(
            (0, 0.92, 0), (0.04, 0.925, 0), (0.034, 0.965, 0), (0.075, 1.02, 0), (0.055, 1.07, 0), (0, 1.085, 0)
        )
        return Form(
            [Lathe([wall]), Lathe([lid], inner="body"), Lathe([solid_of(knob)], solid=True, blend=0.03)],
            pitch=15,
            turn=0,
        )
    wall = smooth(
        (0, 0.036, 0.034),
        (0.31, 0.036, 0.034),
        (0.385, 0.065, 0.033),
        (0.41, 0.14, 0.029),
        (0.412, 0.42, 0.027),
        (0.405, 0.74, 0.022),
    )
    if variant == 2:
        lids = [Lathe([box_outline(0.425, 0.768, 0.862, 0.022)], material="wood", solid=True)]
    else:
        knob = smooth(
            (0, 0.83, 0), (0.05, 0.835, 0), (0.045, 0.875, 0), (0.092, 0.93, 0), (0.07, 0.985, 0), (0, 1.0, 0)
        )
        lids = [
            Lathe([box_outline(0.435, 0.766, 0.838, 0.024)], material="wood", solid=True),
            Lathe([solid_of(knob)], material="wood", solid=True, blend=0.02),
        ]
    return Form([Lathe([wall]), *lids], pitch=15, turn=0)


def bottle(variant: int = 0) -> Form:
    """0: cylinder with a round shoulder, 1: cone; both with a cork."""
    if variant:
        wall = smooth(
            (0, 0.035, 0.034),
            (0.29, 0.035, 0.034),
            (0.365, 0.07, 0.033),
            (0.36, 0.22, 0.030),
            (0.26, 0.62, 0.028),
            (0.135, 1.00, 0.026),
            (0.108, 1.18, 0.024),
            (0.118, 1.27, 0.024),
        )
        rim = 1.27
    else:
        wall = smooth(
            (0, 0.035, 0.034),
            (0.21, 0.035, 0.034),
            (0.275, 0.065, 0.033),
            (0.30, 0.16, 0.030),
            (0.30, 0.66, 0.028),
            (0.24, 0.84, 0.028),
            (0.125, 0.96, 0.026),
            (0.10, 1.10, 0.024),
            (0.102, 1.26, 0.023),
            (0.115, 1.30, 0.024),
        )
        rim = 1.30
    collar = straight((0.118, rim - 0.055, 0.026), (0.122, rim - 0.01, 0.028))
    cork = closed(
        [
            (0.0, rim - 0.1),
            (0.076, rim - 0.1),
            (0.086, rim + 0.03),
            (0.098, rim + 0.095),
            (0.09, rim + 0.108),
            (0.0, rim + 0.11),
        ]
    )
    return Form([Lathe([wall, collar]), Lathe([cork], material="cork", solid=True)], pitch=10, turn=0)


KINDS: dict[str, Callable[[int], Form]] = {
    "mug": mug,
    "bowl": bowl,
    "plate": plate,
    "vase": vase,
    "lamp": lamp,
    "teapot": teapot,
    "jar": jar,
    "bottle": bottle,
    "candle": candle,
    "goblet": goblet,
    "pitcher": pitcher,
    "planter": planter,
}
