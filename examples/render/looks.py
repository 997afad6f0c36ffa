"""Materials such as glazes, woods and metals, and the light for the photos."""

from __future__ import annotations

from dataclasses import dataclass, replace

Colour = tuple[float, float, float]

GLAZE, CLAY, METAL, CLOTH, WOOD, CORK = range(6)


def linear(hex_colour: str) -> Colour:
    """Return "#rrggbb" (sRGB) as linear reflectance 0 … 1. ValueError for anything else."""
    text = hex_colour.removeprefix("#")
    if len(text) != 6:
        raise ValueError(f"{hex_colour!r}: expected #rrggbb")
    red, green, blue = (int(text[k : k + 2], 16) / 255 for k in (0, 2, 4))
    return _linear(red), _linear(green), _linear(blue)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True)
class Look:
    """The reflection of one surface; see Material in scene.h."""

    look: int = GLAZE
    colour: str = "#ffffff"
    gloss: float = 0.85
    speckle: float = 0.0
    dip: float = 0.0
    clay: str = "#b58a66"
    rim: float = 0.0
    mottle: float = 0.12
    ridges: float = 0.0
    over: float = 0.0
    over_colour: str = "#ffffff"
    glow: float = 0.0


#: Clays under the glaze, by the name that the feed uses for the material.
FINISHES: dict[str, Look] = {
    "stoneware": Look(gloss=0.62, speckle=0.16, dip=0.075, clay="#b48c68", rim=0.55, mottle=0.22, ridges=0.25),
    "porcelain": Look(gloss=0.97, speckle=0.0, dip=0.0, clay="#e9e4dc", rim=0.0, mottle=0.03),
    "earthenware": Look(gloss=0.88, speckle=0.03, dip=0.10, clay="#b0643f", rim=0.35, mottle=0.30, ridges=0.5),
    "matt stoneware": Look(gloss=0.16, speckle=0.10, dip=0.0, clay="#a98a6c", rim=0.25, mottle=0.14),
}

PARTS: dict[str, Look] = {
    "brass": Look(look=METAL, colour="#d8b26a", gloss=0.9),
    "shade": Look(look=CLOTH, colour="#e6dccb", gloss=0.0, glow=0.10),
    "wood": Look(look=WOOD, colour="#b98a5a", gloss=0.35),
    "cork": Look(look=CORK, colour="#c79e70", gloss=0.0),
    "flame": Look(look=CLOTH, colour="#ffd27a", gloss=0.0, glow=2.2),
    "wick": Look(look=CLAY, colour="#2b2521", gloss=0.0),
    "leaf": Look(colour="#3f7a35", gloss=0.35, mottle=0.35),
    "soil": Look(look=CLAY, colour="#3a2a1e", gloss=0.0),
}


def glaze(material: str, colour: str, **changes: object) -> Look:
    """Return the look of `colour` on `material`. ValueError with the known materials for an unknown one."""
    if material not in FINISHES:
        raise ValueError(f"There is no finish {material!r}; known are {', '.join(FINISHES)}.")
    return replace(FINISHES[material], colour=colour, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Light:
    """The softbox: degrees to the left (negative: right) and up, its half width, and its share of the light."""

    left: float
    up: float
    size: float
    share: float


LIGHTS: dict[str, Light] = {
    "soft left": Light(left=50, up=52, size=0.75, share=0.42),
    "soft right": Light(left=-50, up=52, size=0.75, share=0.42),
    "window left": Light(left=52, up=46, size=0.52, share=0.52),
    "hard left": Light(left=58, up=38, size=0.14, share=0.68),
    "hard right": Light(left=-58, up=38, size=0.14, share=0.68),
    "overhead": Light(left=12, up=72, size=0.62, share=0.42),
}

#: view -> (degrees added to the kind's own pitch, degrees added to its turn)
VIEWS: dict[str, tuple[float, float]] = {"front": (0, 0), "angle": (10, -32), "other side": (2, 150), "top": (62, 0)}


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of a product: a seamless backdrop, or a table (1 planks, 2 marble, 3 plain) before a wall.

    panes: strength of sunlight through a window, 0 … 1. wall_at: distance of the wall behind the product.
    grain: the place in the noise from which the table's pattern is taken.
    """

    backdrop: str
    table: int = 0
    wall: str = "#ffffff"
    panes: float = 0.0
    vignette: float = 0.06
    wall_at: float = 1.5
    grain: float = 0.0


SURROUNDINGS: dict[str, Surroundings] = {
    "white": Surroundings("#fafaf8", vignette=0.02),
    "grey studio": Surroundings("#a9aaac", vignette=0.30),
    "pink": Surroundings("#eba9b4", vignette=0.08),
    "mint": Surroundings("#a8d9c2", vignette=0.08),
    "dark": Surroundings("#2e2d31", vignette=0.35),
    "wood": Surroundings("#a8743f", table=1, wall="#e9dfcf"),
    "marble": Surroundings("#e4e3e2", table=2, wall="#cfd4d9"),
    "window": Surroundings("#dcc8a6", table=3, wall="#f2e3c4", panes=1.0, vignette=0.0),
}
