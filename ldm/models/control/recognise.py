"""Which control a file holds, told from the names and shapes of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from ...unet import UNetConfig
from ..families import FAMILIES
from ..keymaps import KeyFormat
from ..keymaps.control import controlnet_rows
from ..keymaps.rows import Row
from ..weights.mapped import Weight

Kind = Literal["controlnet", "difference", "control-lora", "union", "adapter", "ip-adapter"]
TITLES: dict[Kind, str] = {
    "controlnet": "a ControlNet",
    "difference": "a ControlNet, as the difference from a U-Net",
    "control-lora": "a control-LoRA",
    "union": "a ControlNet for several kinds of hints (union)",
    "adapter": "a T2I-Adapter",
    "ip-adapter": "an IP-Adapter",
}
WHOLE = "control_model."  # what the names of a ControlNet begin with in the original's files
DEEPEST = 16  # transformer blocks in a row; SDXL has 10


@dataclass(frozen=True)
class Found:
    """weights  those of the control, without the beginning of their names"""

    kind: Kind
    key_format: KeyFormat
    weights: Mapping[str, Weight]

    @property
    def title(self) -> str:
        if self.kind == "ip-adapter":
            return TITLES[self.kind]
        names = "diffusers'" if self.key_format == "diffusers" else "the original's"
        return f"{TITLES[self.kind]}, with {names} names"

    def count(self, pattern: str) -> int:
        """How many there are of a name that is numbered: from 0, without a gap."""
        number = 0
        while any(name.startswith(pattern.format(number)) for name in self.weights):
            number += 1
        return number

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor of two axes or more; ValueError: it is not there, or has fewer."""
        if name not in self.weights or len(shape := self.weights[name].shape) < 2 or 0 in shape:
            raise ValueError(f"{name} is missing, or has not the shape of a layer")
        return shape

    def hint_widths(self) -> tuple[int, int, tuple[int, ...]]:
        """Of a ControlNet's hint: channels of the picture, convolutions between the first and the
        last, and the widths of its resolutions. ValueError: as `shape`."""
        original = self.key_format == "compvis"
        stem = "input_hint_block.0" if original else "controlnet_cond_embedding.conv_in"
        block = "controlnet_cond_embedding.blocks.{}."
        blocks = self.count(block)
        if original:
            block = "input_hint_block.{}."
            convs = {
                int(name.split(".")[1]) for name in self.weights if name.startswith(block[:17])
            }
            blocks = len(convs) - 2
        width, channels = self.shape(f"{stem}.weight")[:2]
        numbers = [2 * i + 2 if original else i for i in range(1, blocks, 2)]
        coarser = [self.shape(f"{block.format(i)}weight")[0] for i in numbers]
        return channels, blocks, (width, *coarser)

    def rows(self, config: UNetConfig) -> list[Row]:
        """The layers of a ControlNet for a U-Net."""
        layers = self.count("transformer_layes.{}.") if self.kind == "union" else None
        return [*controlnet_rows(config, self.hint_widths()[1], layers)]

    def fitted(self, config: UNetConfig) -> UNetConfig:
        """The config of a ControlNet whose transformers may be fewer than those of the U-Net (the
        small ones of diffusers for SDXL). What takes weights from the U-Net has all of them."""
        if self.kind in ("difference", "control-lora"):
            return config
        levels = range(len(config.channels))
        deep = replace(config, depth=tuple(DEEPEST for _ in levels), mid_depth=DEEPEST, up_depth=())
        there = {
            layer.ours
            for layer in controlnet_rows(deep, 0)
            if any(f"{name}.weight" in self.weights for name in layer.names(self.key_format))
        }

        def depth(attn: str) -> int:
            return sum(f"{attn}.blocks.{i}.norm1" in there for i in range(DEEPEST))

        found = tuple(depth(f"down.{level}.attn.0") for level in levels)
        return replace(config, depth=found, mid_depth=depth("mid.attn"), up_depth=())


def recognised(weights: Mapping[str, Weight]) -> Found | None:
    """What control it is; None: it is none. A whole checkpoint may lie beside a ControlNet."""
    own = {name.removeprefix(WHOLE): weight for name, weight in weights.items() if WHOLE in name}
    inner = own or weights
    if "lora_controlnet" in inner:
        return Found("control-lora", "compvis", inner)
    if "controlnet_cond_embedding.conv_in.weight" in inner:
        kind: Kind = "union" if "task_embedding" in inner else "controlnet"
        return Found(kind, "diffusers", inner)
    if "input_hint_block.0.weight" in inner:
        return Found("difference" if "difference" in weights else "controlnet", "compvis", inner)
    if any(name.startswith("adapter.body.0.resnets.0.block1.") for name in inner):
        return Found("adapter", "diffusers", inner)
    if "body.0.in_conv.weight" in inner or {"conv_in.weight", "body.0.block1.weight"} <= {*inner}:
        return Found("adapter", "compvis", inner)
    if any(name.startswith("ip_adapter.") for name in inner):
        return Found("ip-adapter", "compvis", inner)
    return None


def of_control(weights: Mapping[str, Weight]) -> tuple[str, tuple[str, ...]] | None:
    """What control a file holds, in words, and the families that it is for; None: it holds
    none."""
    found = recognised(weights)
    if found is None:
        return None
    families = families_of(found)
    return titled(found, families), families


def families_of(found: Found) -> tuple[str, ...]:
    """A network is built only for those whose widths are there, and once for those that are alike
    to a control."""
    suited: dict[UNetConfig, bool] = {}
    families = []
    for name, family in FAMILIES.items():
        config = alike(family.unet)
        if has_widths(found, config) and config not in suited:
            suited[config] = suits(found, config)
        if suited.get(config):
            families.append(name)
    return tuple(families)


def alike(unet: UNetConfig) -> UNetConfig:
    """The same without what a control does not see of it."""
    return replace(unet, concat_channels=0, guidance_width=None, classes=None)


def has_widths(found: Found, config: UNetConfig) -> bool:
    """Whether the stem, and the layers that read the text, are as wide as those of a U-Net."""
    if found.kind in ("adapter", "control-lora", "ip-adapter"):
        return True
    stems = "conv_in.weight", "input_blocks.0.0.weight"
    stem = next((found.weights[name].shape for name in stems if name in found.weights), ())
    texts = {weight.shape[1:2] for name, weight in found.weights.items() if "attn2.to_k.w" in name}
    return stem[:1] == (config.channels[0],) and texts <= {(config.context_width,)}


def described(found: Found) -> str:
    """Its title, and the families that it is for; of those that are alike to it, the first."""
    families, first = families_of(found), dict[UNetConfig, str]()
    for name in families:
        first.setdefault(alike(FAMILIES[name].unet), name)
    title = titled(found, families)
    return f"{title}, for {', '.join(first.values())}" if families else title


def titled(found: Found, families: tuple[str, ...]) -> str:
    """Its title; of an IP-Adapter also with which CLIP it sees."""
    if not families or found.kind != "ip-adapter":
        return found.title
    from .ip_adapters import ip_adapter_config

    tower = ip_adapter_config(found, FAMILIES[families[0]].unet).tower
    return f"{found.title} that sees with CLIP's {tower}"


def suits(found: Found, config: UNetConfig) -> bool:
    """Whether the tensors of a control that are there have the shapes of one for a U-Net."""
    from .loading import built, expected

    try:
        network, rows = built(found, config, 8)
        shapes = expected(network, rows, found.key_format)
    except ValueError:
        return False
    there = {name: shape for name, shape in shapes.items() if name in found.weights}
    least = 1 if found.kind in ("difference", "control-lora") else len(shapes)
    if len(there) < least or any(found.weights[n].shape != s for n, s in there.items()):
        return False
    layers = {name.removesuffix(".weight"): shape for name, shape in shapes.items()}
    return all(
        product_fits(found.weights[f"{layer}.up"], found.weights[f"{layer}.down"], shape)
        for layer, shape in layers.items()
        if {f"{layer}.up", f"{layer}.down"} <= found.weights.keys()
    )


def product_fits(up: Weight, down: Weight, shape: tuple[int, ...]) -> bool:
    """Whether up down, of a control-LoRA, is a change of a weight of that shape."""
    rank = up.shape[1:2]
    sizes = shape[0] * prod(rank), prod(shape[1:]) * prod(rank)
    return rank == down.shape[:1] and sizes == (prod(up.shape), prod(down.shape))
