"""The five default style presets of a brand, written by us for the common tasks of a design team."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Preset:
    """A style preset. text is appended to a prompt, negative to the negative prompt; use: its purpose."""

    slug: str
    name: str
    use: str
    text: str
    negative: str


PRESETS: Final = (
    Preset(
        "product-photography", "Product photography", "shop and catalogue",
        "catalogue photograph, the whole product in frame and in focus, eye level, even softbox light from the left, "
        "true colour, clean edge, short contact shadow",
        "props, hands, text, logo, watermark, cropped product, colour cast, blown highlights",
    ),
    Preset(
        "social-media", "Social media", "posts and stories",
        "bold simple composition that reads at thumb size, the product off centre with quiet space for a headline, "
        "fresh daylight, one strong accent colour, candid mood",
        "clutter, small details at the rim, text, logo, watermark, dull light",
    ),
    Preset(
        "concept-art", "Concept art", "ideas before anything is built",
        "loose painted concept, visible brushwork, strong silhouette, dramatic light from one side, a world hinted at "
        "in three tones, unfinished edges",
        "photograph, fine print, text, watermark, symmetrical layout",
    ),
    Preset(
        "photorealistic", "Photorealistic", "scenes that look taken, not made",
        "photograph on a full-frame camera, 50 mm lens, natural window light, real materials with small flaws, gentle "
        "depth of field, unretouched colour",
        "illustration, render, plastic skin, oversharpened, oversaturated, extra fingers, warped geometry, text",
    ),
    Preset(
        "minimalist", "Minimalist", "one thing and room around it",
        "a single object on a plain ground, two colours at most, wide empty space, soft even light, long calm shadow, "
        "nothing else",
        "props, pattern, busy background, text, gradient, harsh shadow",
    ),
)  # fmt: skip
