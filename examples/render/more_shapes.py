"""Four more kinds of products, which the example shop does not sell: candle, goblet, pitcher and planter."""

from __future__ import annotations

from examples.render.curves import Form, Lathe, Tube, box_outline, smooth, solid_of


def candle(variant: int = 0) -> Form:
    """A lit candle. 0: taper in a low holder with a ring handle, 1: pillar on a saucer, 2: taper on a tall stick."""
    stem, width, top = [(0.16, 0.10, 0.96), (0.10, 0.25, 0.80), (0.80, 0.085, 1.42)][variant]
    if variant == 2:
        holder = smooth(
            (0, 0.0, 0), (0.30, 0.0, 0), (0.32, 0.03, 0), (0.14, 0.10, 0), (0.06, 0.22, 0), (0.085, 0.40, 0),
            (0.05, 0.58, 0), (0.06, 0.70, 0), (0.14, 0.76, 0), (0.13, 0.84, 0), (0, 0.845, 0),
        )  # fmt: skip
        holder_parts: list[Lathe | Tube] = [Lathe([solid_of(holder)], material="brass", solid=True)]
    elif variant:
        saucer = smooth((0, 0.04, 0.035), (0.34, 0.04, 0.035), (0.46, 0.07, 0.03), (0.52, 0.13, 0.022))
        holder_parts = [Lathe([saucer], material="brass", inner="brass")]
    else:
        dish = smooth((0, 0.035, 0.032), (0.36, 0.035, 0.032), (0.46, 0.06, 0.03), (0.52, 0.15, 0.022))
        cup = smooth((0.0, 0.10, 0), (0.14, 0.10, 0), (0.13, 0.18, 0), (0.14, 0.30, 0), (0.0, 0.31, 0))
        ring = smooth(
            (0.47, 0.10, 0.035), (0.58, 0.19, 0.034), (0.70, 0.17, 0.034), (0.74, 0.08, 0.034), (0.64, 0.03, 0.034),
            (0.50, 0.06, 0.035),
        )  # fmt: skip
        holder_parts = [
            Lathe([dish], material="brass", inner="brass"),
            Lathe([solid_of(cup)], material="brass", solid=True, blend=0.05),
            Tube(ring, material="brass", blend=0.04),
        ]
    flame = smooth(
        (0, top + 0.06, 0), (0.028, top + 0.075, 0), (0.045, top + 0.12, 0), (0.028, top + 0.19, 0), (0, top + 0.27, 0)
    )
    return Form(
        [
            *holder_parts,
            Lathe([box_outline(width, stem - 0.06, top, min(0.03, width / 2))], solid=True),
            Lathe([box_outline(0.010, top - 0.01, top + 0.09, 0.004)], material="wick", solid=True),
            Lathe([solid_of(flame)], material="flame", solid=True),
        ],
        pitch=13,
        turn=-20,
    )


def goblet(variant: int = 0) -> Form:
    """0: round cup, 1: tulip, 2: wide and low; all on a stem with a foot."""
    cups = [
        smooth(
            (0, 0.52, 0.034), (0.12, 0.53, 0.034), (0.28, 0.64, 0.030), (0.34, 0.82, 0.026), (0.31, 1.04, 0.018)
        ),
        smooth(
            (0, 0.56, 0.034), (0.10, 0.57, 0.034), (0.22, 0.68, 0.030), (0.25, 0.88, 0.025), (0.31, 1.14, 0.016)
        ),
        smooth((0, 0.50, 0.034), (0.14, 0.51, 0.034), (0.36, 0.60, 0.030), (0.47, 0.78, 0.020)),
    ]  # fmt: skip
    join = (0.56, 0.60, 0.54)[variant]
    stem = smooth(
        (0, 0.0, 0), (0.28, 0.0, 0), (0.295, 0.025, 0), (0.16, 0.07, 0), (0.062, 0.16, 0), (0.075, 0.28, 0),
        (0.055, 0.40, 0), (0.09, join - 0.04, 0), (0, join, 0),
    )  # fmt: skip
    return Form([Lathe([cups[variant]]), Lathe([solid_of(stem)], solid=True, blend=0.04)], pitch=13, turn=0)


def pitcher(variant: int = 0) -> Form:
    """A jug to pour from. 0: round belly, 1: tall and straight, 2: slender with a high handle."""
    walls = [
        smooth(
            (0, 0.035, 0.034), (0.24, 0.035, 0.034), (0.33, 0.08, 0.033), (0.43, 0.34, 0.030), (0.37, 0.64, 0.028),
            (0.24, 0.86, 0.026), (0.23, 0.98, 0.023), (0.27, 1.10, 0.017),
        ),
        smooth(
            (0, 0.035, 0.034), (0.27, 0.035, 0.034), (0.34, 0.07, 0.033), (0.345, 0.40, 0.030), (0.30, 0.84, 0.026),
            (0.29, 1.02, 0.022), (0.32, 1.16, 0.017),
        ),
        smooth(
            (0, 0.035, 0.034), (0.20, 0.035, 0.034), (0.27, 0.08, 0.033), (0.335, 0.32, 0.030), (0.26, 0.62, 0.028),
            (0.17, 0.90, 0.026), (0.18, 1.08, 0.022), (0.25, 1.24, 0.017),
        ),
    ]  # fmt: skip
    belly, neck, rim = [(0.40, 0.235, 1.06), (0.34, 0.29, 1.12), (0.30, 0.18, 1.20)][variant]
    handle = smooth(
        (neck + 0.01, rim - 0.12, 0.046), (neck + 0.16, rim - 0.05, 0.044), (neck + 0.33, rim - 0.17, 0.042),
        (belly + 0.20, 0.56, 0.042), (belly + 0.08, 0.36, 0.046), (belly - 0.03, 0.30, 0.05),
    )  # fmt: skip
    spout = smooth(
        (-neck + 0.03, rim - 0.17, 0.105), (-neck - 0.07, rim - 0.06, 0.092), (-neck - 0.16, rim + 0.03, 0.07)
    )
    return Form(
        [
            Lathe([walls[variant]]),
            Tube(handle, flatten=1.25, blend=0.05),
            Tube(spout, blend=0.06, wall=0.02, cut=(-neck - 0.09, rim + 0.02, -0.35, 0.94)),
        ],
        pitch=13,
        turn=-20,
    )


def planter(variant: int = 0) -> Form:
    """A pot with a plant in it. 0: tapered, 1: round, 2: low bowl."""
    walls = [
        smooth((0, 0.04, 0.036), (0.27, 0.04, 0.036), (0.31, 0.07, 0.034), (0.40, 0.50, 0.03), (0.42, 0.56, 0.026)),
        smooth(
            (0, 0.04, 0.036), (0.24, 0.04, 0.036), (0.38, 0.12, 0.034), (0.44, 0.30, 0.032), (0.36, 0.50, 0.028)
        ),
        smooth((0, 0.04, 0.036), (0.36, 0.04, 0.036), (0.50, 0.10, 0.034), (0.54, 0.34, 0.026)),
    ]  # fmt: skip
    rim, width = [(0.50, 0.37), (0.44, 0.35), (0.27, 0.46)][variant]
    leaves = [(-0.62, 0.50, 0.085), (-0.36, 0.80, 0.095), (-0.06, 0.96, 0.10), (0.30, 0.84, 0.095), (0.60, 0.52, 0.085)]
    parts: list[Lathe | Tube] = [
        Lathe([walls[variant]]), Lathe([box_outline(width, rim - 0.06, rim, 0.02)], material="soil", solid=True)
    ]  # fmt: skip
    for x, y, half in leaves:
        curve = smooth(
            (x * 0.15, rim - 0.05, 0.02), (x * 0.38, rim + y * 0.40, half * 0.7), (x * 0.75, rim + y * 0.75, half),
            (x * 1.1, rim + y, 0.012),
        )  # fmt: skip
        parts.append(Tube(curve, material="leaf", blend=0.0, flatten=0.35, clip=False))
    return Form(parts, pitch=13, turn=0)
