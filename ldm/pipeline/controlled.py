"""A network under the control of others: ControlNets tell it what to add to its maps, T2I-Adapters
their features; IP-Adapters let it read pictures.

A hint travels beside the latent, so that whatever picks rows or cuts tiles of the one does the same
to the other: each f x f block of its pixels is a pixel of 3 f^2 channels. Before it stands one
channel more: 1 where the row is controlled, else 0. The tokens of a picture that is read travel
behind those of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditioning import Conditioning
from ..unet.adapter import T2IAdapter, added
from ..unet.controlnet import pooled
from ..unet.ip_adapter import IPAdapter, reading
from ..unet.union import UnionControlNet

if TYPE_CHECKING:
    from .controls import Control
    from .denoise import Clock
    from .job import Job
    from .makers import Complete
    from .model import LatentDiffusion
    from .passes import Pass


def hints(controls: Sequence[Control], model: LatentDiffusion, job: Job, part: Pass) -> Complete:
    """A maker, see `makers`: the hints of all controls beside the latent, and what is to be read
    behind the text."""
    factor, size = model.vae.factor, part.latent_size(model.vae.factor)
    blocks = [
        torch.empty(1, 0, *size, device=model.device)
        if control.tokens is not None
        else F.pixel_unshuffle(control.hint(model, job, part).to(model.device), factor)
        for control in controls
    ]  # (1, 3 f^2, h, w)

    def complete(branches: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        made = []
        for i, branch in enumerate(branches):
            planes = [] if branch.concat is None else [branch.concat]
            context, negative = [branch.context], i == 0 and len(branches) > 1
            for control, block in zip(controls, blocks):
                if control.tokens is not None:
                    tokens = control.tokens[:1] if negative else control.tokens[1:]
                    context.append(tokens.to(branch.context).expand(len(branch), -1, -1))
                spared = control.spares and negative
                mark = block.new_full((1, 1, *size), float(not spared))
                marked = torch.cat([mark, block], 1)
                planes.append(marked.expand(len(pictures), -1, -1, -1))
            concat = torch.cat([plane.to(branch.context.dtype) for plane in planes], 1)
            made.append(replace(branch, context=torch.cat(context, 1), concat=concat))
        return made

    return complete


class Controlled:
    """The U-Net under controls, as a network that is told their hints beside the latent."""

    def __init__(
        self,
        controls: Sequence[Control],
        model: LatentDiffusion,
        job: Job,
        part: Pass,
        clock: Clock,
        network: Callable[..., Tensor],
    ) -> None:
        """network: the model's U-Net, or what takes its place, and residuals, too."""
        self.unet, self.controls, self.factor = model.unet, controls, model.vae.factor
        self.network = network
        self.steps, self.clock = len(part.sigmas) - 1, clock
        self.scales: Callable[[int], list[float]] = none_less
        if job.request.guess_mode:
            self.scales = job.profile.guess_scales or finer_less

    def __call__(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        plain, planes, read = self.split(cond)
        residuals: list[Tensor] = []
        features: list[Tensor] = []
        with ExitStack() as stack:
            for control, plane, tokens in zip(self.controls, planes, read):
                if not self.active(control):
                    continue
                marks = plane[:, 0, 0, 0]
                if isinstance(control.network, IPAdapter):
                    scale: Tensor | float = control.asked.strength
                    scale = scale * marks[:, None, None] if control.spares else scale
                    stack.enter_context(reading(self.unet, control.network, tokens, scale))
                    continue
                hint = F.pixel_shuffle(plane[:, 1:], self.factor)
                found = self.of_rows(control, x, t, plain, hint, marks)
                if isinstance(control.network, T2IAdapter):
                    features = sums(features, found) if features else found
                else:
                    residuals = sums(residuals, found) if residuals else found
            if features:
                stack.enter_context(added(self.unet, features))
            return self.network(x, t, plain, residuals)

    def split(self, cond: Conditioning) -> tuple[Conditioning, list[Tensor], list[Tensor]]:
        """What the U-Net is told without controls; and of each control its mark and its hint, and
        the tokens that it lets it read, of which there may be none."""
        assert cond.concat is not None
        own, hint = self.unet.config.concat_channels, 3 * self.factor**2
        counts = [0 if c.tokens is None else c.tokens.shape[1] for c in self.controls]
        hints = [1 + (hint if c.tokens is None else 0) for c in self.controls]
        concat, *planes = torch.split(cond.concat, [own, *hints], dim=1)
        length = cond.context.shape[1] - sum(counts)
        text, *read = torch.split(cond.context, [length, *counts], dim=1)
        plain = replace(cond, context=text.contiguous(), concat=concat if own else None)
        return plain, planes, read

    def active(self, control: Control) -> bool:
        """Whether the whole of the step that is being done is within the control's part, as in
        diffusers; and it has any strength."""
        done = self.clock.step - 1
        start, end = control.asked.start, control.asked.end
        within = done / self.steps >= start and (done + 1) / self.steps <= end
        return within and control.asked.strength > 0

    def of_rows(
        self,
        control: Control,
        x: Tensor,
        t: Tensor,
        cond: Conditioning,
        hint: Tensor,
        marks: Tensor,
    ) -> list[Tensor]:
        """What a control says of the rows that it controls; nothing, 0, of the others."""
        if not control.spares:  # a GPU need not be waited for, to see which they are
            return self.told(control, x, t, cond, hint)
        where = marks.nonzero()[:, 0]
        times = t if len(t) == 1 else t[where]
        found = self.told(control, x[where], times, cond[where], hint[where])
        return [one.new_zeros(len(x), *one.shape[1:]).index_copy(0, where, one) for one in found]

    def told(
        self, control: Control, x: Tensor, t: Tensor, cond: Conditioning, hint: Tensor
    ) -> list[Tensor]:
        """What a control says, at its strength."""
        strength, network, scales = control.asked.strength, control.network, self.scales
        assert not isinstance(network, IPAdapter)
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
