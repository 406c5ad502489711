"""A network under the control of others: ControlNets tell it what to add to its maps, T2I-Adapters
their features.

A hint travels beside the latent, so that whatever picks rows or cuts tiles of the one does the same
to the other: each f x f block of its pixels is a pixel of 3 f^2 channels. Before it stands one
channel more: 1 where the row is controlled, else 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditioning import Conditioning
from ..samplers import Noise
from ..unet.adapter import T2IAdapter, added
from ..unet.controlnet import pooled
from ..unet.union import UnionControlNet

if TYPE_CHECKING:
    from .controls import Control
    from .denoise import Clock
    from .job import Job
    from .makers import Complete
    from .model import LatentDiffusion
    from .passes import Pass


def hints(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """A maker, see `makers`: the hints of all controls beside the latent."""
    factor = model.vae.factor
    shown = [control.hint(model, job, part).to(model.device) for control in job.controls]
    blocks = [F.pixel_unshuffle(hint, factor) for hint in shown]  # (1, 3 f^2, h, w)

    def complete(branches: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        made = []
        for i, branch in enumerate(branches):
            planes = [] if branch.concat is None else [branch.concat]
            for control, block in zip(job.controls, blocks):
                spared = control.spares and i == 0 and len(branches) > 1
                marked = torch.cat([torch.full_like(block[:, :1], float(not spared)), block], 1)
                planes.append(marked.expand(len(pictures), -1, -1, -1))
            concat = torch.cat([plane.to(branch.context.dtype) for plane in planes], 1)
            made.append(replace(branch, concat=concat))
        return made

    return complete


class Controlled:
    """The U-Net under controls, as a network that is told their hints beside the latent."""

    def __init__(self, model: LatentDiffusion, job: Job, part: Pass, clock: Clock) -> None:
        self.unet, self.controls, self.factor = model.unet, job.controls, model.vae.factor
        self.steps, self.clock = len(part.sigmas) - 1, clock
        self.scales: Callable[[int], list[float]] = none_less
        if job.request.guess_mode:
            self.scales = job.profile.guess_scales or finer_less

    def __call__(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        assert cond.concat is not None
        own, each = self.unet.config.concat_channels, 1 + 3 * self.factor**2
        concat, *planes = torch.split(cond.concat, [own, *[each] * len(self.controls)], dim=1)
        plain = replace(cond, concat=concat if own else None)
        residuals: list[Tensor] = []
        features: list[Tensor] = []
        for control, plane in zip(self.controls, planes):
            if not self.active(control):
                continue
            hint = F.pixel_shuffle(plane[:, 1:], self.factor)
            found = self.told(control, x, t, plain, hint, plane[:, 0, 0, 0] > 0)
            if isinstance(control.network, T2IAdapter):
                features = sums(features, found) if features else found
            else:
                residuals = sums(residuals, found) if residuals else found
        with added(self.unet, features) if features else nullcontext():
            return self.unet(x, t, plain, residuals)

    def active(self, control: Control) -> bool:
        """Whether the whole of the step that is being done is within the control's part, as in
        diffusers."""
        done = self.clock.step - 1
        start, end = control.asked.start, control.asked.end
        return done / self.steps >= start and (done + 1) / self.steps <= end

    def told(
        self, control: Control, x: Tensor, t: Tensor, cond: Conditioning, hint: Tensor, rows: Tensor
    ) -> list[Tensor]:
        """What a control says of the rows that it controls; nothing, 0, of the others."""
        where = rows.nonzero()[:, 0]
        if len(where) < len(rows):
            times = t if len(t) == 1 else t[where]
            every = torch.ones_like(where, dtype=torch.bool)
            found = self.told(control, x[where], times, cond[where], hint[where], every)
            return [
                one.new_zeros(len(rows), *one.shape[1:]).index_copy(0, where, one) for one in found
            ]
        strength, network, scales = control.asked.strength, control.network, self.scales
        if isinstance(network, T2IAdapter):
            return [strength * feature for feature in network(hint)]
        cond = replace(cond, concat=None, guidance=None)
        if isinstance(network, UnionControlNet):
            found = network(x, t, cond, hint, control.kinds, apart=True)
        else:
            found = network(x, t, cond, hint)
        if control.pooled:
            found, scales = pooled(found), none_less
        return [strength * scale * one for scale, one in zip(scales(len(found)), found)]


def none_less(count: int) -> list[float]:
    return [1.0] * count


def finer_less(count: int) -> list[float]:
    """Guess mode of lllyasviel's ControlNet, for so many residuals."""
    return [0.825 ** (count - 1 - i) for i in range(count)]


def sums(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """ValueError: adapters of two sorts, whose features belong elsewhere."""
    if [part.shape for part in one] != [part.shape for part in other]:
        raise ValueError("T2I-Adapters whose features differ in size cannot be used together")
    return [a + b for a, b in zip(one, other)]
