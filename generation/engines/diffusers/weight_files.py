"""A model's files: what is wrong with them, their tensors and their digest, without loading weights.

A download that failed often leaves something else under the name of the weights: a Git LFS pointer, a sign-in page, an
empty or truncated file. Format: https://huggingface.co/docs/safetensors (eight bytes of length, little endian; a JSON
header of that length; the tensors without gaps). Folders: model_index.json names the components, and a
`*.safetensors.index.json` the files that one component is split into.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, Final

from generation.engines.base import EngineError, ErrorKind

HEAD_BYTES: Final = 4096
MAX_HEADER_BYTES: Final = 100_000_000
"""The limit of the safetensors library."""
ADVICE: Final = "Download it again."
SAFETENSORS_ONLY: Final = (
    "which can run code when it is opened. Use the model's .safetensors file, or convert it to safetensors."
)
A_PICKLE: Final = f"a pickle (.ckpt, .bin or .pt), not a safetensors file, {SAFETENSORS_ONLY}"
ELEMENT_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
FORMATS: Final = {
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF file",
}
COMPONENT_FILES: Final = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""File names of a network's weights, by library."""
PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
NOT_NEEDED: Final = frozenset({"safety_checker"})
"""Components that the engine leaves out unless an endpoint asks for them."""
IGNORED_SUFFIXES: Final = frozenset({".md", ".markdown", ".rst", ".pdf", ".png", ".jpg", ".jpeg", ".webp", ".gif"})
"""Files for people only. Without .txt, because a tokenizer's merges are in such a file."""
SAMPLE_BYTES: Final = 1 << 20
TOKENIZERS: Final = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


def problem_of_file(path: Path) -> str:
    """Return a sentence about what `path` is instead of a whole safetensors file; "" if it is one."""
    try:
        state = path.stat()
        if path.is_dir():
            return f"{path.name} is a folder, not a safetensors file."
        return _problem_of_content(path, state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    except FileNotFoundError:
        return f"{path.name} is missing: there is no file {path}."
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or 'the disk refuses it'}. Check its permissions and disk."


@lru_cache(maxsize=1024)
def _problem_of_content(path: Path, size: int, *state: int) -> str:
    """`problem_of_file`, cached until the file is written again, because planning asks for every image."""
    if not size:
        return f"{path.name} is empty (0 bytes). {ADVICE}"
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return _other_format(path, head) or _header_problem(path, size)


def problem_of_lora(path: Path) -> str:
    """Return a sentence about what is wrong with a LoRA, a file or a folder with one; "" if nothing is."""
    if not path.is_dir():
        return problem_of_file(path)
    if not (files := sorted(path.glob("*.safetensors"))):
        return _no_weights(path, f"The folder {path.name}", "a .safetensors file")
    return next(filter(None, map(problem_of_file, files)), "")


def problem_of_model(path: Path) -> str:
    """Return a sentence about what is wrong with a model: one file, a folder of components (with a model_index.json),
    or the folder of one network; "" if nothing is."""
    if not path.is_dir():
        return problem_of_file(path)
    index = path / "model_index.json"
    if not index.exists():
        settings = _json_object(path / "config.json") or {}
        return _component_problem(path, path.name, "diffusers" if "_class_name" in settings else "transformers")
    if (components := _json_object(index)) is None:
        return f"{index.name} in {path.name} is not a JSON object. {ADVICE}"
    problems = (
        _component_problem(path / name, f"{path.name}/{name}", str(value[0]), str(value[1]))
        for name, value in components.items()
        if isinstance(value, list) and len(value) == 2 and value[0] and name not in NOT_NEEDED
    )
    return next(filter(None, problems), "")


def _other_format(path: Path, head: bytes) -> str:
    """Return a sentence about a file of a known format that is not safetensors; "" if it may be safetensors."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = start[:200].lower()
    if start.startswith(b"version https://git-lfs") or b"\noid sha256:" in head[:400]:
        size = re.search(rb"\nsize (\d+)", head)
        of_size = f" (of {_size(int(size[1]))})" if size else ""
        return (
            f"{path.name} is a Git LFS pointer, not the file itself{of_size}. Run `git lfs pull`, or download the file."
        )
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<script", b"<!--")):
        return (
            f"{path.name} is a web page (HTML), not a safetensors file: often a sign-in or error page that was "
            f"saved in its place. Sign in and download it again."
        )
    is_zip = head.startswith(b"PK\x03\x04")
    # A pickle of protocol 2 or later begins with these opcodes.
    is_pickle = len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2:3] in b"}](cX\x8a\x95q\x8c"
    if is_pickle or (is_zip and (b"data.pkl" in head or _holds_pickle(path))):
        return f"{path.name} is {A_PICKLE}"
    if is_zip:
        return f"{path.name} is a ZIP archive, not a safetensors file. Unpack it."
    for mark, name in FORMATS.items():
        if head.startswith(mark):
            return f"{path.name} is {name}, not a safetensors file. Use the model's .safetensors file."
    if _is_text(head):
        excerpt = " ".join(start[:60].decode("utf-8", errors="ignore").split())[:40]
        return f"{path.name} is a text file, not a safetensors file: it begins “{excerpt}”. {ADVICE}"
    return ""


def _holds_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return path.suffix.lower() in PICKLES


def _is_text(head: bytes) -> bool:
    """Return whether the bytes are text. A safetensors file never is: its first eight bytes contain zeros."""
    if b"\0" in head:
        return False
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return False
    return all(sign.isprintable() or sign in "\t\r\n\f" for sign in text)


def _header_problem(path: Path, size: int) -> str:
    """Return a sentence if a safetensors file's header and length do not agree, else ""."""
    if size < 8:
        return f"{path.name} is not a safetensors file: it has only {size} bytes. {ADVICE}"
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > MAX_HEADER_BYTES:
            return f"{path.name} is not a safetensors file: its first bytes are no length of a header. {ADVICE}"
        raw = file.read(length)
    if len(raw) < length:
        return f"{path.name} is truncated: it ends within its header, after {_size(size)}. {ADVICE}"
    try:
        header = json.loads(raw)
        if not isinstance(header, dict):
            raise ValueError("no object")
        end = _end_of_tensors(header)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return f"{path.name} is not a safetensors file: its header cannot be read ({str(error)[:100]}). {ADVICE}"
    whole = 8 + length + end
    if size < whole:
        return f"{path.name} is truncated: it has {_size(size)} of {_size(whole)}. {ADVICE}"
    if size > whole:
        return f"{path.name} is damaged: it has {_size(size - whole)} more than its header says. {ADVICE}"
    return ""


def _end_of_tensors(header: Mapping[str, Any]) -> int:
    """Return where the last tensor ends. Raises ValueError if a tensor does not fit its shape, or leaves a gap."""
    places = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        start, end = tensor["data_offsets"]
        bits = ELEMENT_BITS.get(tensor["dtype"])
        if bits and (end - start) * 8 != prod(tensor["shape"]) * bits:
            raise ValueError(f"the length of tensor {name[:60]} does not fit its shape")
        places.append((start, end))
    at = 0
    for start, end in sorted(places):
        if start != at or end < start:
            raise ValueError("its tensors do not follow one another")
        at = end
    return at


def _component_problem(folder: Path, title: str, library: str, class_name: str = "") -> str:
    """Return a sentence about what one component of a diffusers folder lacks, else ""."""
    if not folder.is_dir():
        return f"The folder {title} is missing, which model_index.json names. Download the whole model."
    if "Scheduler" in class_name:
        return _settings_problem(folder, title, ("scheduler_config.json",))
    if "Tokenizer" in class_name or "tokenizer" in folder.name:
        return _settings_problem(folder, title, TOKENIZERS)
    if "Processor" in class_name or "FeatureExtractor" in class_name:
        return _settings_problem(folder, title, ("preprocessor_config.json",))
    if library not in COMPONENT_FILES:
        return ""
    return _settings_problem(folder, title, ("config.json",)) or _weights_problem(folder, title, library)


def _settings_problem(folder: Path, title: str, names: tuple[str, ...]) -> str:
    """Return what is wrong with the settings of a component, which needs at least one of these files."""
    if not (present := [folder / name for name in names if (folder / name).is_file()]):
        return f"{title}/{names[0]} is missing. Download the whole model."
    for file in present:
        if file.suffix == ".json" and _json_object(file) is None:
            with file.open("rb") as stream:
                head = stream.read(HEAD_BYTES)
            return (_other_format(file, head) if not head.startswith(b"{") and head else "") or (
                f"{title}/{file.name} is {'empty' if not head else 'not whole: it is no JSON object'}. {ADVICE}"
            )
    return ""


def _weights_problem(folder: Path, title: str, library: str) -> str:
    """Return what is wrong with a network's weights: one file, or the files that its index names."""
    stem = COMPONENT_FILES[library]
    index = folder / f"{stem}.safetensors.index.json"
    if not index.exists():
        files = [f"{stem}.safetensors"]
        if not (folder / files[0]).exists():
            return _no_weights(folder, title, files[0])
    else:
        names = (_json_object(index) or {}).get("weight_map")
        if not isinstance(names, dict) or not names:
            return f"{title}/{index.name} names no files of weights. {ADVICE}"
        files = sorted({str(name) for name in names.values()})
        if missing := [name for name in files if not (folder / name).is_file()]:
            return (
                f"{title} lacks {len(missing)} of {len(files)} files that {index.name} names: {', '.join(missing[:3])}."
            )
    problem = next(filter(None, (problem_of_file(folder / name) for name in files)), "")
    return f"{title}: {problem}" if problem else ""


def _no_weights(folder: Path, title: str, expected: str) -> str:
    if pickles := sorted(file.name for file in folder.iterdir() if file.suffix.lower() in PICKLES):
        return f"{title} has its weights only as a pickle ({pickles[0]}), {SAFETENSORS_ONLY}"
    if variants := sorted(file.name for file in folder.glob("*.safetensors")):
        return f"{title} lacks {expected}; it has {variants[0]}. Rename it, or download the file of that name."
    return f"{title} lacks its weights: there is no {expected} in it. Download the whole model."


def _json_object(file: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if it holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _size(count: int) -> str:
    """Return a number of bytes as text with a unit."""
    for unit, width in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= width:
            return f"{count / width:.1f} {unit}"
    return f"{count} bytes"


def tensor_names(path: Path) -> set[str]:
    """Return the names in a whole safetensors file's header. Raises EngineError (ENDPOINT) for any other file."""
    if problem := problem_of_file(path):
        raise EngineError(ErrorKind.ENDPOINT, problem)
    return set(read_header(path))


def ensure_complete(path: Path) -> None:
    """Raise EngineError of kind ENDPOINT where files of a model are missing, damaged or something else."""
    if problem := problem_of_model(path):
        raise EngineError(ErrorKind.ENDPOINT, problem)


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file. Raises OSError, ValueError or struct.error."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > MAX_HEADER_BYTES:
            raise ValueError("its header is over 100 MB")
        header: dict[str, Any] = json.loads(file.read(length))
    return header


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
