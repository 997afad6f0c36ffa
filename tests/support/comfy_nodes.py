"""The node classes of the tests' ComfyUI server: their schema in /object_info, and their function.

A latent is a float image; sampling draws it from the seed, the prompt and the start image, if there is one.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.engines import noise_pixels

MOST_SEED = 2**64 - 1
SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m"]
SCHEDULERS = ["normal", "karras", "simple"]


class OutOfMemoryError(Exception):
    """An error with the name that torch uses."""


class Interrupted(Exception):
    """The user stopped the prompt."""


class Machine(Protocol):
    """The part of the server that a node may use."""

    files: dict[str, bytes]
    vram_pixels: int

    def step(self, node_id: str, value: int, most: int) -> None:
        """Finish one step: notify listeners, wait for the time of a step, raise Interrupted if stopped."""

    def graph(self) -> dict[str, Any]:
        """Return the running graph; every saved file contains it."""

    def save(self, folder: str, prefix: str, images: list[bytes]) -> list[dict[str, str]]: ...


@dataclass(frozen=True)
class Node:
    """inputs: (required, optional) as in object_info. run: (machine, node id, values) -> (outputs, what it shows)."""

    outputs: tuple[str, ...]
    required: dict[str, Any]
    run: Callable[..., tuple[tuple[Any, ...], dict[str, Any] | None]]
    optional: dict[str, Any] = field(default_factory=dict)
    is_output: bool = False

    def info(self, name: str) -> dict[str, Any]:
        return {
            "input": {"required": self.required, "optional": self.optional},
            "input_order": {"required": list(self.required), "optional": list(self.optional)},
            "output": list(self.outputs),
            "name": name,
            "display_name": name,
            "output_node": self.is_output,
            "api_node": False,
        }


@dataclass(frozen=True)
class Latent:
    width: int
    height: int
    batch: int
    pixels: NDArray[np.float32] | None = None


def _sample(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], None]:
    latent: Latent = values["latent_image"]
    if latent.width * latent.height > machine.vram_pixels:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nTIPS: use a smaller image")
    steps = int(values["steps"])
    for number in range(1, steps + 1):
        machine.step(node_id, number, steps)
    words = hashlib.sha256(repr((values["positive"], values["negative"], values["model"])).encode()).digest()
    tint = np.frombuffer(words[:3], dtype=np.uint8).astype(np.float32) - 128
    drawn = noise_pixels(int(values["seed"]) % 2**32, latent.width, latent.height).astype(np.float32) + tint / 4
    if latent.pixels is not None:
        share = float(values["denoise"])
        drawn = drawn * share + latent.pixels * (1 - share)
    return (Latent(latent.width, latent.height, latent.batch, drawn),), None


def _decode(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], None]:
    latent: Latent = values["samples"]
    assert latent.pixels is not None
    image = np.clip(latent.pixels, 0, 255).astype(np.uint8)
    return ([np.roll(image, number, axis=1) for number in range(latent.batch)],), None


def _encode(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], None]:
    image = values["pixels"][0]
    return (Latent(image.shape[1], image.shape[0], 1, image[..., :3].astype(np.float32)),), None


def _load(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], None]:
    with Image.open(io.BytesIO(machine.files[f"input/{values['image']}"])) as image:
        whole = np.array(image.convert("RGBA"))
    return ([np.ascontiguousarray(whole[..., :3])], 255 - whole[..., 3]), None


def _scale(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], None]:
    size = (int(values["width"]), int(values["height"]))
    return ([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in values["image"]],), None


def _scale_by(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], None]:
    share = float(values["scale_by"])
    return (
        [cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_CUBIC) for image in values["image"]],
    ), None


def _flat(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], None]:
    colour = [int(values["color"]) >> shift & 255 for shift in (16, 8, 0)]
    shape = (int(values["height"]), int(values["width"]), 3)
    return ([np.full(shape, colour, dtype=np.uint8)] * int(values["batch_size"]),), None


def png(image: NDArray[np.uint8], graph: dict[str, Any] | None = None) -> bytes:
    stream, carried = io.BytesIO(), PngInfo()
    if graph is not None:
        carried.add_text("prompt", json.dumps(graph))
    Image.fromarray(image).save(stream, "PNG", pnginfo=carried, compress_level=1)
    return stream.getvalue()


def _save(folder: str) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    def run(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        prefix = values.get("filename_prefix", "ComfyUI_temp")
        return (), {"images": machine.save(folder, prefix, [png(image, machine.graph()) for image in values["images"]])}

    return run


def _raise(machine: Machine, node_id: str, values: dict[str, Any]) -> tuple[tuple[Any, ...], None]:
    raise type(values["kind"], (Exception,), {})(values["message"])


def _number(kind: str, default: float, low: float, high: float, step: float = 1) -> list[Any]:
    return [kind, {"default": default, "min": low, "max": high, "step": step}]


def classes(checkpoints: list[str], loras: list[str], inputs: list[str]) -> dict[str, Node]:
    """Return all node classes of a server, with the files of its folders."""
    text = ["STRING", {"multiline": True}]
    return {
        "CheckpointLoaderSimple": Node(
            ("MODEL", "CLIP", "VAE"),
            {"ckpt_name": [checkpoints, {}]},
            lambda machine, node_id, values: ((values["ckpt_name"], values["ckpt_name"], values["ckpt_name"]), None),
        ),
        "LoraLoader": Node(
            ("MODEL", "CLIP"),
            {
                "model": ["MODEL", {}],
                "clip": ["CLIP", {}],
                "lora_name": ["COMBO", {"options": loras}],
                "strength_model": _number("FLOAT", 1.0, -100, 100, 0.01),
                "strength_clip": _number("FLOAT", 1.0, -100, 100, 0.01),
            },
            lambda machine, node_id, values: (
                (
                    (values["model"], values["lora_name"], values["strength_model"]),
                    (values["clip"], values["lora_name"]),
                ),
                None,
            ),
        ),
        "CLIPTextEncode": Node(
            ("CONDITIONING",),
            {"text": text, "clip": ["CLIP", {}]},
            lambda machine, node_id, values: ((values["text"], values["clip"]), None),
        ),
        "EmptyLatentImage": Node(
            ("LATENT",),
            {
                "width": _number("INT", 512, 16, 16384, 8),
                "height": _number("INT", 512, 16, 16384, 8),
                "batch_size": _number("INT", 1, 1, 4096),
            },
            lambda machine, node_id, values: (
                (Latent(int(values["width"]), int(values["height"]), int(values["batch_size"])),),
                None,
            ),
        ),
        "EmptyImage": Node(
            ("IMAGE",),
            {
                "width": _number("INT", 512, 1, 16384),
                "height": _number("INT", 512, 1, 16384),
                "batch_size": _number("INT", 1, 1, 4096),
                "color": _number("INT", 0, 0, 0xFFFFFF),
            },
            _flat,
        ),
        "KSampler": Node(
            ("LATENT",),
            {
                "model": ["MODEL", {}],
                "seed": _number("INT", 0, 0, MOST_SEED),
                "steps": _number("INT", 20, 1, 10000),
                "cfg": _number("FLOAT", 8.0, 0.0, 100.0, 0.1),
                "sampler_name": [SAMPLERS, {}],
                "scheduler": [SCHEDULERS, {}],
                "positive": ["CONDITIONING", {}],
                "negative": ["CONDITIONING", {}],
                "latent_image": ["LATENT", {}],
                "denoise": _number("FLOAT", 1.0, 0.0, 1.0, 0.01),
            },
            _sample,
        ),
        "VAEDecode": Node(("IMAGE",), {"samples": ["LATENT", {}], "vae": ["VAE", {}]}, _decode),
        "VAEEncode": Node(("LATENT",), {"pixels": ["IMAGE", {}], "vae": ["VAE", {}]}, _encode),
        "LoadImage": Node(("IMAGE", "MASK"), {"image": [inputs, {"image_upload": True}]}, _load),
        "ImageScale": Node(
            ("IMAGE",),
            {"image": ["IMAGE", {}], "width": _number("INT", 512, 0, 16384), "height": _number("INT", 512, 0, 16384)},
            _scale,
        ),
        "ImageScaleBy": Node(
            ("IMAGE",),
            {
                "image": ["IMAGE", {}],
                "upscale_method": [["lanczos", "area"], {}],
                "scale_by": _number("FLOAT", 1.0, 0.01, 8.0, 0.01),
            },
            _scale_by,
        ),
        "SaveImage": Node(
            (),
            {"images": ["IMAGE", {}], "filename_prefix": ["STRING", {"default": "ComfyUI"}]},
            _save("output"),
            is_output=True,
        ),
        "PreviewImage": Node((), {"images": ["IMAGE", {}]}, _save("temp"), is_output=True),
        "MaskToImage": Node(
            ("IMAGE",),
            {"mask": ["MASK", {}]},
            lambda machine, node_id, values: (([np.dstack([values["mask"]] * 3)],), None),
        ),
        "VAEEncodeForInpaint": Node(
            ("LATENT",),
            {
                "pixels": ["IMAGE", {}],
                "vae": ["VAE", {}],
                "mask": ["MASK", {}],
                "grow_mask_by": _number("INT", 6, 0, 64),
            },
            _encode,
        ),
        "Fails": Node(
            ("IMAGE",),
            {"images": ["IMAGE", {}], "kind": ["STRING", {}], "message": text},
            _raise,
        ),
    }
