"""ControlNets: images that follow a map of edges, depth or a pose.

Edges are computed here with OpenCV's Canny, from the start image or else the reference photo; every map may also be
given. Depth and pose would need models that we do not run, so they come as finished maps.
Product: the ControlNets of diffusers 0.42 (https://huggingface.co/docs/diffusers/using-diffusers/controlnet).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from PIL import Image, ImageOps

from generation.engines import canvas
from generation.engines.base import CONTROL, Context, EngineError, ErrorKind, Pixels, Spec
from generation.engines.canvas import Canvas
from generation.engines.diffusers.equipment import Equipment

if TYPE_CHECKING:
    from generation.engines.diffusers.pipelines import LoadedPipeline
    from generation.engines.diffusers.recipes import Pass

#: Canny's thresholds, of gradients 0 … 255: the lower continues an edge, the upper starts one.
EDGES: Final = (60, 160)


def read(spec: Spec, settings: Mapping[str, Any], start: Canvas | None, context: Context) -> Pixels:
    """Return the control map of one job, height × width × 3. Raises EngineError of kind INPUT."""
    size = (spec.width, spec.height)
    if CONTROL in spec.images:
        given = canvas.open_opaque(context.load(spec.images[CONTROL]), "control map")
        return np.asarray(ImageOps.fit(given, size, Image.Resampling.BILINEAR), dtype=np.uint8)
    if start is not None:
        return edges(start.init)
    photo = canvas.open_opaque(context.load(spec.images["photo"]), "reference photo")
    return edges(np.asarray(ImageOps.fit(photo, size, Image.Resampling.LANCZOS), dtype=np.uint8))


def edges(image: Pixels) -> Pixels:
    """Return the edges of an sRGB image as white lines on black, height × width × 3."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    return np.ascontiguousarray(cv2.merge([cv2.Canny(grey, *EDGES)] * 3), dtype=np.uint8)


def pipe(loaded: LoadedPipeline, kind: str, name: str, equipment: Equipment) -> Any:
    """Return the pipeline of a kind of job with the ControlNet `name`; loads it once. Raises EngineError (INPUT)."""
    import diffusers

    from generation.engines.diffusers import pipelines

    if (kind, name) not in loaded.controlled:
        if name not in loaded.controlnets:
            loaded.controlnets[name] = _load(loaded, name, equipment.controlnets[name])
        pipeline_class = getattr(diffusers, loaded.family.pipeline_class_of(kind, controlled=True))
        network = loaded.controlnets[name]
        loaded.controlled[kind, name] = pipelines.build_from_components(loaded.text, pipeline_class, controlnet=network)
    return loaded.controlled[kind, name]


def arguments(pipe: Any, pass_: Pass, maps: Sequence[Pixels], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pipeline's arguments for the maps of a batch. U-Net pipelines name a text job's map "image"."""
    import torch

    size = (pass_.width, pass_.height)
    sized = [np.asarray(cv2.resize(control_map, size, interpolation=cv2.INTER_AREA)) for control_map in maps]
    tensor = torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float() / 255
    return {
        "image" if pass_.kind == "text" and hasattr(pipe, "unet") else "control_image": tensor,
        "controlnet_conditioning_scale": float(settings["control_strength"]),
        "control_guidance_start": float(settings["control_start"]),
        "control_guidance_end": float(settings["control_end"]),
    }


def _load(loaded: LoadedPipeline, name: str, path: Path) -> Any:
    import diffusers
    import torch

    family = loaded.family
    try:
        class_name = json.loads((path / "config.json").read_text()).get("_class_name", "")
        if class_name != family.controlnet:
            raise ValueError(f"it is a {class_name or 'model without a class'}, and needs to be a {family.controlnet}")
        network = getattr(diffusers, class_name).from_pretrained(path, dtype=getattr(torch, loaded.dtype))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _misfit_error(name, loaded, str(error)) from error
    width = getattr(network.config, "cross_attention_dim", None)
    if width is not None and width != loaded.text.unet.config.cross_attention_dim:
        raise _misfit_error(name, loaded, f"it reads texts of width {width}")
    return network.to(loaded.device)


def _misfit_error(name: str, loaded: LoadedPipeline, log: str) -> EngineError:
    text = f"The ControlNet {name!r} does not fit this model, which is {loaded.family.title}: {log}"
    return EngineError(ErrorKind.INPUT, text[:500], log=log[:2000])
