"""What the shapes in the file of a T2I-Adapter tell of it."""

from ...unet import UNetConfig
from ...unet.adapter import AdapterConfig
from .recognise import Found

LEVELS = 4  # of the original's files, which number blocks and not levels


def adapter_config(found: Found, unet: UNetConfig, factor: int) -> AdapterConfig:
    """factor: how much smaller a latent is than a picture. ValueError: its tensors do not go
    together, or not with the U-Net."""
    theirs = found.key_format == "diffusers"
    root = "adapter." if theirs else ""
    light = f"{root}conv_in.weight" not in found.weights
    hint_channels, size = patches(
        found, f"{root}{'body.0.in_conv' if light else 'conv_in'}", factor
    )
    inside = "resnets" if theirs else "body"
    if theirs or light:
        levels = found.count(f"{root}body.{{}}.")
        blocks = found.count(f"{root}body.0.{inside}.{{}}.")
        firsts = [f"{root}body.{i}.{inside}.0" for i in range(levels)]
    else:
        levels, blocks = LEVELS, found.count("body.{}.") // LEVELS
        firsts = [f"body.{i * blocks}" for i in range(levels)]
    wide = [f"{root}body.{i}.out_conv" for i in range(levels)]
    wide = wide if light else [f"{first}.block1" for first in firsts]
    channels = tuple(found.shape(f"{name}.weight")[0] for name in wide)
    wanted = unet.channels if size == factor else (*unet.channels, unet.channels[-1])
    if channels != wanted:
        raise ValueError(f"its features are of {channels} channels, and not of {wanted}")
    kernel = found.shape(f"{firsts[0]}.block2.weight")[-1]
    halved = tuple(range(1, levels)) if size == factor else (2,)
    return AdapterConfig(hint_channels, size, channels, blocks, halved, light, kernel)


def patches(found: Found, stem: str, factor: int) -> tuple[int, int]:
    """Channels of the hint, and how many pixels along each side go into one of the stem's inputs:
    as many as into one of the latent, or twice as many (SDXL)."""
    inputs = found.shape(f"{stem}.weight")[1]
    for size in (factor, 2 * factor):
        if inputs in (size**2, 3 * size**2):
            return inputs // size**2, size
    raise ValueError(f"{stem}.weight takes {inputs} numbers, which no hint has")
