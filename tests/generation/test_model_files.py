"""Test that files of a model that are missing, truncated or of another format are reported as such."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import Invalid
from generation.engines import base
from generation.engines.base import EngineError, ErrorKind
from generation.engines.diffusers.weight_files import problem_of_file, problem_of_lora, problem_of_model
from generation.models import LocalModel
from generation.services.endpoints import local_models
from tests.support import factories as f

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 151121879\n" % (b"4d" * 32)
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Access denied</body></html>"


def safetensors(tensors: dict[str, list[int]], *, metadata: dict[str, str] | None = None) -> bytes:
    """Return a whole safetensors file of 16-bit zeros with these names and shapes."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(offset)


WHOLE = safetensors({"cond_stage_model.transformer.x": [4, 8], "model.diffusion_model.y": [16]})


def zipped(folder: Path, name: str) -> bytes:
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        archive.writestr(name, b"\x80\x02}q\x00.")
    return (folder / "made.zip").read_bytes()


SOMETHING_ELSE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "pointer": (lambda _: POINTER, r"is a Git LFS pointer, not the file itself \(of 151\.1 MB\)\. Run `git lfs pull`"),
    "pointer with windows lines": (lambda _: POINTER.replace(b"\n", b"\r\n"), "is a Git LFS pointer"),
    "sign-in page": (lambda _: PAGE, r"is a web page \(HTML\)"),
    "page with a mark before it": (lambda _: b"\xef\xbb\xbf\n  <html lang='de'>" + PAGE, r"is a web page \(HTML\)"),
    "long page": (lambda _: PAGE + "ü".encode() * 9000, r"is a web page \(HTML\)"),
    "refusal of a bucket": (lambda _: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
    "empty": (lambda _: b"", r"is empty \(0 bytes\)"),
    "refusal in JSON": (lambda _: b'{"error": "Repository not found"}', "is a text file, .*Repository not found"),
    "one line of text": (lambda _: "Zugriff verweigert für Gäste".encode(), "is a text file, .*Zugriff verweigert"),
    "pickle of today": (lambda at: zipped(at, "archive/data.pkl"), r"is a pickle \(\.ckpt, \.bin or \.pt\)"),
    "pickle of old": (lambda _: pickle.dumps({"a": 1}, protocol=2), "is a pickle .* can run code"),
    "pickle of protocol 4": (lambda _: pickle.dumps({"state_dict": {"a": 1}}, protocol=4), "is a pickle"),
    "archive": (lambda at: zipped(at, "model.safetensors"), "is a ZIP archive, .* Unpack it"),
    "another format": (lambda _: b"GGUF\x03\0\0\0" + bytes(64), "is a GGUF file, not a safetensors file"),
    "image": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(64), "is a PNG image"),
    "noise": (lambda _: b"\xfa\x01\x93\xee" * 99, "is not a safetensors file"),
    "few bytes": (lambda _: b"\0\0\0", "has only 3 bytes"),
    "ends in its header": (lambda _: WHOLE[:60], "is truncated: it ends within its header"),
    "ends in its tensors": (lambda _: WHOLE[:-5], r"is truncated: it has \d+ bytes of \d+ bytes"),
    "no tensors left": (lambda _: WHOLE[:-96], "is truncated"),
    "too long": (lambda _: WHOLE + b"more", "is damaged: it has 4 bytes more than its header says"),
    "header of zeros": (lambda _: struct.pack("<Q", 40) + bytes(80), "its header cannot be read"),
    "header is a list": (lambda _: struct.pack("<Q", 2) + b"[]", "its header cannot be read"),
    "shape of another length": (
        lambda _: WHOLE.replace(b'"shape": [16]', b'"shape": [99]'),
        "the length of tensor .* does not fit its shape",
    ),
}
every_wrong_file = pytest.mark.parametrize(("content", "words"), SOMETHING_ELSE.values(), ids=list(SOMETHING_ELSE))


@every_wrong_file
def test_a_file_that_is_no_whole_safetensors_file_is_named_as_what_it_is(
    content: Callable[[Path], bytes], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "look.safetensors"
    file.write_bytes(content(tmp_path))
    assert re.search(words, problem_of_file(file)), problem_of_file(file)
    assert "look.safetensors" in problem_of_file(file)


@pytest.mark.parametrize(
    "content",
    [
        WHOLE,
        safetensors({}),
        safetensors({"a": []}),
        safetensors({"a": [0, 4], "b": [2]}, metadata={"ss_network_module": "networks.lora"}),
        safetensors({f"lora_unet_{number}.lora_up.weight": [4, 4] for number in range(500)}),
        struct.pack("<Q", 123) + json.dumps({}).encode().ljust(123),
    ],
)
def test_a_whole_safetensors_file_has_no_problem(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "whole.safetensors"
    file.write_bytes(content)
    assert problem_of_file(file) == ""


def test_a_file_that_was_repaired_is_inspected_again(tmp_path: Path) -> None:
    file = tmp_path / "look.safetensors"
    assert "is missing: there is no file" in problem_of_file(file)
    file.write_bytes(POINTER)
    assert "Git LFS pointer" in problem_of_file(file)
    file.write_bytes(WHOLE)
    assert problem_of_file(file) == ""


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({}, "lacks its weights"),
        ({"pytorch_lora_weights.bin": b"\x80\x02}q\x00."}, "only as a pickle"),
        ({"a.safetensors": POINTER}, "Git LFS pointer"),
        ({"a.safetensors": WHOLE, "b.safetensors": PAGE}, "b.safetensors is a web page"),
        ({"pytorch_lora_weights.safetensors": WHOLE[:-1]}, "is truncated"),
        ({"pytorch_lora_weights.safetensors": WHOLE}, "^$"),
    ],
)
def test_a_folder_with_a_lora_says_what_it_lacks(names: dict[str, bytes], words: str, tmp_path: Path) -> None:
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    assert re.search(words, problem_of_lora(tmp_path))


# -- folders of components ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole diffusers folder, as small as possible."""
    made = tmp_path / "model"
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "image_encoder": [None, None],
        "requires_safety_checker": True,
    }
    for name in ("unet", "text_encoder", "tokenizer", "scheduler"):
        (made / name).mkdir(parents=True)
    (made / "model_index.json").write_text(json.dumps(index))
    (made / "scheduler" / "scheduler_config.json").write_text("{}")
    (made / "tokenizer" / "vocab.json").write_text("{}")
    for name in ("unet", "text_encoder"):
        (made / name / "config.json").write_text("{}")
    (made / "text_encoder" / "model.safetensors").write_bytes(WHOLE)
    split = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors", "c": "part-2.safetensors"}}
    (made / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(split))
    for number in (1, 2):
        (made / "unet" / f"part-{number}.safetensors").write_bytes(WHOLE)
    return made


def remove_file(name: str) -> Callable[[Path], Any]:
    def remove(folder: Path) -> None:
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()

    return remove


def write_file(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def only_a_pickle(folder: Path) -> None:
    (folder / "text_encoder" / "model.safetensors").rename(folder / "text_encoder" / "pytorch_model.bin")


def only_a_variant(folder: Path) -> None:
    file = folder / "text_encoder" / "model.safetensors"
    file.rename(file.with_name("model.fp16.safetensors"))


HALF: list[tuple[Callable[[Path], Any], str]] = [
    (remove_file("unet"), "The folder model/unet is missing"),
    (remove_file("text_encoder"), "The folder model/text_encoder is missing"),
    (remove_file("unet/part-2.safetensors"), "unet lacks 1 of 2 files that .*index.json names: part-2.safetensors"),
    (write_file("unet/part-2.safetensors", POINTER), "model/unet: part-2.safetensors is a Git LFS pointer"),
    (write_file("unet/part-1.safetensors", WHOLE[:-7]), "model/unet: part-1.safetensors is truncated"),
    (write_file("unet/diffusion_pytorch_model.safetensors.index.json", b"{}"), "names no files of weights"),
    (remove_file("text_encoder/model.safetensors"), "text_encoder lacks its weights"),
    (only_a_pickle, r"text_encoder has its weights only as a pickle \(pytorch_model.bin\)"),
    (only_a_variant, "lacks model.safetensors; it has model.fp16.safetensors"),
    (write_file("text_encoder/model.safetensors", b""), "model/text_encoder: model.safetensors is empty"),
    (remove_file("text_encoder/config.json"), "text_encoder/config.json is missing"),
    (write_file("unet/config.json", PAGE), "config.json is a web page"),
    (write_file("unet/config.json", b'{"sample_size": 6'), "unet/config.json is not whole"),
    (write_file("scheduler/scheduler_config.json", b""), "scheduler_config.json is empty"),
    (remove_file("scheduler/scheduler_config.json"), "scheduler/scheduler_config.json is missing"),
    (remove_file("tokenizer/vocab.json"), "tokenizer/tokenizer.json is missing"),
    (write_file("model_index.json", POINTER), "model_index.json"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("damage", "words"), HALF)
def test_a_folder_with_missing_or_damaged_parts_is_not_registered(
    damage: Callable[[Path], Any], words: str, folder: Path
) -> None:
    assert problem_of_model(folder) == ""
    damage(folder)
    with pytest.raises(Invalid) as refusal:
        local_models.register(path=str(folder), name="House", licence="OpenRAIL-M", by=f.UserFactory(is_superuser=True))
    (problem,) = refusal.value.problems
    assert problem.pointer == "path"
    assert re.search(words, problem.message), problem.message
    assert not LocalModel.objects.exists()


@pytest.mark.django_db
def test_a_whole_folder_is_registered(folder: Path) -> None:
    local_models.register(path=str(folder), name="House", licence="OpenRAIL-M", by=f.UserFactory(is_superuser=True))
    assert LocalModel.objects.get().family == "sd"


@pytest.mark.django_db
@every_wrong_file
def test_a_single_file_that_is_something_else_is_not_registered(
    content: Callable[[Path], bytes], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content(tmp_path))
    with pytest.raises(Invalid) as refusal:
        local_models.register(path=str(file), name="House", licence="OpenRAIL-M", by=f.UserFactory(is_superuser=True))
    (problem,) = refusal.value.problems
    assert problem.pointer == "path" and re.search(words, problem.message), problem.message


# -- in an endpoint ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tiny_model: Callable[[str], Path]) -> Path:
    pytest.importorskip("torch")
    return tiny_model("sd")


DAMAGED_LORAS: list[tuple[bytes | None, str]] = [
    (POINTER, "Git LFS pointer"),
    (PAGE, "is a web page"),
    (b"", r"is empty \(0 bytes\)"),
    (None, "is missing"),
    (WHOLE[:-3], "is truncated"),
    (pickle.dumps({"a": 1}, protocol=2), "is a pickle"),
]


@pytest.mark.parametrize(("content", "words"), DAMAGED_LORAS)
def test_a_damaged_lora_is_named_as_what_it_is_and_not_blamed_on_the_model(
    content: bytes | None, words: str, tiny: Path, tmp_path: Path
) -> None:
    from tests.support.tiny_models import RecordingContext, task

    file = tmp_path / "look.safetensors"
    if content is not None:
        file.write_bytes(content)
    config = {"model": str(tiny), "device": "cpu", "loras": {"brand-look": {"path": str(file)}}}
    engine = base.build("diffusers", config)
    health = engine.health()
    expected = "is not there" if content is None else words
    assert not health.is_ok and re.search(f"LoRA 'brand-look' .*{expected}", health.message), health.message
    drawn = task(0, parameters={"steps": 2, "loras": {"brand-look": 1.0}})
    assert any(re.search(expected, problem) for problem in engine.validate(drawn.spec))
    with pytest.raises(EngineError, match=f"The LoRA 'brand-look' cannot be used: .*{words}") as refusal:
        list(engine.generate([drawn], RecordingContext()))
    assert refusal.value.kind == ErrorKind.ENDPOINT and "does not fit" not in refusal.value.message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("unet/diffusion_pytorch_model.safetensors", POINTER, "Git LFS pointer"),
        ("vae/diffusion_pytorch_model.safetensors", WHOLE[:-3], "truncated"),
        ("text_encoder/model.safetensors", None, "lacks its weights"),
        ("text_encoder/config.json", PAGE, "web page"),
        ("scheduler/scheduler_config.json", None, "is missing"),
    ],
)
def test_a_model_that_was_damaged_since_it_was_set_up_fails_its_jobs_as_the_endpoints_fault(
    name: str, content: bytes | None, words: str, tiny: Path, tmp_path: Path
) -> None:
    from tests.support.tiny_models import RecordingContext, task

    model = Path(shutil.copytree(tiny, tmp_path / "model"))
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    engine = base.build("diffusers", {"model": str(model), "device": "cpu"})
    assert not engine.health().is_ok and words in engine.health().message
    with pytest.raises(EngineError, match=words) as refusal:
        list(engine.generate([task(0)], RecordingContext()))
    assert refusal.value.kind == ErrorKind.ENDPOINT
