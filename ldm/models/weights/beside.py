"""What a file is that is used beside a checkpoint, and how."""

from collections.abc import Mapping
from typing import NamedTuple

from .guess import guess_type
from .mapped import Weight
from .taesd import HALVES, halves
from .vae import sizes_of


class Beside(NamedTuple):
    """what it is, in words; and the flags that take it"""

    what: str
    flags: str


def beside(weights: Mapping[str, Weight]) -> Beside | None:
    """None: it is a checkpoint, or something that is not known here."""
    if tiny := halves(weights):
        there = " and ".join(half for half in HALVES if half in tiny)
        return Beside(f"a tiny autoencoder (TAESD): {there}", "--taesd, or --vae")
    if guess_type(weights) == "a VAE alone" and (sizes := sizes_of(weights)) is not None:
        factor = 2 ** (len(sizes.channels) - 1)
        latents = f"latents of {sizes.latent_channels} channels, {factor} times smaller"
        return Beside(f"a VAE with {sizes.names}: {latents} than a picture", "--vae")
    from ..control import what_control  # these read files by this package
    from ..upscalers.opening import known_as

    if (control := what_control(weights)) is not None:
        return Beside(control, "--control")
    if (upscaler := known_as(weights)) is not None:
        network = upscaler[0]
        kind = f"{type(network).__name__}, {network.scale:g} times as large"
        return Beside(f"an upscaler of pictures ({kind})", "ldm enlarge --model")
    return None
