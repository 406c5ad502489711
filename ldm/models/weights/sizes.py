"""What the names and shapes of a single file tell of its family, and which known one is nearest.

No shape tells the number of heads, the groups of the norms, the noise of the training or how the
model is best used: these are those of the known family that is nearest.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import count
from math import gcd, isqrt
from typing import Any

from ...clip.config import TextConfig
from ...clip.vision import VisionConfig
from ...unet import UNetConfig
from ...vae import VAEConfig
from ..families import FAMILIES, Family
from .mapped import Weight

UNET, VAE = "model.diffusion_model.", "first_stage_model."


def described(weights: Mapping[str, Weight]) -> Family | None:
    """A family with the sizes of a file that has CompVis's names; None: it is too far from one."""
    names = Names(weights)
    found = [family for known in FAMILIES.values() if (family := names.family(known)) is not None]
    return min(found, key=lambda family: len(nearest(family)[1]), default=None)


def nearest(family: Family) -> tuple[Family, list[str]]:
    """The known family that has most in common with one, and what differs, in words."""
    known = min(FAMILIES.values(), key=lambda entry: len(differences(family, entry)))
    return known, differences(family, known)


def differences(family: Family, known: Family) -> list[str]:
    ours, theirs = _flat(asdict(family)), _flat(asdict(known))
    return [
        f"{name} is {ours.get(name)}, not {theirs.get(name)}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name) and name != "name"
    ]


def _flat(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """The values of mappings within mappings, under names like unet.channels and text.0.width."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = dict(enumerate(value)) if name == "text" else value
        here = {prefix + str(name): inner}
        found |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, dict) else here
    return found


class Names:
    """The shapes of a file by their names, and how often what is numbered in these is there."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        self.shapes = {name: weight.shape for name, weight in weights.items()}
        self.numbered: dict[str, set[str]] = {}
        for name in self.shapes:
            parts = name.split(".")
            for i, part in enumerate(parts[:-1]):
                if part.isdigit():
                    self.numbered.setdefault(".".join(parts[:i]), set()).add(part)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def width(self, name: str) -> int:
        return self.shapes[name][0]

    def count(self, name: str) -> int:
        """How many there are of name.0, name.1, …"""
        return len(self.numbered.get(name, ()))

    def family(self, known: Family) -> Family | None:
        """The known family in the sizes of the file; None: they do not go together."""
        roots = [f"cond_stage_model.{kind}." for kind in ("transformer", "model")]
        roots += [f"conditioner.embedders.{i}.{roots[k][17:]}" for i in range(2) for k in range(2)]
        there = [root for root in roots if any(name.startswith(root) for name in self.shapes)]
        try:
            text = tuple(
                self.text(root, like) for root, like in zip(there, known.text, strict=True)
            )
            unet, vae = self.unet(known.unet), self.vae(known.vae)
            vision = self.vision(known.vision)
            return replace(known, name="mine", text=text, unet=unet, vae=vae, vision=vision)
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            return None

    def down(self) -> tuple[list[int], list[int], int]:
        """Of the U-Net's way down: width and depth of each level, and how many blocks each has."""
        channels, depth, blocks = [], [], 0
        for i in count(1):
            block = f"{UNET}input_blocks.{i}"
            if f"{block}.0.op.weight" in self:
                continue
            if f"{block}.0.out_layers.3.weight" not in self:
                break
            if i == 1 or f"{UNET}input_blocks.{i - 1}.0.op.weight" in self:
                channels.append(self.width(f"{block}.0.out_layers.3.weight"))
                depth.append(self.count(f"{block}.1.transformer_blocks"))
            blocks += 1
        return channels, depth, blocks // len(channels)

    def up(self, levels: int, blocks: int) -> tuple[tuple[int, ...], ...]:
        """Of its way up: the depth of each block of each level, finest first."""
        places = [range(i * blocks, (i + 1) * blocks) for i in reversed(range(levels))]
        name = f"{UNET}output_blocks.{{}}.1.transformer_blocks"
        return tuple(tuple(self.count(name.format(i)) for i in place) for place in places)

    def unet(self, known: UNetConfig) -> UNetConfig:
        channels, depth, each = self.down()
        up = self.up(len(channels), each + 1)
        first = next(level for level, deep in enumerate([*depth, 1]) if deep)
        inside = f"{UNET}input_blocks.{1 + first * (each + 1)}.1"
        middle = f"{UNET}middle_block."
        mid_depth = self.count(f"{middle}1.transformer_blocks")
        out, classes = self.width(f"{UNET}out.2.weight"), self.shapes.get(f"{UNET}label_emb.weight")
        vector = self.shapes.get(f"{UNET}label_emb.0.0.weight")
        guidance = self.shapes.get(f"{UNET}time_embed.cond_proj.weight")
        return replace(
            known,
            in_channels=out,
            out_channels=out,
            concat_channels=self.shapes[f"{UNET}input_blocks.0.0.weight"][1] - out,
            channels=tuple(channels),
            res_blocks=each,
            groups=gcd(known.groups, *channels),
            depth=tuple(depth),
            mid_depth=mid_depth if f"{middle}0.in_layers.2.weight" in self else None,
            context_width=self.shapes[f"{inside}.transformer_blocks.0.attn2.to_k.weight"][1],
            vector_width=vector[1] if vector else 1 if classes else None,
            heads=known.heads and gcd(known.heads, *channels),
            head_width=known.head_width and gcd(known.head_width, *channels),
            linear_projection=len(self.shapes[f"{inside}.proj_in.weight"]) == 2,
            classes=classes[0] if classes else None,
            guidance_width=guidance[1] if guidance else None,
            up_depth=() if up == tuple((deep,) * (each + 1) for deep in depth) else up,
        )

    def vae(self, known: VAEConfig) -> VAEConfig:
        down = f"{VAE}encoder.down"
        levels = range(self.count(down))
        channels = tuple(self.width(f"{down}.{i}.block.0.conv1.weight") for i in levels)
        return replace(
            known,
            image_channels=self.shapes[f"{VAE}encoder.conv_in.weight"][1],
            latent_channels=self.width(f"{VAE}post_quant_conv.weight"),
            channels=channels,
            res_blocks=self.count(f"{down}.0.block"),
            groups=gcd(known.groups, *channels),
        )

    def vision(self, known: VisionConfig | None) -> VisionConfig | None:
        root = "embedder.model.visual."
        if (f"{root}proj" in self) != (known is not None):
            raise ValueError("one of the two sees a picture")
        if known is None:
            return None
        width, _, patch, _ = self.shapes[f"{root}conv1.weight"]
        layers = f"{root}transformer.resblocks"
        return replace(
            known,
            size=isqrt(self.width(f"{root}positional_embedding") - 1) * patch,
            patch=patch,
            width=width,
            layers=self.count(layers),
            heads=gcd(known.heads, width),
            mlp_width=self.width(f"{layers}.0.mlp.c_fc.weight"),
            projection=self.shapes[f"{root}proj"][1],
        )

    def text(self, root: str, known: TextConfig) -> TextConfig:
        fused = root.endswith(".model.")  # OpenCLIP's names, see keymaps.text
        inner = root if fused else f"{root}text_model."
        layers = f"{inner}transformer.resblocks" if fused else f"{inner}encoder.layers"
        token = "token_embedding.weight" if fused else "embeddings.token_embedding.weight"
        position = "positional_embedding" if fused else "embeddings.position_embedding.weight"
        up = "mlp.c_fc.weight" if fused else "mlp.fc1.weight"
        if fused != (known.activation == "gelu"):
            raise ValueError("the names of another text encoder")
        vocabulary, width = self.shapes[inner + token]
        return replace(
            known,
            vocabulary=vocabulary,
            length=self.width(inner + position),
            width=width,
            layers=self.count(layers),
            heads=gcd(known.heads, width),
            mlp_width=self.width(f"{layers}.0.{up}"),
            projection=known.projection and self.shapes[f"{root}text_projection"][1],
        )
