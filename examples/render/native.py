"""Compile scene.c once and load it through cffi. This needs a C compiler; the committed photos do not."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import cffi

from config.env import var_dir

HERE = Path(__file__).resolve().parent


def compiler() -> str | None:
    """Return the path of the installed C compiler, or None."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


@cache
def load() -> tuple[Any, Any]:
    """Return (ffi, library). Raises RuntimeError with the compiler's output if it cannot be built."""
    header, source = (HERE / "scene.h").read_text(), (HERE / "scene.c").read_text()
    name = hashlib.sha256((header + source).encode()).hexdigest()[:16]
    library = var_dir() / "build" / f"scene-{name}.so"
    if not library.exists():
        _compile(library)
    ffi = cffi.FFI()
    ffi.cdef(header)
    return ffi, ffi.dlopen(str(library))


def _compile(library: Path) -> None:
    program = compiler()
    if program is None:
        raise RuntimeError("The renderer needs a C compiler (cc, gcc or clang) and found none.")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [program, "-O3", "-ffast-math", "-fPIC", "-shared", "-o", str(made), str(HERE / "scene.c"), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        os.replace(made, library)
