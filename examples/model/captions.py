"""The training set of the model: descriptions of images, and captions for them.

An `ImageDescription` says what an image shows; `caption` puts it into one of many wordings. Everything is drawn from
a generator that the caller seeds, so the same seed makes the same set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

KINDS = (
    "mug", "bowl", "plate", "vase", "lamp", "teapot", "jar", "bottle", "candle", "goblet", "pitcher", "planter",
)  # fmt: skip
COLOURS = {
    "white": "#f1efe9", "black": "#26272b", "grey": "#8b8f92", "red": "#b3261e", "orange": "#dd7426",
    "yellow": "#e6bb2e", "green": "#3f7d42", "teal": "#1f7f86", "blue": "#2a54ad", "purple": "#6c4499",
    "pink": "#e58aa4", "brown": "#6b4229",
}  # fmt: skip
#: scene -> (words for the place of a product, names of the empty scene)
SCENES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "white": (
        ("on a white backdrop", "on plain white", "in a white studio"), ("white backdrop", "plain white studio"),
    ),
    "grey studio": (("in a grey studio", "on a grey backdrop"), ("grey studio", "grey backdrop")),
    "pink": (("on a pink backdrop", "in a pink studio"), ("pink backdrop", "pink studio")),
    "mint": (("on a mint backdrop", "in a mint studio"), ("mint backdrop", "mint studio")),
    "dark": (("on a dark backdrop", "in a dark studio"), ("dark backdrop", "dark studio")),
    "wood": (("on a wooden table", "on a wood table", "on wood"), ("wooden table", "wood table")),
    "marble": (("on a marble table", "on marble"), ("marble table", "marble top")),
    "window": (
        ("on a table in window light", "in a sunlit room", "on a table by a window"),
        ("table in window light", "sunlit room", "table by a window"),
    ),
}  # fmt: skip
LIGHTS = ("soft left", "soft right", "hard left", "hard right")
VIEWS = {"front": ("seen from the front", "front view"), "above": ("seen from above", "top view")}
FINISHES = {"porcelain": "glossy", "matt stoneware": "matt", "stoneware": "stoneware"}
NOTHING = "nothing"
"""The kind of an empty scene."""


@dataclass(frozen=True)
class ImageDescription:
    """The content of an image. kind and colour are NOTHING for an empty scene; seed: for what the words leave open."""

    kind: str
    colour: str
    scene: str
    light: str
    view: str
    finish: str
    seed: int

    @property
    def mirrored(self) -> ImageDescription:
        """The description of the mirror image."""
        softness, side = self.light.split()
        return replace(self, light=f"{softness} {'right' if side == 'left' else 'left'}")


def held_out_pairs() -> frozenset[tuple[str, str]]:
    """Return the pairs of kind and colour that no training image shows: each kind once, and each colour once."""
    names = tuple(COLOURS)
    return frozenset((kind, names[(5 * at + 3) % len(names)]) for at, kind in enumerate(KINDS))


def shots(count: int, *, seed: int, empty: float = 0.1, pairs: str = "trained") -> Iterator[ImageDescription]:
    """Yield `count` shots, evenly over kinds, colours and scenes. empty: the share without a product.

    pairs: "trained", "held out" or "all" pairs of kind and colour.
    """
    chance = np.random.default_rng(seed)
    apart = held_out_pairs()
    chosen_pairs = [
        (kind, colour) for kind in KINDS for colour in COLOURS
        if pairs == "all" or ((kind, colour) in apart) == (pairs == "held out")
    ]  # fmt: skip
    every = [(kind, colour, scene) for kind, colour in chosen_pairs for scene in SCENES]
    deck: list[tuple[str, str, str]] = []
    for _ in range(count):
        rest = {
            "light": str(chance.choice(LIGHTS)),
            "view": str(chance.choice(list(VIEWS))),
            "finish": str(chance.choice(list(FINISHES))),
            "seed": int(chance.integers(1 << 31)),
        }
        if chance.random() < empty:
            yield ImageDescription(NOTHING, NOTHING, str(chance.choice(list(SCENES))), **rest)  # type: ignore[arg-type]
            continue
        if not deck:
            deck = [every[at] for at in chance.permutation(len(every))]
        yield ImageDescription(*deck.pop(), **rest)  # type: ignore[arg-type]


def caption(shot: ImageDescription, chance: np.random.Generator, *, is_whole: bool = False) -> str:
    """Return one of the shot's wordings. It always names kind, colour and scene; it often names light and view (always
    with `is_whole`), and sometimes the finish."""
    softness, side = shot.light.split()
    light = f"{softness} light from the {side}" if chance.random() < 0.5 else f"{softness} {side} light"
    view = str(chance.choice(VIEWS[shot.view]))
    at_product, empty = SCENES[shot.scene]
    if shot.kind == NOTHING:
        name = str(chance.choice(empty))
        text = f"an empty {name}" if chance.random() < 0.7 else f"empty {name}"
    else:
        finish = f"{FINISHES[shot.finish]} " if chance.random() < 0.4 else ""
        where = str(chance.choice(at_product))
        form = chance.random()
        if form < 0.55:
            text = f"a {finish}{shot.colour} {shot.kind} {where}"
        elif form < 0.8:
            text = f"{finish}{shot.colour} {shot.kind} {where}"
        else:
            text = f"product photo of a {finish}{shot.colour} {shot.kind} {where}"
    more = [words for words, share in ((light, 0.8), (view, 0.7)) if is_whole or chance.random() < share]
    if len(more) == 2 and chance.random() < 0.3:
        more.reverse()
    return ", ".join([text, *more])


def caption_words() -> list[str]:
    """Return all words of all wordings, sorted."""
    chance = np.random.default_rng(0)
    vocabulary = {word for shot in shots(4000, seed=0, pairs="all") for word in _split(caption(shot, chance))}
    return sorted(vocabulary)


def _split(text: str) -> list[str]:
    return text.replace(",", " , ").split()
