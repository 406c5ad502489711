"""A judge of pictures of things: a small residual network (He et al. 2016, fig. 2) that names the
thing. No generator is trained with it, so it may judge what one has drawn.

B pictures of S x S pixels, in -1..1; T things, D width of the last layer and of a code.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...runtime.files import replacing
from ..data import Image
from .collection import Collection, Entry

FACE = "face"  # all faces are one thing: a caption tells them by their parts
WIDTHS = (64, 128, 176)
PATCH = 4  # the first layer sees a picture in squares of this many pixels


def thing_of(entry: Entry) -> str:
    """Under which name a judge knows it."""
    return FACE if entry.parts else entry.thing


def named_things(collection: Collection) -> dict[str, str]:
    """What a judge of a collection can answer, with the usual name of each."""
    return {thing_of(entry): entry.names[0] for entry in collection.entries}


class Judge(nn.Module):
    """things: as of `named_things`; widths: of the layers, from fine to coarse."""

    __call__: Callable[..., tuple[Tensor, Tensor]]

    def __init__(self, things: dict[str, str], widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.things, self.widths = things, tuple(widths)
        self.patches = Convolution(3 * PATCH**2, widths[0])
        self.blocks = nn.Sequential(Block(widths[0], widths[0]))
        for width, wider in pairwise(widths):
            self.blocks.append(Block(width, wider, halve=True))
            if wider != widths[-1]:
                self.blocks.append(Block(wider, wider))
        self.code = nn.Linear(widths[-1], widths[-1])
        self.thing = nn.Linear(widths[-1], len(things))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """pictures (B, 3, S, S) -> codes (B, D), which say what is shown, wherever and on whatever
        ground; logits of the things (B, T)"""
        x = F.pixel_unshuffle(pictures, PATCH)  # (B, 48, S/4, S/4)
        x = F.relu(self.patches(x.contiguous(memory_format=torch.channels_last)))
        code = self.code(self.blocks(x).mean((2, 3)))
        return code, self.thing(code)

    @torch.inference_mode()
    def guesses(self, images: Sequence[Image], batch: int = 64) -> list[str]:
        """The thing in each of the pictures (S, S, 3). ValueError if they are of several sizes."""
        if len(shapes := {image.shape for image in images}) > 1:
            raise ValueError(f"the pictures are of several sizes: {sorted(shapes)}")
        self.eval()
        things, found = list(self.things), []
        for start in range(0, len(images), batch):
            _, logits = self(seen(images[start : start + batch]))
            found += [things[number] for number in logits.argmax(1).tolist()]
        return found


def seen(images: Sequence[Image]) -> Tensor:
    """Pictures (S, S, 3) as a judge sees them. (B, 3, S, S)"""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Convolution(nn.Sequential):
    """3 x 3, with batch norm (Ioffe & Szegedy 2015) in place of a bias."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """relu(x + F(x)); where the width changes, x is brought to it by a 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, halve: bool = False) -> None:
        super().__init__()
        self.first = Convolution(inputs, outputs, 2 if halve else 1)
        self.second = Convolution(outputs, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if halve else nn.Identity()
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        straight = self.shortcut(F.avg_pool2d(x, 2) if self.halve else x)
        return F.relu(straight + self.second(F.relu(self.first(x))))


def save_judge(path: Path, judge: Judge) -> None:
    """In float16, its things in the file's metadata."""
    half = {name: value.half().contiguous() for name, value in judge.state_dict().items()}
    told = {"things": judge.things, "widths": judge.widths}
    with replacing(path) as temporary:
        save_file(half, temporary, {"judge": json.dumps(told)})


def load_judge(path: str | Path) -> Judge:
    """The inverse of `save_judge`. ValueError for another file."""
    try:
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["judge"])
            judge = Judge(told["things"], told["widths"])
            state = {name: file.get_tensor(name).float() for name in judge.state_dict()}
        judge.load_state_dict(state)
    except FileNotFoundError:
        raise ValueError(
            f"there is no judge {str(path)!r}: scripts/train_judge.py makes one"
        ) from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        what = str(error).partition("\n")[0][:200]
        raise ValueError(f"{str(path)!r} is no judge: {what}") from None
    return judge.eval()
