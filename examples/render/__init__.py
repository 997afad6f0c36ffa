"""Makes catalogue photos: ray-marched ceramic shapes in a small studio. Same arguments, same pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.render import native
from examples.render.camera import Camera, aim
from examples.render.curves import Form, Lathe, Tube
from examples.render.looks import LIGHTS, PARTS, VIEWS, Look, glaze, linear
from examples.render.shapes import KINDS

GRID_STEP = 1 / 480
FLOOR_STEP = 2  # as in scene.c
MARGIN = 0.06


def render(
    kind: str,
    colour: str,
    *,
    size: int = 1024,
    material: str = "stoneware",
    variant: int = 0,
    background: str = "#ecebe8",
    light: str = "soft left",
    view: str = "front",
    inside: str = "",
    fill: float = 0.70,
    vignette: float = 0.06,
    with_alpha: bool = False,
    **glaze_changes: Any,
) -> NDArray[np.uint8]:
    """One photo, size × size × 3, sRGB uint8; with_alpha gives × 4: straight colour and the product's true coverage.

    kind: a key of KINDS; colour, background, inside (the glaze inside, default the same): "#rrggbb";
    light, view: keys of LIGHTS and VIEWS. An unknown name raises ValueError that lists the known ones.
    """
    form = _known("kind", kind, KINDS)(variant)
    body = glaze(material, colour, **glaze_changes)
    looks = {**PARTS, "body": body, "inside": glaze(material, inside or colour, **{**glaze_changes, "dip": 0.0})}
    pitch, turn = _known("view", view, VIEWS)
    camera = aim(_points(form), pitch=min(form.pitch + pitch, 84), turn=form.turn + turn, fill=fill)
    scene = _Scene(form, looks, camera, size, background, _known("light", light, LIGHTS), vignette)
    pixels = _trace(scene, size)
    colours = _develop(pixels[..., :3])
    if not with_alpha:
        return colours
    return np.dstack([colours, np.round(pixels[..., 3] * 255).astype(np.uint8)])


def _known(what: str, name: str, table: Mapping[str, Any]) -> Any:
    if name not in table:
        raise ValueError(f"There is no {what} {name!r}; known are {', '.join(table)}.")
    return table[name]


def _develop(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Linear light to sRGB, with a soft shoulder above 0.8 so that highlights keep their shape."""
    knee, top = 0.80, 1.0
    over = np.maximum(light - knee, 0)
    room = top - knee
    shown = np.minimum(light, knee) + room * (1 - np.exp(-over / room))
    shown = np.clip(shown, 0, 1)
    encoded = np.where(shown <= 0.0031308, shown * 12.92, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.ascontiguousarray(np.round(encoded * 255).astype(np.uint8))


def _points(form: Form) -> NDArray[np.float64]:
    """Points on the hull of everything, for framing."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    found = []
    for part in form.parts:
        if isinstance(part, Lathe):
            for stroke in part.strokes:
                x, y, half = (stroke[:, k].astype(np.float64) for k in range(3))
                r = np.abs(x) + half
                found += [np.stack([r * np.cos(a), y + half, r * np.sin(a)], 1) for a in turn]
        else:
            x, y, half = (part.curve[:, k].astype(np.float64) for k in range(3))
            keep = (x - part.cut[0]) * part.cut[2] + (y - part.cut[1]) * part.cut[3] <= half
            for dx, dy, dz in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
                moved = np.stack([x + dx * half, y + dy * half, dz * half * part.flatten], 1)
                found.append(moved[keep] if any(part.cut) else moved)
    return np.concatenate(found)


@dataclass
class _Scene:
    """The C structures of one picture; keeps everything alive that they point at."""

    form: Form
    looks: Mapping[str, Look]
    camera: Camera
    size: int
    background: str
    light: Any
    vignette: float
    kept: list[Any] = field(default_factory=list)
    pointer: Any = None

    def __post_init__(self) -> None:
        ffi, library = native.load()
        names = list(self.looks)
        materials = ffi.new("Material[]", [_material(look) for look in self.looks.values()])
        parts = ffi.new("Part[]", len(self.form.parts))
        for at, part in enumerate(self.form.parts):
            parts[at] = self._part(ffi, library, part, names)[0]
        scene = ffi.new("Scene *")
        scene.width = scene.height = self.size
        scene.part_count, scene.parts, scene.materials = len(self.form.parts), parts, materials
        for name in ("eye", "right", "up", "forward"):
            setattr(scene, name, [float(x) for x in getattr(self.camera, name)])
        scene.tangent = self.camera.tangent
        scene.shift_x, scene.shift_y = self.camera.shift
        points = _points(self.form)
        low, high = points.min(0), points.max(0)
        scene.box = [*(float(x) for x in low), *(float(x) for x in high)]
        scene.ball = [
            *(float(x) for x in (low + high) / 2),
            float(np.linalg.norm(points - (low + high) / 2, axis=1).max()),
        ]
        scene.backdrop, scene.vignette = list(linear(self.background)), self.vignette
        left, up = np.radians(self.light.left), np.radians(self.light.up)
        scene.key = [float(-np.sin(left) * np.cos(up)), float(np.sin(up)), float(np.cos(left) * np.cos(up))]
        scene.key_size, scene.key_share, scene.exposure = self.light.size, self.light.share, 1.04
        scene.open_light = library.open_floor(scene)
        self.kept += [materials, parts]
        self.pointer = scene

    def _part(self, ffi: Any, library: Any, part: Lathe | Tube, names: list[str]) -> Any:
        made = ffi.new("Part *")
        strokes = part.strokes if isinstance(part, Lathe) else [part.curve]
        points = np.concatenate(strokes)
        starts = np.cumsum([0, *(len(stroke) for stroke in strokes)]).astype(np.int32)
        reach = float(points[:, 2].max()) + MARGIN
        low = (0.0 if isinstance(part, Lathe) else float(points[:, 0].min()) - reach, float(points[:, 1].min()) - reach)
        high = (float(points[:, 0].max()) + reach, float(points[:, 1].max()) + reach)
        nx, ny = (int((b - a) / GRID_STEP) + 2 for a, b in zip(low, high, strict=True))
        grids = [np.zeros(nx * ny, dtype=np.float32) for _ in range(3)]
        flat = np.ascontiguousarray(points, dtype=np.float32)
        mode = 2 if isinstance(part, Tube) else int(part.solid)
        views = [ffi.cast("float *", grid.ctypes.data) for grid in grids]
        library.build_grid(
            *views,
            nx,
            ny,
            low[0],
            low[1],
            GRID_STEP,
            ffi.cast("float *", flat.ctypes.data),
            ffi.cast("int *", starts.ctypes.data),
            len(strokes),
            mode,
        )
        made.type, made.nx, made.ny = int(isinstance(part, Tube)), nx, ny
        made.x0, made.y0, made.inv = low[0], low[1], 1 / GRID_STEP
        made.dist, made.aux, made.along = views
        made.material, made.blend = names.index(part.material), part.blend
        if isinstance(part, Lathe):
            made.solid = int(part.solid)
            made.inner = names.index(part.material if part.solid else part.inner)
            made.flutes, made.flute_depth = part.flutes, part.flute_depth
            made.flute_lo, made.flute_hi = part.flute_range
        else:
            made.inner, made.clip = made.material, int(part.clip)
            made.flatten, made.shell = part.flatten, part.wall
            made.cut_x, made.cut_y, made.cut_nx, made.cut_ny = part.cut
        self.kept += [grids, made]
        return made


def _material(look: Look) -> dict[str, Any]:
    """A Look as the fields of Material."""
    fields: dict[str, Any] = {
        name: getattr(look, name)
        for name in ("look", "gloss", "speckle", "dip", "rim", "mottle", "ridges", "over", "glow")
    }
    fields.update(zip("rgb", linear(look.colour), strict=True))
    fields.update(zip(("clay_r", "clay_g", "clay_b"), linear(look.clay), strict=True))
    fields.update(zip(("over_r", "over_g", "over_b"), linear(look.over_colour), strict=True))
    return fields


def _trace(scene: _Scene, size: int) -> NDArray[np.float32]:
    """size × size × 4 linear floats. Bands of rows run in threads: the C code does not hold the interpreter lock."""
    ffi, library = native.load()
    floor_size = size // FLOOR_STEP + 2
    floor = np.zeros((floor_size, floor_size, 3), dtype=np.float32)
    rough, light, fine = (np.zeros((size, size, 4), dtype=np.float32) for _ in range(3))
    ids = np.zeros((size, size), dtype=np.int32)
    f, r, li, out = (ffi.cast("float *", grid.ctypes.data) for grid in (floor, rough, light, fine))
    numbers = ffi.cast("int *", ids.ctypes.data)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        list(pool.map(lambda band: library.floor_pass(scene.pointer, *band, f), _bands(floor_size)))
        list(pool.map(lambda band: library.first_pass(scene.pointer, *band, f, r, li, numbers), _bands(size)))
        list(pool.map(lambda band: library.refine_edges(scene.pointer, *band, f, r, li, numbers, out), _bands(size)))
    return fine


def _bands(rows: int) -> list[tuple[int, int]]:
    return [(top, min(top + 16, rows)) for top in range(0, rows, 16)]
