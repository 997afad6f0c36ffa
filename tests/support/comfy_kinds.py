"""Workflows of many kinds in API format, each built from the default workflow of ComfyUI."""

from __future__ import annotations

from typing import Any

from tests.support import comfy_workflows

Graph = dict[str, Any]


def node(kind: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title or kind}}


def text_to_image(**sampler: Any) -> Graph:
    return comfy_workflows.text_to_image(**sampler)


def image_to_image() -> Graph:
    """Return a workflow that starts from a photo and does not scale it."""
    graph = text_to_image(denoise=0.7, latent_image=["12", 0])
    graph["10"] = node("LoadImage", "The product", image="example.png")
    graph["12"] = node("VAEEncode", pixels=["10", 0], vae=["4", 2])
    del graph["5"]
    return graph


def controlnet(loader: str = "LoadImage") -> Graph:
    graph = text_to_image(positive=["10", 0])
    graph["10"] = node("ControlNetApply", strength=0.9, conditioning=["6", 0], control_net=["12", 0], image=["11", 0])
    graph["11"] = node(loader, "Edges", image="example.png")
    graph["12"] = node("ControlNetLoader", control_net_name="canny.safetensors")
    return graph


def two_encoders() -> Graph:
    """Return SDXL with a refiner: two samplers, each with its own encoders."""
    graph = text_to_image()
    graph["6"] = node(
        "CLIPTextEncodeSDXL", text_g="a bottle", text_l="a bottle", clip=["4", 1], width=1024, height=1024
    )
    graph["7"] = node("CLIPTextEncodeSDXL", text_g="blur", text_l="blur", clip=["4", 1], width=1024, height=1024)
    graph["40"] = node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors")
    graph["41"] = node("CLIPTextEncodeSDXLRefiner", ascore=6, width=1024, height=1024, text="a bottle", clip=["40", 1])
    graph["42"] = node("CLIPTextEncodeSDXLRefiner", ascore=2, width=1024, height=1024, text="blur", clip=["40", 1])
    graph["43"] = node(
        "KSamplerAdvanced", noise_seed=3, positive=["41", 0], negative=["42", 0], latent_image=["3", 0], model=["40", 0]
    )
    graph["8"]["inputs"]["samples"] = ["43", 0]
    return graph


def flux() -> Graph:
    """Return Flux with FluxGuidance over both of its texts, and a sampler made of separate nodes."""
    return {
        "1": node("UNETLoader", unet_name="flux1-dev.safetensors"),
        "2": node("DualCLIPLoader", clip_name1="t5xxl.safetensors", clip_name2="clip_l.safetensors", type="flux"),
        "3": node("CLIPTextEncodeFlux", clip_l="a bottle", t5xxl="a bottle on a beach", guidance=3.5, clip=["2", 0]),
        "4": node("FluxGuidance", guidance=3.5, conditioning=["3", 0]),
        "5": node("BasicGuider", model=["1", 0], conditioning=["4", 0]),
        "6": node("RandomNoise", noise_seed=7),
        "7": node("EmptySD3LatentImage", width=1024, height=1024, batch_size=1),
        "8": node("SamplerCustomAdvanced", noise=["6", 0], guider=["5", 0], latent_image=["7", 0]),
        "9": node("SaveImage", filename_prefix="flux", images=["8", 0]),
    }


def ip_adapter() -> Graph:
    """Return a workflow with two images: the product and a style."""
    graph = text_to_image(model=["20", 0])
    graph["20"] = node("IPAdapterAdvanced", model=["4", 0], image=["21", 0], image_style=["22", 0], weight=0.8)
    graph["21"] = node("LoadImage", "Product", image="mug.png")
    graph["22"] = node("LoadImage", "Style", image="house-style.png")
    return graph


def inpaint(encode: str = "VAEEncodeForInpaint") -> Graph:
    """Return a workflow whose mask is the transparency of its only image."""
    graph = text_to_image(latent_image=["26", 0])
    graph["20"] = node("LoadImage", "Mug with its mask", image="clipspace-masked.png")
    if encode == "VAEEncodeForInpaint":
        graph["26"] = node(encode, grow_mask_by=6, pixels=["20", 0], vae=["4", 2], mask=["20", 1])
    elif encode == "SetLatentNoiseMask":
        graph["25"] = node("VAEEncode", pixels=["20", 0], vae=["4", 2])
        graph["26"] = node(encode, samples=["25", 0], mask=["20", 1])
    elif encode == "InpaintModelConditioning":
        graph["25"] = node(
            encode,
            positive=["6", 0],
            negative=["7", 0],
            vae=["4", 2],
            pixels=["20", 0],
            mask=["24", 0],
            noise_mask=True,
        )
        graph["24"] = node("GrowMask", expand=4, mask=["20", 1])
        graph["3"]["inputs"] |= {"positive": ["25", 0], "negative": ["25", 1], "latent_image": ["25", 2]}
    del graph["5"]
    return graph


def upscale() -> Graph:
    """Return a workflow that makes an image twice as large as requested."""
    return {
        "1": node("LoadImage", "Product", image="example.png"),
        "2": node("ImageScale", upscale_method="lanczos", width=512, height=512, crop="center", image=["1", 0]),
        "4": node("ImageScaleBy", "2x", upscale_method="lanczos", scale_by=2.0, image=["2", 0]),
        "3": node("SaveImage", filename_prefix="x", images=["4", 0]),
    }


def node_pack() -> Graph:
    """Return a workflow with nodes of a node pack: a loader that holds both prompts, and a sampler."""
    return {
        "1": node(
            "Efficient Loader", ckpt_name="sdxl.safetensors", positive="a bottle", negative="blur",
            empty_latent_width=1024, empty_latent_height=1024, batch_size=1,
        ),
        "2": node(
            "KSampler (Efficient)", seed=4, steps=20, cfg=7.0, denoise=1.0, model=["1", 0], positive=["1", 1],
            negative=["1", 2], latent_image=["1", 3],
        ),
        "3": node("SaveImage", filename_prefix="pack", images=["2", 5]),
    }  # fmt: skip


def image_service() -> Graph:
    """Return a workflow with a node that lets a service make the image."""
    return {
        "1": node("OpenAIGPTImage1", prompt="a bottle on a beach", seed=0, quality="low", image=["2", 0]),
        "2": node("LoadImage", "Product", image="example.png"),
        "3": node("SaveImage", filename_prefix="service", images=["1", 0]),
    }


def subgraph() -> Graph:
    """Return a workflow with nodes inside a subgraph: their ids begin with the id of the subgraph."""
    inside = {"3": "57:3", "4": "57:4", "6": "57:6", "7": "57:7"}
    graph = {inside.get(node_id, node_id): entry for node_id, entry in text_to_image().items()}
    for entry in graph.values():
        for name, value in entry["inputs"].items():
            if isinstance(value, list):
                entry["inputs"][name] = [inside.get(value[0], value[0]), value[1]]
    return graph


ALL = {
    "text to image": text_to_image,
    "image to image": image_to_image,
    "ControlNet": controlnet,
    "SDXL with two encoders": two_encoders,
    "Flux": flux,
    "IP-Adapter": ip_adapter,
    "inpainting": inpaint,
    "upscaling": upscale,
    "node pack": node_pack,
    "image service": image_service,
    "subgraph": subgraph,
}
