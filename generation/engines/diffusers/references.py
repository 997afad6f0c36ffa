"""Reference images, which the new image shall resemble, through an IP-Adapter.

Product: the IP-Adapters of diffusers 0.42 (https://huggingface.co/docs/diffusers/using-diffusers/ip_adapter), Ye et al.
2023. A loaded adapter needs an image in every job; without one its layers are switched off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from generation.engines.base import EngineError, ErrorKind, Pixels
from generation.engines.diffusers.equipment import Adapter, Equipment

if TYPE_CHECKING:
    import torch

    from generation.engines.diffusers.pipelines import LoadedPipeline

BLANK: Final = np.zeros((8, 8, 3), dtype=np.uint8)


def arguments(
    loaded: LoadedPipeline, equipment: Equipment, images: Sequence[Pixels | None], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a pipeline's arguments for the reference images of a batch: all h × w × 3, or all None. Raises EngineError
    of kind INPUT if the adapter does not fit the model."""
    import torch

    there = [image for image in images if image is not None]
    if there and equipment.adapter is not None and not loaded.has_adapter:
        _load_adapter(loaded, equipment.adapter)
    if not loaded.has_adapter:
        return {}
    is_guided = float(settings["guidance"]) > 1
    loaded.text.set_ip_adapter_scale(float(settings["reference_strength"]) if there else 0.0)
    shown = there or [BLANK for _ in images]
    with torch.inference_mode():
        rows = [_embedding(loaded, image, is_guided=is_guided) for image in shown]
    halves = [torch.cat([row[half] for row in rows]) for half in range(len(rows[0]))]
    return {"ip_adapter_image_embeds": [torch.cat(halves)]}


@contextmanager
def own_reference_per_image(pipe: Any, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Give every image of a batch its own reference while the context lasts. The pipelines would use all references for
    each image, because they repeat them for every prompt, as if there were only one."""
    if "ip_adapter_image_embeds" not in arguments:
        yield
        return
    pipe.prepare_ip_adapter_image_embeds = lambda *args, **named: arguments["ip_adapter_image_embeds"]
    try:
        yield
    finally:
        del pipe.prepare_ip_adapter_image_embeds


def _embedding(loaded: LoadedPipeline, image: Pixels, *, is_guided: bool) -> tuple[torch.Tensor, ...]:
    """Return the embeddings (of nothing, of the image) if guided, else (of the image,); each 1 × 1 × width."""
    whole = loaded.text.prepare_ip_adapter_image_embeds(
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
        text = f"The IP-Adapter {adapter.file} does not fit this model, which is {loaded.family.title}."
        raise EngineError(ErrorKind.INPUT, text, log=str(error)[:2000]) from error
    loaded.has_adapter = True
