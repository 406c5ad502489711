"""What a caller may bring instead of pictures, seeds and prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..conditioning import Conditioning
from ..runtime.checks import numbers

if TYPE_CHECKING:
    from ..models.families import Family
    from .job import Job


@dataclass(frozen=True, eq=False)
class Given:
    """latents        clean latents (B, Z, h, w) to start from, instead of a picture
    noise          the first standard normals (B, Z, h, w), instead of the seeds'
    conditioning   what the network is told, instead of prompts: a positive; or a negative and a
                   positive

    Each may be of one row for all pictures.
    """

    latents: Tensor | None = None
    noise: Tensor | None = None
    conditioning: tuple[Conditioning, ...] | None = None

    def check(self, job: Job, family: Family) -> None:
        """ValueError unless these are for the pictures of the job, and for models of the family."""
        size = job.passes[0].latent_size(family.vae.factor)
        context_width = family.unet.context_width
        shape = job.request.total, family.vae.latent_channels, *size  # (B, Z, h, w)
        for name, tensor in (("latents", self.latents), ("noise", self.noise)):
            if tensor is None:
                continue
            found = tuple(tensor.shape) if isinstance(tensor, Tensor) else shape
            if not fits(found, shape):
                raise ValueError(f"{name} must be of shape {shape}, not {found}")
            numbers(tensor, name, found)
        if self.conditioning is None:
            return
        if (count := len(self.conditioning)) not in (1, 2):
            raise ValueError(f"{count} conditionings: give a positive, or a negative and one")
        for one in self.conditioning:
            if not isinstance(one, Conditioning):
                what = f"a conditioning is a Conditioning, not {type(one).__name__}"
                raise ValueError(f"{what}: model.conditioning(['a cat']) makes one")
            found = tuple(one.context.shape)
            wanted = shape[0], self.conditioning[0].context.shape[1], context_width
            if not fits(found, wanted):
                raise ValueError(f"a context must be of shape {wanted}, not {found}")
            numbers(one.context, "a context", found)

    def rows(self, own: slice) -> Given:
        """Those of some of the pictures."""

        def part(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or len(tensor) == 1 else tensor[own]

        told = self.conditioning and tuple(
            one if len(one) == 1 else one[own] for one in self.conditioning
        )
        return Given(part(self.latents), part(self.noise), told)

    def told(self, count: int, dtype: torch.dtype, device: torch.device) -> list[Conditioning]:
        """The branches of conditioning for so many pictures, on a device, with context and concat
        in another number format; a single row is repeated."""
        found = []
        for given in self.conditioning or ():
            if len(given) not in (1, count):
                raise ValueError(f"a conditioning of {len(given)} rows for {count} pictures")
            one = given[[0] * count if len(given) == 1 else slice(None)]
            parts = {name: getattr(one, name) for name in ("vector", "concat", "guidance")}
            there = {name: x if x is None else x.to(device) for name, x in parts.items()}
            if there["concat"] is not None:
                there["concat"] = there["concat"].to(dtype)
            found.append(Conditioning(one.context.to(device, dtype), **there))
        return found


def fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a shape is the one that is wanted, or that for one row."""
    return found[1:] == wanted[1:] and found[0] in (1, wanted[0])
