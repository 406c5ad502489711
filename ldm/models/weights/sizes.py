"""What the names and shapes of a single file tell of its family, and which known one is nearest.

No shape tells the number of heads, the groups of the norms, the noise of the training or how the
model is best used: these are those of the known family that is nearest.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import count
from typing import Any

from ...clip.model import TextConfig
from ...unet import UNetConfig
from ...vae import VAEConfig
from ..families import FAMILIES, Family
from .mapped import Weight

Shapes = Mapping[str, tuple[int, ...]]
UNET, VAE = "model.diffusion_model.", "first_stage_model."


def described(weights: Mapping[str, Weight]) -> Family | None:
    """A family with the sizes of a file that has CompVis's names; None: it is too far from one."""
    shapes = {name: weight.shape for name, weight in weights.items()}
    best = None
    for known in FAMILIES.values():
        try:
            found = _described(shapes, known)
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            continue
        if best is None or len(differences(found, known)) < len(differences(*best)):
            best = found, known
    return None if best is None else best[0]


def nearest(family: Family) -> tuple[Family, list[str]]:
    """The known family that has most in common with one, and what differs: one field a line."""
    known = min(FAMILIES.values(), key=lambda entry: len(differences(family, entry)))
    return known, differences(family, known)


def differences(family: Family, known: Family) -> list[str]:
    ours, theirs = _flat(asdict(family)), _flat(asdict(known))
    return [
        f"{name} is {ours.get(name)}, not {theirs.get(name)}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name) and name != "name"
    ]


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "text":
            value = dict(enumerate(value))
        found |= (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else {prefix + str(name): value}
        )
    return found


def _described(shapes: Shapes, known: Family) -> Family:
    vae = _vae(shapes, known.vae)
    text = tuple(_text(shapes, root, known) for root in _roots(shapes))
    unet = _unet(shapes, known.unet)
    return replace(known, name="mine", text=text, unet=unet, vae=vae)


def _counted(shapes: Shapes, pattern: str) -> int:
    """How many there are of what is numbered: {} stands for the number."""
    head, tail = pattern.split("{}")
    numbers = (re.match(rf"{re.escape(head)}(\d+){re.escape(tail)}", name) for name in shapes)
    return len({found[1] for found in numbers if found is not None})


def _unet(shapes: Shapes, known: UNetConfig) -> UNetConfig:
    channels, blocks, depth = [], 0, []
    for i in count(1):
        block = f"{UNET}input_blocks.{i}."
        if f"{block}0.op.weight" in shapes:
            continue
        if f"{block}0.out_layers.3.weight" not in shapes:
            break
        first = i == 1 or f"{UNET}input_blocks.{i - 1}.0.op.weight" in shapes
        if first:
            channels.append(shapes[f"{block}0.out_layers.3.weight"][0])
            depth.append(_counted(shapes, f"{block}1.transformer_blocks.{{}}."))
        blocks += 1
    per_level, cross = blocks // len(channels), [level for level, deep in enumerate(depth) if deep]
    inside = f"{UNET}input_blocks.{1 + cross[0] * (per_level + 1)}.1."
    up = [
        _counted(shapes, f"{UNET}output_blocks.{i}.1.transformer_blocks.{{}}.")
        for i in range(len(channels) * (per_level + 1))
    ]
    levels = tuple(tuple(up[i : i + per_level + 1]) for i in range(0, len(up), per_level + 1))[::-1]
    middle = _counted(shapes, f"{UNET}middle_block.1.transformer_blocks.{{}}.")
    stem, out = shapes[f"{UNET}input_blocks.0.0.weight"], shapes[f"{UNET}out.2.weight"][0]
    vector = shapes.get(f"{UNET}label_emb.0.0.weight")
    classes = shapes.get(f"{UNET}label_emb.weight")
    guidance = shapes.get(f"{UNET}time_embed.cond_proj.weight")
    return replace(
        known,
        in_channels=out,
        out_channels=out,
        concat_channels=stem[1] - out,
        channels=tuple(channels),
        res_blocks=per_level,
        depth=tuple(depth),
        mid_depth=middle if f"{UNET}middle_block.0.in_layers.2.weight" in shapes else None,
        context_width=shapes[f"{inside}transformer_blocks.0.attn2.to_k.weight"][1],
        vector_width=vector[1] if vector else 1 if classes else None,
        linear_projection=len(shapes[f"{inside}proj_in.weight"]) == 2,
        classes=classes[0] if classes else None,
        guidance_width=guidance[1] if guidance else None,
        up_depth=() if levels == tuple((deep,) * (per_level + 1) for deep in depth) else levels,
    )


def _vae(shapes: Shapes, known: VAEConfig) -> VAEConfig:
    encoder = f"{VAE}encoder.down."
    widths = tuple(
        shapes[f"{encoder}{i}.block.0.conv1.weight"][0]
        for i in range(_counted(shapes, f"{encoder}{{}}."))
    )
    return replace(
        known,
        image_channels=shapes[f"{VAE}encoder.conv_in.weight"][1],
        latent_channels=shapes[f"{VAE}post_quant_conv.weight"][0],
        channels=widths,
        res_blocks=_counted(shapes, f"{encoder}0.block.{{}}."),
    )


def _roots(shapes: Shapes) -> list[str]:
    """What the names of each text encoder begin with."""
    pattern = r"(cond_stage_model|conditioner\.embedders\.\d+)\.(transformer|model)\."
    found = (re.match(pattern, name) for name in shapes)
    return sorted({match[0] for match in found if match is not None})


def _text(shapes: Shapes, root: str, known: Family) -> TextConfig:
    fused = root.endswith(".model.")
    like = next(t for t in known.text if (t.activation == "gelu") == fused)
    inner = root if fused else f"{root}text_model."
    layers = "transformer.resblocks.{}." if fused else "encoder.layers.{}."
    token = "token_embedding.weight" if fused else "embeddings.token_embedding.weight"
    position = "positional_embedding" if fused else "embeddings.position_embedding.weight"
    up = "mlp.c_fc.weight" if fused else "mlp.fc1.weight"
    vocabulary, width = shapes[inner + token]
    return replace(
        like,
        vocabulary=vocabulary,
        length=shapes[inner + position][0],
        width=width,
        layers=_counted(shapes, inner + layers),
        mlp_width=shapes[inner + layers.format(0) + up][0],
        projection=like.projection and shapes[f"{root}text_projection"][1],
    )
