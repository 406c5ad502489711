"""What a caller may bring instead of pictures, seeds and prompts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..conditioning import Conditioning


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

    def check(self, shape: tuple[int, int, int, int], context_width: int) -> None:
        """ValueError unless these are for pictures whose latents have this shape (B, Z, h, w)."""
        for name, tensor in (("latents", self.latents), ("noise", self.noise)):
            if tensor is not None and not fits(tuple(tensor.shape), shape):
                raise ValueError(f"{name} must be of shape {shape}, not {tuple(tensor.shape)}")
        if self.conditioning is None:
            return
        if (count := len(self.conditioning)) not in (1, 2):
            raise ValueError(f"{count} conditionings: give a positive, or a negative and one")
        for one in self.conditioning:
            found = tuple(one.context.shape)
            wanted = shape[0], self.conditioning[0].context.shape[1], context_width
            if not fits(found, wanted):
                raise ValueError(f"a context must be of shape {wanted}, not {found}")

    def rows(self, own: slice) -> Given:
        """Those of some of the pictures."""

        def part(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or len(tensor) == 1 else tensor[own]

        told = self.conditioning and tuple(
            one if len(one) == 1 else one[own] for one in self.conditioning
        )
        return Given(part(self.latents), part(self.noise), told)


def fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a shape is the one that is wanted, or that for one row."""
    return found[1:] == wanted[1:] and found[0] in (1, wanted[0])
