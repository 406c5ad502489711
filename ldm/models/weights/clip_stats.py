"""The mean and the deviation of CLIP's embeddings, by which a model that varies pictures noises
them.

Single files of Stability's lack them. They were trained with 0 and 1 (-h), or with those of
OpenAI's CLIP in a file of their own (-l), which is taken if it lies beside.
"""

import mmap
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError
from .mapped import MappedFile, Weight, contiguous_stride
from .names import Stored
from .opening import OpenedCheckpoint
from .torchfile import is_legacy, is_zip, read_legacy, read_zip

BESIDE = "ViT-L-14_stats.th"  # of Karlo, kakaobrain/karlo-v1-alpha
OPENAI = 768  # width of the embeddings it is of
PROJECTION = "embedder.model.visual.proj"
NAMES = "noise_augmentor.data_mean", "noise_augmentor.data_std"


class Numbers(MappedFile):
    """One number, again and again, in the place of a file."""

    def __init__(self, path: Path, number: float, count: int) -> None:
        self.bytes, self.path = mmap.mmap(-1, 4 * count), path
        self.bytes[:] = struct.pack("<f", number) * count

    def __len__(self) -> int:
        return 0  # it takes no room in the checkpoint


def with_stats(opened: OpenedCheckpoint) -> OpenedCheckpoint:
    """The same with both, if it has Stability's names of a vision tower, and has them not.
    CheckpointError: the file beside it is damaged."""
    path, weights = opened.path, opened.weights
    shape = weights[PROJECTION].shape if PROJECTION in weights else ()
    if len(shape) != 2 or not 0 < shape[1] < 2**16 or any(name in weights for name in NAMES):
        return opened
    width, beside = shape[1], path.parent / BESIDE
    if width == OPENAI and beside.is_file():
        return replace(opened, weights=weights | stats_in(beside, width))
    stride = contiguous_stride((1, width))
    made = {
        name: Weight(Numbers(path, number, width), torch.float32, (1, width), stride, 0)
        for name, number in zip(NAMES, (0.0, 1.0))
    }
    return replace(opened, weights=weights | made)


def stats_in(path: Path, width: int) -> dict[str, Weight]:
    """Those in a file of torch.save that is a pair of tensors, (width) or (1, width)."""
    start = path.read_bytes()[:1024]
    if not (is_zip(start) or is_legacy(start)):
        raise CheckpointError(f"{path} is no file of torch.save: download it again, or remove it")
    found = (read_zip if is_zip(start) else read_legacy)(MappedFile(path), pair)
    if any(weight.shape not in ((width,), (1, width)) for weight in found.values()):
        shapes = " and ".join(str(weight.shape) for weight in found.values())
        raise CheckpointError(f"{path} has tensors of {shapes}, not of ({width},)")
    return {
        name: replace(weight, shape=(1, width), stride=(width, *weight.stride[-1:]))
        for name, weight in found.items()
    }


def pair(content: Any, path: Path) -> dict[str, Stored]:
    if not isinstance(content, list | tuple) or [type(one) for one in content] != [Stored] * 2:
        raise CheckpointError(f"{path} is no pair of tensors, a mean and a deviation: remove it")
    return dict(zip(NAMES, content))
