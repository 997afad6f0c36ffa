"""Read a model's family and digest from its files, without loading it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from pathlib import Path

from generation.engines.base import EngineError, ErrorKind
from generation.engines.diffusers.families import BY_CLASS, BY_TENSOR, FAMILIES, GUIDANCE_TENSORS, Family
from generation.engines.diffusers.weight_files import problem_of_file, problem_of_model

SAMPLE_BYTES = 1 << 20
IGNORED_SUFFIXES = frozenset({".md", ".markdown", ".rst", ".pdf", ".png", ".jpg", ".jpeg", ".webp", ".gif"})
"""Without .txt, because a tokenizer's merges are in such a file."""


def family_of(path: Path) -> Family:
    """Read the family from model_index.json or a single file's tensor names. Raises EngineError of kind ENDPOINT."""
    if path.is_dir():
        try:
            class_name = json.loads((path / "model_index.json").read_text())["_class_name"]
        except FileNotFoundError as error:
            message = f"{path} is not a diffusers folder: it has no model_index.json."
            raise EngineError(ErrorKind.ENDPOINT, message) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{path} is not a diffusers folder: its model_index.json names no pipeline."
            raise EngineError(ErrorKind.ENDPOINT, message, log=str(error)) from error
        if class_name not in BY_CLASS:
            supported = ", ".join(BY_CLASS)
            raise EngineError(ErrorKind.ENDPOINT, f"{path.name} is a {class_name}; this engine runs {supported}.")
        folder_family = BY_CLASS[class_name]
        return FAMILIES["flux-schnell"] if folder_family.name == "flux" and not _is_guided(path) else folder_family
    names = tensor_names(path)
    for family in BY_TENSOR:
        if any(mark in name for mark in family.single_file for name in names):
            is_schnell = family.name == "flux" and not any(mark in name for mark in GUIDANCE_TENSORS for name in names)
            return FAMILIES["flux-schnell"] if is_schnell else family
    supported = ", ".join(family.title for family in FAMILIES.values())
    raise EngineError(ErrorKind.ENDPOINT, f"{path.name} holds the weights of none of these: {supported}.")


def _is_guided(path: Path) -> bool:
    """Return whether this FLUX folder takes a guidance value: [dev] does, [schnell] does not."""
    try:
        return bool(json.loads((path / "transformer" / "config.json").read_text()).get("guidance_embeds", False))
    except (OSError, ValueError) as error:
        raise EngineError(ErrorKind.ENDPOINT, f"{path} is not a diffusers folder: {error}") from error


def tensor_names(path: Path) -> set[str]:
    """Return the names in a whole safetensors file's header. Raises EngineError (ENDPOINT) for any other file."""
    if problem := problem_of_file(path):
        raise EngineError(ErrorKind.ENDPOINT, problem)
    return set(json.loads(safetensors_header(path)))


def ensure_complete(path: Path) -> None:
    """Raise EngineError of kind ENDPOINT where files of a model are missing, damaged or something else."""
    if problem := problem_of_model(path):
        raise EngineError(ErrorKind.ENDPOINT, problem)


def safetensors_header(path: Path) -> bytes:
    """Return the JSON header; its length is in the first eight bytes, little endian. Raises OSError, ValueError or
    struct.error."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > 100_000_000:
            raise ValueError("its header is over 100 MB")
        return file.read(length)


def digest(path: Path) -> str:
    """Return a hex digest of every weight file's name, size, header and samples of its content. That tells models apart
    without reading gigabytes while a person waits for a plan. Files for people only are left out, so that a model whose
    card was edited is the same model."""
    whole = hashlib.sha256()
    for file in files_of(path):
        size = file.stat().st_size
        whole.update(f"{file.relative_to(path) if file != path else file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            for part in range(8):
                stream.seek(size * part // 8)
                whole.update(stream.read(SAMPLE_BYTES))
    return whole.hexdigest()[:32]


Signature = tuple[tuple[str, int, int, int, int], ...]
"""For each file, in order: path, size, inode, and when content and inode were last changed."""


def signature(paths: Iterable[Path]) -> Signature:
    """Return the signature of all files below these paths, without reading them; it differs once one was written.

    A path that does not exist has no files. The time of the inode's change shows a file that was written with its old
    date, as `cp -p` does.
    """
    states = []
    for path in paths:
        for file in files_of(path) if path.exists() else ():
            state = file.stat()
            states.append((str(file), state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns))
    return tuple(states)


def files_of(path: Path) -> list[Path]:
    """Return the files that decide what a model draws, in order: those below a folder, or the one file."""
    return sorted(file for file in path.rglob("*") if _is_model_file(file, path)) if path.is_dir() else [path]


def _is_model_file(file: Path, folder: Path) -> bool:
    """Return whether the file can change what the model draws: no model card, licence, image or hidden file."""
    inside = file.relative_to(folder)
    is_read = file.suffix.lower() in IGNORED_SUFFIXES or file.stem.upper() in {"README", "LICENSE", "NOTICE"}
    return file.is_file() and not is_read and not any(part.startswith(".") for part in inside.parts)
