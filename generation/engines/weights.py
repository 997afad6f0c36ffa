"""What a model's files say of themselves: its family and a digest, without loading it."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from generation.engines.base import EngineError, ErrorKind

FAMILIES = {"StableDiffusionPipeline": "sd", "StableDiffusionXLPipeline": "sdxl"}
SAMPLE_BYTES = 1 << 20


def family_of(path: Path) -> str:
    """ "sd" or "sdxl", read from model_index.json or from the tensor names of a single file. Raises EngineError."""
    if path.is_dir():
        try:
            class_name = json.loads((path / "model_index.json").read_text())["_class_name"]
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(ErrorKind.INPUT, f"{path} is not a diffusers folder: {error}") from error
        if class_name not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise EngineError(ErrorKind.INPUT, f"{path.name} is a {class_name}; this engine runs {known}.")
        return FAMILIES[class_name]
    names = _tensor_names(path)
    if any(name.startswith("conditioner.embedders.1.") for name in names):
        return "sdxl"
    if any(name.startswith("cond_stage_model.transformer.") for name in names):
        return "sd"
    raise EngineError(ErrorKind.INPUT, f"{path.name} holds neither Stable Diffusion 1.5 nor SDXL weights.")


def _tensor_names(path: Path) -> set[str]:
    try:
        return set(json.loads(_safetensors_header(path)))
    except (OSError, ValueError, struct.error) as error:
        raise EngineError(ErrorKind.INPUT, f"{path} is not a safetensors file: {error}") from error


def _safetensors_header(path: Path) -> bytes:
    """The JSON header: its length stands in the first eight bytes, little endian."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > 100_000_000:
            raise ValueError("its header is over 100 MB")
        return file.read(length)


def digest(path: Path) -> str:
    """Hex. Over every weight file's name, size, header and samples of its content: enough to tell models apart without
    reading gigabytes while a person waits for a plan."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        whole.update(f"{file.relative_to(path) if file != path else file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            for part in range(8):
                stream.seek(size * part // 8)
                whole.update(stream.read(SAMPLE_BYTES))
    return whole.hexdigest()[:32]
