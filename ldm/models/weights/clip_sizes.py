"""The sizes of a CLIP in a file.

Most are read from shapes. How many heads there are, and which activation, no shape tells: a
config.json of transformers beside the file does, or what is known of the published models.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal, NamedTuple

from ...clip.config import TextConfig
from ...clip.vision import VisionConfig
from ..keymaps import KeyFormat
from .errors import CheckpointError
from .opening import OpenedCheckpoint
from .sizes import Names

Activation = Literal["quick_gelu", "gelu"]


@dataclass(frozen=True)
class FoundCLIP:
    """Where in a file a CLIP is.

    begin    of all its names
    config   of transformers, from the file beside it; empty: there is none
    """

    opened: OpenedCheckpoint
    key_format: KeyFormat
    begin: str
    config: Mapping[str, Any]


class Tower(NamedTuple):
    """What tells the sizes of a tower in a file: the names of tensors, and that which the names of
    its layers begin with."""

    first: str
    position: str
    layers: str
    up: str
    projection: str


TOWERS = {
    ("vision", "diffusers"): Tower(
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.embeddings.position_embedding.weight",
        "vision_model.encoder.layers", "mlp.fc1.weight", "visual_projection.weight",
    ),
    ("text", "diffusers"): Tower(
        "text_model.embeddings.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight",
        "text_model.encoder.layers", "mlp.fc1.weight", "text_projection.weight",
    ),
    ("vision", "compvis"): Tower(
        "visual.conv1.weight", "visual.positional_embedding",
        "visual.transformer.resblocks", "mlp.c_fc.weight", "visual.proj",
    ),
    ("text", "compvis"): Tower(
        "token_embedding.weight", "positional_embedding",
        "transformer.resblocks", "mlp.c_fc.weight", "text_projection",
    ),
}  # fmt: skip

VISION_HEADS = {768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16}  # of ViT-B, L, H, g and bigG
OPENCLIP_VECTORS = (1024, 1280)  # widths of those of ViT-H and g, and of bigG
NAMES: tuple[tuple[str, Activation], ...] = (
    (r"quick|openai|dfn|metaclip", "quick_gelu"),
    (r"laion|datacomp|commonpool", "gelu"),
)


def vision_config(found: FoundCLIP, activation: Activation | None) -> VisionConfig:
    """CheckpointError: the file has no vision tower, or one whose sizes cannot be."""
    tower, shapes = TOWERS["vision", found.key_format], Shapes(found)
    try:
        width, _, patch, _ = shapes[tower.first]
        config = found.config.get("vision_config", found.config)
        usual = config.get("num_attention_heads", 12) if config else VISION_HEADS.get(width)
        return VisionConfig(
            size=isqrt(shapes[tower.position][0] - 1) * patch, patch=patch, width=width,
            layers=shapes.count(tower.layers), heads=usual or max(width // 64, 1),
            mlp_width=shapes[f"{tower.layers}.0.{tower.up}"][0],
            projection=(vector := shapes.vector(tower)),
            activation=activation or activation_of(found, config, vector),
        )  # fmt: skip
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise wrong(found, "vision tower", error) from error


def text_config(found: FoundCLIP, activation: Activation | None) -> TextConfig:
    """CheckpointError: the file has no text tower, or one whose sizes cannot be."""
    tower, shapes = TOWERS["text", found.key_format], Shapes(found)
    if found.begin + tower.first not in found.opened.weights:
        raise CheckpointError(
            f"{found.opened.path} is the vision tower of a CLIP alone, which reads no texts: give "
            "the file of the whole CLIP"
        )
    try:
        vocabulary, width = shapes[tower.first]
        config = found.config.get("text_config", {})
        heads = config.get("num_attention_heads", 8) if config else max(width // 64, 1)
        if width % heads:
            raise ValueError(f"its {heads} heads do not divide its width of {width}")
        return TextConfig(
            vocabulary=vocabulary, length=shapes[tower.position][0], width=width,
            layers=shapes.count(tower.layers), heads=heads,
            mlp_width=shapes[f"{tower.layers}.0.{tower.up}"][0],
            projection=(vector := shapes.vector(tower)),
            activation=activation or activation_of(found, config, vector),
            layer=1, final_norm=True, pad=None,
        )  # fmt: skip
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise wrong(found, "text tower", error) from error


class Shapes:
    """Those of a CLIP, by names without what all of them begin with."""

    def __init__(self, found: FoundCLIP) -> None:
        self.begin, self.names = found.begin, Names(found.opened.weights)

    def __getitem__(self, name: str) -> tuple[int, ...]:
        short = name.removeprefix("vision_model.")  # as some files of a tower alone have it
        whole = [self.begin + one for one in (name, short)]
        return self.names.shapes[whole[0] if whole[0] in self.names else whole[1]]

    def count(self, layers: str) -> int:
        short = layers.removeprefix("vision_model.")
        return self.names.count(self.begin + layers) or self.names.count(self.begin + short)

    def vector(self, tower: Tower) -> int:
        """The width of what the tower makes: OpenCLIP multiplies by the matrix from the right."""
        out, inner = self[tower.projection]
        return out if tower.projection.endswith(".weight") else inner


def activation_of(found: FoundCLIP, config: Mapping[str, Any], vector: int) -> Activation:
    """As the config says, or the name of the file or its folder; ViT-H, g and bigG are OpenCLIP's,
    with gelu, and others are taken for OpenAI's, with quick_gelu."""
    if config:
        written = config.get("hidden_act", "quick_gelu")
        if written not in ("quick_gelu", "gelu"):
            raise ValueError(f"its activation {written!r} is not quick_gelu or gelu")
        return "gelu" if written == "gelu" else "quick_gelu"
    path = found.opened.path
    for pattern, activation in NAMES:
        if re.search(pattern, f"{path.parent.name}/{path.name}", re.IGNORECASE):
            return activation
    return "gelu" if vector in OPENCLIP_VECTORS else "quick_gelu"


def wrong(found: FoundCLIP, what: str, error: Exception) -> CheckpointError:
    reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
    return CheckpointError(f"{found.opened.path} has no {what} of CLIP that can be read: {reason}")
