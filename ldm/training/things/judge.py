"""A judge of pictures of things: a small residual network (He et al. 2016, fig. 2) that names the
thing and its style. No generator is trained with it, so it may judge what one has drawn.

B pictures of S x S pixels, in -1..1; T things, Y styles, D width of the last layer and of a code.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

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


@dataclass(frozen=True)
class Labels:
    """What a judge can answer. things: with the usual name of each; styles."""

    things: dict[str, str]
    styles: tuple[str, ...]

    @classmethod
    def of(cls, collection: Collection) -> "Labels":
        named = {thing_of(entry): entry.names[0] for entry in collection.entries}
        return cls(named, tuple(dict.fromkeys(entry.style for entry in collection.entries)))


def thing_of(entry: Entry) -> str:
    """Under which name a judge knows it."""
    return FACE if entry.parts else entry.thing


@dataclass(frozen=True)
class Opinion:
    """What a judge sees in a picture: a thing and a style of its labels."""

    thing: str
    style: str


class Answers(NamedTuple):
    code: Tensor  # (B, D) what the picture shows, wherever and on whatever ground
    thing: Tensor  # (B, T) logits
    style: Tensor  # (B, Y) logits


class Judge(nn.Module):
    __call__: Callable[..., Answers]

    def __init__(self, labels: Labels, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.labels, self.widths = labels, tuple(widths)
        self.things = list(labels.things)
        self.patches = Convolution(3 * PATCH**2, widths[0])
        self.blocks = nn.ModuleList([Block(widths[0], widths[0])])
        seen_at = 2 * widths[0]  # how many means of channels there are
        for width, wider in pairwise(widths):
            seen_at += wider if wider == widths[-1] else 2 * wider
            self.blocks.append(Block(width, wider, halve=True))
            if wider != widths[-1]:
                self.blocks.append(Block(wider, wider))
        self.code = nn.Linear(widths[-1], widths[-1])
        self.thing = nn.Linear(widths[-1], len(labels.things))
        # a style is how edges look, too: of all layers, and of all alike
        self.style = nn.Sequential(nn.BatchNorm1d(seen_at), nn.Linear(seen_at, len(labels.styles)))

    def forward(self, pictures: Tensor) -> Answers:
        """pictures (B, 3, S, S)"""
        x = F.pixel_unshuffle(pictures, PATCH)  # (B, 48, S/4, S/4)
        x = F.relu(self.patches(x.contiguous(memory_format=torch.channels_last)))
        means = [x.mean((2, 3))]
        for block in self.blocks:
            x = block(x)
            means.append(x.mean((2, 3)))
        code = self.code(means[-1])  # (B, D)
        return Answers(code, self.thing(code), self.style(torch.cat(means, 1)))

    @torch.inference_mode()
    def opinions(self, images: Sequence[Image], batch: int = 64) -> list[Opinion]:
        """Of pictures (S, S, 3). ValueError if they are of several sizes."""
        if len(shapes := {image.shape for image in images}) > 1:
            raise ValueError(f"the pictures are of several sizes: {sorted(shapes)}")
        self.eval()
        found = []
        for start in range(0, len(images), batch):
            answers = self(seen(images[start : start + batch]))
            numbers = answers.thing.argmax(1).tolist(), answers.style.argmax(1).tolist()
            for thing, style in zip(*numbers, strict=True):
                found.append(Opinion(self.things[thing], self.labels.styles[style]))
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
    """In float16, its labels in the file's metadata."""
    half = {name: value.half().contiguous() for name, value in judge.state_dict().items()}
    told = {"things": judge.labels.things, "styles": judge.labels.styles, "widths": judge.widths}
    with replacing(path) as temporary:
        save_file(half, temporary, {"judge": json.dumps(told)})


def load_judge(path: str | Path) -> Judge:
    """The inverse of `save_judge`. ValueError for another file."""
    try:
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["judge"])
            judge = Judge(Labels(told["things"], tuple(told["styles"])), told["widths"])
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
