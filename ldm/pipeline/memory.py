"""How a job is drawn in so much memory, decided before it is drawn.

    peak = what the process takes without a model + weights + the results that live at once

Weights are counted, and so are the results, by running the networks without numbers, see
`runtime.live`. They grow with the pictures of a batch and with their area: fused attention has no
matrix of all tokens by all tokens. `memory.md` compares with what was measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from ..models.families import Family, as_family
from ..models.weights.loading import locate
from ..models.weights.opening import open_checkpoint
from ..runtime.allocator import returned_at_once
from ..runtime.formats import named
from ..runtime.resident import resident
from ..runtime.text import short
from ..runtime.waiting import Waiting, largest_block, weights
from .activations import of_unet, of_vae, rows, shapes

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion

# Measured on Linux, as peaks of processes: what the tokenizer, Pillow, and the kernels that oneDNN
# compiles take beside torch itself, after the first picture.
STARTED = 0.15e9
# What stays of small weights that were packed, of all weights: the same peaks, less STARTED.
SPLINTERS = 0.02
# An allowance for CUDA's context and the workspaces of its libraries. It was not measured here.
CUDA = 0.5e9
TILES = (2, 1.5, 1, 0.75, 0.5, 0.375, 0.25)  # sides of the VAE's, of a family's pictures


@dataclass(frozen=True)
class Plan:
    """batch   how many pictures at once
    tile    the VAE's, in pixels; None: the whole picture
    waits   "": nothing. "parts": text encoders, U-Net and VAE wait on the CPU for each other.
            "blocks": those of the U-Net, too
    bytes   that are predicted at the most
    """

    batch: int
    tile: int | None
    waits: str
    bytes: float

    def __str__(self) -> str:
        count = f"{self.batch} picture{'s' * (self.batch > 1)} at once"
        tiles = "the VAE whole" if self.tile is None else f"the VAE in tiles of {self.tile} pixels"
        waiting = {"": "", "parts": ", parts that do not compute wait on the CPU",
                   "blocks": ", the U-Net streamed block by block"}[self.waits]  # fmt: skip
        return f"{count}, {tiles}{waiting}: {self.bytes / 1e9:.2f} GB are predicted"


class Memory:
    """How much a model may take where it computes: --ram of a CPU, --vram of a GPU.

    limit   in bytes
    device  where it computes
    tile    the VAE's, in pixels, as it is now
    told    of each kind of job what was decided
    """

    def __init__(self, ram: float | None, vram: float | None, device: torch.device) -> None:
        """ValueError: the limit is not a number above 0, or of another device."""
        self.flag, other = ("ram", "vram") if device.type == "cpu" else ("vram", "ram")
        given = {"ram": ram, "vram": vram}
        if given[self.flag] is None or given[other] is not None:
            what = f"{other} is not what limits a model on {device}"
            raise ValueError(f"{what}: give --{self.flag}, in GB, or another --device")
        said = given[self.flag]
        if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < 1e6:
            what = f"{self.flag} {short(said)}: give so many GB"
            raise ValueError(f"{what}, more than 0 and less than a million")
        self.limit, self.device = said * 1e9, device
        self.base = CUDA if device.type != "cpu" else resident() + STARTED
        self.tile: int | None = None
        self.told = dict[Plan, str]()
        self.waiting: Waiting | None = None
        if device.type == "cpu":
            returned_at_once()

    def admit(self, family: Family, dtype: torch.dtype) -> None:
        """ValueError, before anything is read, if not even the weights have room."""
        networks = shapes(family, dtype)
        least = self.base + (
            weights(networks) if self.device.type == "cpu" else largest_block(networks["unet"])
        )
        if least > self.limit:
            raise self.refused(f"the weights of {family.name} in {named(dtype)}", least, dtype)

    def hold(self, model: LatentDiffusion) -> None:
        """From now on the model keeps to it."""
        model.memory = self
        if self.device.type != "cpu":
            device = self.device
            self.waiting = Waiting(parts(model), lambda x: x.to(device))

    def planned(self, model: LatentDiffusion, job: Job, most: int, together: bool = False) -> int:
        """How many pictures of a job are drawn at once: at most so many, or all together. Where the
        parts wait, and the VAE's tiles, is settled with it. ValueError: there is no room."""
        least = float("inf")
        count = min(most, job.request.total)
        for waits, tile in self.ways(model, job):
            fewest = count if together or not job.per_image else 1
            for batch in range(count, fewest - 1, -1):
                need = self.need(model, job, batch, tile, waits)
                least = min(least, need)
                if need <= self.limit:
                    self.settle(job, Plan(batch, tile, waits, need))
                    return batch
        width, height = job.passes[-1].width, job.passes[-1].height
        what = f"{width} x {height} pixels by {model.name} in {named(model.dtype)}"
        raise self.refused(what, least, model.dtype)

    def settle(self, job: Job, plan: Plan) -> None:
        self.tile = plan.tile
        if self.waiting is not None:
            self.waiting.home()
            self.waiting.alone = plan.waits != ""
            self.waiting.streamed = frozenset({"unet"} if plan.waits == "blocks" else ())
        size = f"{job.passes[-1].width} x {job.passes[-1].height}"
        self.told[plan] = f"--{self.flag} {self.limit / 1e9:g}: {size}, {plan}"

    def ways(self, model: LatentDiffusion, job: Job) -> Iterator[tuple[str, int | None]]:
        """What waits, and the VAE's tile, the quickest way first."""
        side = max(job.passes[-1].width, job.passes[-1].height)
        grid = 8 * model.vae.factor
        sides = (int(part * model.family.size) // grid * grid for part in TILES)
        tiles = [tile for tile in sides if 0 < tile < side and job.request.tile is None]
        for waits in ("",) if self.waiting is None else ("", "parts", "blocks"):
            yield waits, None
            if waits != "" or self.waiting is None:
                yield from ((waits, tile) for tile in tiles)

    def need(
        self, model: LatentDiffusion, job: Job, batch: int, tile: int | None, waits: str
    ) -> float:
        """The most bytes, over all phases."""
        family, kind, request = model.family, self.device.type, job.request
        last = job.passes[-1]
        area = (
            min(last.width, request.tile or last.width),
            min(last.height, request.tile or last.height),
        )
        latent = tuple(side // model.vae.factor for side in area)
        each = of_unet(family, model.dtype, kind, *latent)
        each += sum(x.numbers for x in job.additions) * latent[0] * latent[1] * model.dtype.itemsize
        drawing = batch * rows(job) * each
        decoding = of_vae(family, model.dtype, kind, *area, tile, job.init is not None)
        decoding += 12 * (batch + 2 * (tile is not None)) * last.width * last.height  # the pictures
        controls = weights(*(one for x in job.additions for one in x.networks))
        if job.refiner is not None:
            refiner = job.refiner.model
            controls += weights(refiner.unet, *(tower.encoder for tower in refiner.towers))
        sizes = {name: weights(*networks) for name, networks in parts(model).items()}
        if waits == "":
            held = sum(sizes.values()) + controls
            left = SPLINTERS * held if self.device.type == "cpu" else 0
            return self.base + held + left + max(drawing, decoding)
        unet = largest_block(model.unet) if waits == "blocks" else sizes["unet"]
        phases = unet + controls + drawing, sizes["vae"] + decoding, sizes["text"]
        return self.base + max(phases)

    def refused(self, what: str, least: float, dtype: torch.dtype) -> ValueError:
        enough = ceil(least / 1e7) / 100
        half = dtype == torch.float32
        other = ", or --dtype bfloat16, which takes less" if half else ", or a smaller model"
        other = f", smaller --W and --H{other}" if "pixels" in what else other
        given = f"--{self.flag} {self.limit / 1e9:g} (GB) is too little for {what}"
        return ValueError(f"{given}: the least is {enough:g}; give --{self.flag} {enough:g}{other}")


def admitted(
    path: Path,
    ram: float | None,
    vram: float | None,
    device: torch.device,
    dtype: torch.dtype,
    told: tuple[bool | None, Family | str | Path | None, torch.dtype, str | None],
) -> Memory:
    """The memory that is asked for, if it has room for the weights in a file; see `Memory`. told:
    what `weights.read` is, too. Weights are then read on the CPU, in copies, which are given back
    when they are not needed: a mapped file would lie beside the weights that are packed."""
    ema, family, _, prediction = told
    memory, given = Memory(ram, vram, device), None if family is None else as_family(family)
    with warnings.catch_warnings():  # they are given when it is read
        warnings.simplefilter("ignore")
        kind, _ = locate(open_checkpoint(path), given, ema, prediction)
    memory.admit(cast(Family, kind.family), dtype)
    return memory


def parts(model: LatentDiffusion) -> dict[str, list[nn.Module]]:
    """What computes at once. Of a VAE those of its modules that are called."""
    texts: list[nn.Module] = [tower.encoder for tower in model.towers]
    seeing = [*model.others.values()]
    return {"text": texts + seeing, "unet": [model.unet], "vae": [*model.vae.children()]}
