"""Render catalogue photos: ray-marched ceramic shapes in a small studio. The same arguments give the same pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from examples.render import native
from examples.render.camera import Camera, aim
from examples.render.curves import Form, Lathe, Tube
from examples.render.looks import LIGHTS, PARTS, VIEWS, Look, Surroundings, glaze, linear
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
    surroundings: Surroundings | None = None,
    is_empty: bool = False,
    turned: tuple[float, float] = (0.0, 0.0),
    threads: int = 0,
    effort: RenderQuality | None = None,
    **glaze_changes: Any,
) -> NDArray[np.uint8]:
    """Return one photo, size × size × 3, sRGB uint8; with_alpha gives × 4: straight colour and the product's coverage.

    kind: a key of KINDS; colour, background, inside (the glaze inside, default the same): "#rrggbb";
    light, view: keys of LIGHTS and VIEWS. An unknown name raises ValueError that lists the known ones.
    surroundings replace background and vignette. is_empty: framed for the product, but without it.
    turned: degrees added to the camera's height and turn. threads: 0 is one per core. effort: FINE by default.
    """
    form, hull = _build_form(kind, variant)
    body = glaze(material, colour, **glaze_changes)
    looks = {**PARTS, "body": body, "inside": glaze(material, inside or colour, **{**glaze_changes, "dip": 0.0})}
    pitch, turn = _look_up_option("view", view, VIEWS)
    pitch, turn = form.pitch + pitch + turned[0], form.turn + turn + turned[1]
    camera = aim(hull, pitch=max(2.0, min(pitch, 84)), turn=turn, fill=fill)
    around = surroundings or Surroundings(background, vignette=vignette)
    if is_empty:
        form, hull = Form([]), np.zeros((1, 3))
    scene = _Scene(form, hull, looks, camera, size, around, _look_up_option("light", light, LIGHTS), effort or FINE)
    pixels = _trace(scene, size, threads)
    colours = _develop(pixels[..., :3])
    if not with_alpha:
        return colours
    return np.dstack([colours, np.round(pixels[..., 3] * 255).astype(np.uint8)])


def _look_up_option(what: str, name: str, table: Mapping[str, Any]) -> Any:
    if name not in table:
        raise ValueError(f"There is no {what} {name!r}; known are {', '.join(table)}.")
    return table[name]


def _develop(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert linear light to sRGB, with a soft shoulder above 0.8 so that highlights keep their shape."""
    knee, top = 0.80, 1.0
    over = np.maximum(light - knee, 0)
    room = top - knee
    shown = np.minimum(light, knee) + room * (1 - np.exp(-over / room))
    shown = np.clip(shown, 0, 1)
    encoded = np.where(shown <= 0.0031308, shown * 12.92, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.ascontiguousarray(np.round(encoded * 255).astype(np.uint8))


@dataclass(frozen=True)
class RenderQuality:
    """The quality of a rendering, as upper limits: directions of soft light, spots of the main light, samples for a
    pixel on an edge, and the contrast from which two neighbours are an edge."""

    cones: int = 40
    spots: int = 7
    samples: int = 8
    contrast: float = 0.05


FINE = RenderQuality()
#: For many small images of at most 256 pixels.
QUICK = RenderQuality(cones=10, spots=2, samples=3, contrast=0.2)


@lru_cache(maxsize=64)
def _build_form(kind: str, variant: int) -> tuple[Form, NDArray[np.float64]]:
    """Return the form, and points on the hull of all its parts, n × 3, for framing."""
    form: Form = _look_up_option("kind", kind, KINDS)(variant)
    return form, np.concatenate([_hull(part) for part in form.parts])


def _hull(part: Lathe | Tube) -> NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    if isinstance(part, Lathe):
        x, y, half = np.concatenate(part.strokes).T
        outline = cv2.convexHull(np.stack([np.abs(x) + half, y + half], 1))[:, 0].astype(np.float64)
        return np.concatenate([outline[:, [0, 1, 0]] * (np.cos(a), 1, np.sin(a)) for a in turn])
    x, y, half = part.curve.astype(np.float64).T
    keep = (x - part.cut[0]) * part.cut[2] + (y - part.cut[1]) * part.cut[3] <= half
    moved_points = []
    for dx, dy, dz in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
        moved = np.stack([x + dx * half, y + dy * half, dz * half * part.flatten], 1)
        moved_points.append(moved[keep] if any(part.cut) else moved)
    return np.concatenate(moved_points)


def _bounding_ball(points: NDArray[np.float64]) -> list[float]:
    """Return the centre and radius of a ball around the points."""
    centre = (points.min(0) + points.max(0)) / 2
    return [*map(float, centre), float(np.linalg.norm(points - centre, axis=1).max())]


@dataclass
class _Scene:
    """The C structures of one image; keeps alive everything that they point to."""

    form: Form
    hull: NDArray[np.float64]
    looks: Mapping[str, Look]
    camera: Camera
    size: int
    around: Surroundings
    light: Any
    effort: RenderQuality
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
        scene.box = [*map(float, self.hull.min(0)), *map(float, self.hull.max(0))]
        scene.ball = _bounding_ball(self.hull)
        scene.backdrop, scene.vignette = list(linear(self.around.backdrop)), self.around.vignette
        scene.table, scene.wall, scene.panes = self.around.table, list(linear(self.around.wall)), self.around.panes
        ahead = np.array([self.camera.forward[0], 0.0, self.camera.forward[2]])
        scene.back = [float(x) for x in ahead / np.linalg.norm(ahead)]
        scene.wall_at, scene.grain = self.around.wall_at, self.around.grain
        left, up = np.radians(self.light.left), np.radians(self.light.up)
        scene.key = [float(-np.sin(left) * np.cos(up)), float(np.sin(up)), float(np.cos(left) * np.cos(up))]
        scene.key_size, scene.key_share, scene.exposure = self.light.size, self.light.share, 1.04
        for name, value in vars(self.effort).items():
            setattr(scene, name, value)
        scene.open_light = library.open_floor(scene)
        self.kept += [materials, parts]
        self.pointer = scene

    def _part(self, ffi: Any, library: Any, part: Lathe | Tube, names: list[str]) -> Any:
        made = ffi.new("Part *")
        strokes = part.strokes if isinstance(part, Lathe) else [part.curve]
        mode = 2 if isinstance(part, Tube) else int(part.solid)
        grids, low, nx, ny = _grids(tuple(stroke.tobytes() for stroke in strokes), mode)
        views = [ffi.cast("float *", grid.ctypes.data) for grid in grids]
        made.type, made.nx, made.ny = int(isinstance(part, Tube)), nx, ny
        made.x0, made.y0, made.inv = low[0], low[1], 1 / GRID_STEP
        made.dist, made.aux, made.along = views
        made.ball = _bounding_ball(_hull(part))
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


@lru_cache(maxsize=256)
def _grids(strokes: tuple[bytes, ...], mode: int) -> tuple[list[Any], tuple[float, float], int, int]:
    """Return the three grids of a part (scene.h), their corner and their cells; mode as build_grid's `solid`."""
    ffi, library = native.load()
    curves = [np.frombuffer(stroke, dtype=np.float32).reshape(-1, 3) for stroke in strokes]
    points = np.ascontiguousarray(np.concatenate(curves))
    starts = np.cumsum([0, *(len(curve) for curve in curves)]).astype(np.int32)
    reach = float(points[:, 2].max()) + MARGIN
    left = float(points[:, 0].min()) - reach if mode == 2 else 0.0
    low = (left, float(points[:, 1].min()) - reach)
    high = (float(points[:, 0].max()) + reach, float(points[:, 1].max()) + reach)
    nx, ny = (int((b - a) / GRID_STEP) + 2 for a, b in zip(low, high, strict=True))
    grids = [np.zeros(nx * ny, dtype=np.float32) for _ in range(3)]
    library.build_grid(
        *(ffi.cast("float *", grid.ctypes.data) for grid in grids), nx, ny, *low, GRID_STEP,
        ffi.cast("float *", points.ctypes.data), ffi.cast("int *", starts.ctypes.data), len(curves), mode,
    )  # fmt: skip
    return grids, low, nx, ny


def _material(look: Look) -> dict[str, Any]:
    """Return a Look as the fields of Material."""
    fields: dict[str, Any] = {
        name: getattr(look, name)
        for name in ("look", "gloss", "speckle", "dip", "rim", "mottle", "ridges", "over", "glow")
    }
    fields.update(zip("rgb", linear(look.colour), strict=True))
    fields.update(zip(("clay_r", "clay_g", "clay_b"), linear(look.clay), strict=True))
    fields.update(zip(("over_r", "over_g", "over_b"), linear(look.over_colour), strict=True))
    return fields


def _trace(scene: _Scene, size: int, threads: int) -> NDArray[np.float32]:
    """Return size × size × 4 linear floats. Bands of rows run in threads, because the C code releases the GIL."""
    ffi, library = native.load()
    floor_size = size // FLOOR_STEP + 2
    floor = np.zeros((floor_size, floor_size, 3), dtype=np.float32)
    rough, light, fine = (np.zeros((size, size, 4), dtype=np.float32) for _ in range(3))
    ids = np.zeros((size, size), dtype=np.int32)
    f, r, li, out = (ffi.cast("float *", grid.ctypes.data) for grid in (floor, rough, light, fine))
    numbers = ffi.cast("int *", ids.ctypes.data)
    with ThreadPoolExecutor(max_workers=threads or os.cpu_count() or 1) as pool:
        list(pool.map(lambda band: library.floor_pass(scene.pointer, *band, f), _bands(floor_size)))
        list(pool.map(lambda band: library.first_pass(scene.pointer, *band, f, r, li, numbers), _bands(size)))
        list(pool.map(lambda band: library.refine_edges(scene.pointer, *band, f, r, li, numbers, out), _bands(size)))
    return fine


def _bands(rows: int) -> list[tuple[int, int]]:
    return [(top, min(top + 16, rows)) for top in range(0, rows, 16)]
