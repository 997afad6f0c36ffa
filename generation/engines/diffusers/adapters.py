"""The networks that a loaded pipeline draws with besides its own: LoRAs, ControlNets and an IP-Adapter.

Each is loaded when a batch first needs it, and all pipelines of a model share it. Product: the adapters of diffusers
0.42 (https://huggingface.co/docs/diffusers/using-diffusers/loading_adapters) on PEFT 0.21.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

from generation.engines.base import EngineError, ErrorKind, Pixels
from generation.engines.diffusers.equipment import Adapter, Lora
from generation.engines.diffusers.parameters import Pass
from generation.engines.diffusers.pipelines import LoadedPipeline
from generation.engines.diffusers.weight_files import problem_of_lora

BLANK: Final = np.zeros((8, 8, 3), dtype=np.uint8)


def set_loras(loaded: LoadedPipeline, weights: Mapping[str, float]) -> None:
    """Activate these LoRAs and no others. Raises EngineError that names one that cannot be used."""
    for name in weights:
        if name not in loaded.loras:
            _load_lora(loaded, name, loaded.equipment.loras[name])
    if not loaded.loras or weights == loaded.weights:
        return
    if weights:
        loaded.text.enable_lora()
        loaded.text.set_adapters([loaded.loras[name] for name in weights], list(weights.values()))
    else:
        loaded.text.disable_lora()
    loaded.weights = dict(weights)


def _load_lora(loaded: LoadedPipeline, name: str, lora: Lora) -> None:
    """Load a LoRA under a numbered name, since PEFT allows no dots in names. Raises EngineError: ENDPOINT for a file
    that is missing or no LoRA file, INPUT for a LoRA of another model."""
    if problem := problem_of_lora(lora.path):
        raise EngineError(ErrorKind.ENDPOINT, f"The LoRA {name!r} cannot be used: {problem}")
    pipe, adapter = loaded.text, f"lora_{len(loaded.loras)}"
    folder, file = (lora.path, None) if lora.path.is_dir() else (lora.path.parent, lora.path.name)
    what, advice = f"LoRA {name!r}", "; take one made for it."
    try:
        pipe.load_lora_weights(str(folder), weight_name=file, adapter_name=adapter, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        if _has_adapter(pipe, adapter):  # it fitted in part
            pipe.delete_adapters(adapter)
        raise _misfit_error(loaded, what, advice, str(error)) from error
    if not _has_adapter(pipe, adapter):
        raise _misfit_error(loaded, what, advice, "none of its tensors belongs to a layer of the model")
    loaded.loras[name] = adapter
    loaded.weights = None


def _has_adapter(pipe: Any, adapter: str) -> bool:
    return any(adapter in names for names in pipe.get_list_adapters().values())


def load_controlnet(loaded: LoadedPipeline, name: str) -> None:
    """Load a ControlNet of the endpoint. Raises EngineError of kind INPUT if it does not fit the model."""
    import diffusers
    import torch

    path, expected = loaded.equipment.controlnets[name], loaded.family.controlnet
    try:
        class_name = json.loads((path / "config.json").read_text()).get("_class_name", "")
        if class_name != expected:
            raise ValueError(f"it is a {class_name or 'model without a class'}, and needs to be a {expected}")
        network = getattr(diffusers, class_name).from_pretrained(path, dtype=getattr(torch, loaded.dtype))
        width = getattr(network.config, "cross_attention_dim", None)
        if width is not None and width != loaded.text.unet.config.cross_attention_dim:
            raise ValueError(f"it reads texts of width {width}")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _misfit_error(loaded, f"ControlNet {name!r}", f": {error}", str(error)) from error
    loaded.controlnets[name] = network.to(loaded.device)


def control_arguments(pipe: Any, pass_: Pass, maps: Sequence[Pixels], settings: Mapping[str, Any]) -> dict[str, Any]:
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


def reference_arguments(
    loaded: LoadedPipeline, pipe: Any, images: Sequence[Pixels | None], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a pipeline's arguments for the reference images of a batch: all h × w × 3, or all None. Raises EngineError
    of kind INPUT if the IP-Adapter does not fit the model.

    A loaded adapter needs an image in every job; without one its layers are switched off.
    """
    import torch

    there = [image for image in images if image is not None]
    if there and loaded.equipment.adapter is not None and not loaded.has_adapter:
        _load_adapter(loaded, loaded.equipment.adapter)
    if not loaded.has_adapter:
        return {}
    is_guided = float(settings["guidance"]) > 1
    loaded.text.set_ip_adapter_scale(float(settings["reference_strength"]) if there else 0.0)
    with torch.inference_mode():
        rows = [_embed_image(loaded, image, is_guided=is_guided) for image in there or [BLANK for _ in images]]
    halves = [torch.cat([row[half] for row in rows]) for half in range(len(rows[0]))]
    # The pipelines would use all references for each image, because they repeat them for every prompt, as if there were
    # only one.
    pipe.prepare_ip_adapter_image_embeds = lambda image, embeddings, *others: embeddings
    return {"ip_adapter_image_embeds": [torch.cat(halves)]}


def _embed_image(loaded: LoadedPipeline, image: Pixels, *, is_guided: bool) -> tuple[Any, ...]:
    """Return the embeddings (of nothing, of the image) if guided, else (of the image,); each 1 × 1 × width."""
    whole = type(loaded.text).prepare_ip_adapter_image_embeds(
        loaded.text,
        ip_adapter_image=Image.fromarray(image),
        ip_adapter_image_embeds=None,
        device=loaded.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=is_guided,
    )[0]
    return tuple(whole.chunk(2)) if is_guided else (whole,)


def _load_adapter(loaded: LoadedPipeline, adapter: Adapter) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    pipe = loaded.text
    try:
        encoder = CLIPVisionModelWithProjection.from_pretrained(adapter.encoder, local_files_only=True)
        encoder = encoder.to(loaded.device, pipe.dtype)
        side = encoder.config.image_size
        processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
        pipe.register_modules(image_encoder=encoder, feature_extractor=processor)
        options = {"weight_name": adapter.file, "image_encoder_folder": None, "local_files_only": True}
        pipe.load_ip_adapter(str(adapter.folder), subfolder="", **options)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        pipe.unload_ip_adapter()
        raise _misfit_error(loaded, f"IP-Adapter {adapter.file}", ".", str(error)) from error
    loaded.has_adapter = True


def _misfit_error(loaded: LoadedPipeline, what: str, ending: str, log: str) -> EngineError:
    text = f"The {what} does not fit this model, which is {loaded.family.title}{ending}"
    return EngineError(ErrorKind.INPUT, text[:500], log=log[:2000])
