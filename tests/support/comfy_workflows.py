"""Workflows in API format, as ComfyUI exports them, with their marks."""

from __future__ import annotations

from typing import Any


def text_to_image(**sampler: Any) -> dict[str, Any]:
    """Return the default workflow of ComfyUI."""
    return {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 156680208700286, "steps": 2, "cfg": 8, "sampler_name": "euler", "scheduler": "normal",
                "denoise": 1, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0],
                "latent_image": ["5", 0], **sampler,
            },
            "_meta": {"title": "KSampler"},
        },
        "4": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "sd15.safetensors"},
            "_meta": {"title": "Load Checkpoint"},
        },
        "5": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 512, "height": 512, "batch_size": 1},
            "_meta": {"title": "Empty Latent Image"},
        },
        "6": {
            "class_type": "CLIPTextEncode",
            "inputs": {"text": "a bottle on a beach", "clip": ["4", 1]},
            "_meta": {"title": "What to show"},
        },
        "7": {
            "class_type": "CLIPTextEncode",
            "inputs": {"text": "text, watermark", "clip": ["4", 1]},
            "_meta": {"title": "What to avoid"},
        },
        "8": {
            "class_type": "VAEDecode",
            "inputs": {"samples": ["3", 0], "vae": ["4", 2]},
            "_meta": {"title": "VAE Decode"},
        },
        "9": {
            "class_type": "SaveImage",
            "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]},
            "_meta": {"title": "Save Image"},
        },
    }  # fmt: skip


def image_to_image() -> dict[str, Any]:
    """Return a workflow from a start image, with a LoRA."""
    graph = text_to_image(denoise=0.5, latent_image=["12", 0], model=["14", 0])
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["14", 1]
    graph["10"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}, "_meta": {"title": "The product"}}
    graph["11"] = {
        "class_type": "ImageScale",
        "inputs": {"image": ["10", 0], "width": 64, "height": 64},
        "_meta": {"title": "Scale"},
    }
    graph["12"] = {
        "class_type": "VAEEncode",
        "inputs": {"pixels": ["11", 0], "vae": ["4", 2]},
        "_meta": {"title": "Encode"},
    }
    graph["14"] = {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["4", 0], "clip": ["4", 1], "lora_name": "glaze.safetensors", "strength_model": 0.8,
            "strength_clip": 0.8,
        },
        "_meta": {"title": "House style"},
    }  # fmt: skip
    del graph["5"]
    return graph


TEXT_MARKS: dict[str, Any] = {
    "prompt": ["6", "text"],
    "negative": ["7", "text"],
    "seed": ["3", "seed"],
    "width": ["5", "width"],
    "height": ["5", "height"],
    "steps": ["3", "steps"],
}
IMAGE_MARKS: dict[str, Any] = {
    "prompt": ["6", "text"],
    "negative": ["7", "text"],
    "seed": ["3", "seed"],
    "width": ["11", "width"],
    "height": ["11", "height"],
    "init": ["10", "image"],
    "strength": ["3", "denoise"],
    "lora_strength": [["14", "strength_model"], ["14", "strength_clip"]],
}


def config(*servers: Any, **more: Any) -> dict[str, Any]:
    """Return an endpoint's config for text to image on these servers."""
    return {
        "servers": [getattr(server, "url", server) + getattr(server, "base", "") for server in servers],
        "workflow": text_to_image(),
        "workflow_name": "bottles",
        "inputs": TEXT_MARKS,
        "poll_seconds": 0.1,
        "settle_seconds": 0.5,
        **more,
    }
