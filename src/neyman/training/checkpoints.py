"""Checkpoints: the state of an unfinished training in files, which tensors and numbers alone are read from."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from neyman.exceptions import InvalidDocument, InvalidModelFile
from neyman.support.files import replacing

__all__ = ["NOTE", "checkpoint_folder", "read_checkpoint", "save_checkpoint"]


def __dir__() -> list[str]:
    return __all__


NOTE = "training.json"
"""The file in a folder of checkpoints that says which training they are of."""


def checkpoint_folder(folder: str | Path, content: Mapping[str, Any]) -> Path:
    """Return a folder of checkpoints, emptied of those of another training.

    Args:
        folder: the folder, which need not exist.
        content: everything that makes a training another one, as JSON.

    Raises:
        InvalidDocument: if it is a file, or holds something else.
    """
    folder = Path(folder)
    note, text = folder / NOTE, json.dumps({"fingerprint": _hash(content)})
    if folder.exists() and not folder.is_dir():
        raise InvalidDocument(f"{folder}: a file, not a folder for checkpoints; name another one")
    if folder.exists() and not note.exists() and any(folder.iterdir()):
        raise InvalidDocument(f"{folder}: this folder is not empty and holds no checkpoints; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    if not note.exists() or note.read_text() != text:
        for old in folder.rglob("*.pt"):  # and nothing that is not ours
            old.unlink()
        with replacing(note) as stream:
            stream.write(text.encode())
    return folder


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write the state of a training, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        torch.save(state, stream)


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a state back; ``weights_only`` keeps torch from running what a pickle says.

    Raises:
        InvalidModelFile: if it is no checkpoint, or a corrupt one.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError, struct.error) as error:
        raise InvalidModelFile(f"{path}: not a checkpoint, or a corrupt one; delete it to train anew") from error
    return state
