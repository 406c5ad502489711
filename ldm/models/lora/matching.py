"""Which parameters of a family's networks a LoRA changes; and which family it is for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch

from ...runtime.text import one_line
from ..families import FAMILIES, Family
from ..family import parameter_shapes
from ..keymaps import components
from ..weights.errors import CheckpointError
from ..weights.matching import first
from .file import Layer, Lora
from .foreign import foreign, stated

TOLERATED = "unet.stem"  # of another shape in inpainting models: what a file says of it is left out
BASES = "sd1", "sd2", "sdxl", "sdxl-refiner"  # of which the others have some of the layers
# Of a file that has a layer under both names, as some converters make, diffusers' is read.
COMPVIS = re.compile(r"(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)_")


@dataclass(frozen=True, eq=False)
class Matched:
    """changed   the layers that are found, and which layers of ours each is: one, or, where
              OpenCLIP has one tensor for them, three, one below the other
    absent    keys of layers that the family lacks, or that have another shape there
    """

    lora: Lora
    changed: tuple[tuple[Layer, tuple[str, ...]], ...]
    absent: tuple[str, ...]

    @property
    def told(self) -> str | None:
        """What is left out, in a line; None: nothing."""
        left = [*self.absent, *self.lora.unread]
        if not left:
            return None
        count = f"{len(left)} of {len(self.changed) + len(left)}"
        return one_line(f"{count} layers of {self.lora.name} are not used: {first(left, 4)}")


@lru_cache(maxsize=32)
def layers_of(family: Family) -> dict[tuple[str, str], tuple[str, ...]]:
    """Network and name of a layer in any spelling, without dots -> layers of ours."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for part in components(family):
        if part.name == "vae":
            continue
        for row in part.rows:
            for name in {*row.compvis, *row.diffusers}:
                for flat in {name.replace(".", "_"), name.removesuffix(".0").replace(".", "_")}:
                    before = found.get((part.name, flat), ())
                    found[part.name, flat] = (*before, f"{part.name}.{row.ours}")
    if ("text2", "final_layer_norm") not in found:  # the refiner's only one, SDXL's second
        found |= {("text2", name): ours for (net, name), ours in found.items() if net == "text"}
    return found


def places(lora: Lora, family: Family) -> Iterator[tuple[Layer, tuple[str, ...]]]:
    """Each layer of a file, and those of the family that it is; none: it lacks it."""
    known = layers_of(family)
    for layer in lora.layers:
        yield layer, known.get((layer.network, layer.name), ())


def fitting(layer: Layer, ours: tuple[str, ...], family: Family) -> bool:
    """Whether its parts make a change of the shape that these layers have, together: told by the
    formula itself, on torch's `meta` device."""
    shapes = parameter_shapes(family)
    outputs, *inputs = shapes[f"{ours[0]}.weight"]
    w = torch.empty(outputs * len(ours), *inputs, device="meta")
    parts = layer.shapes()
    if "bias" in parts and (
        f"{ours[0]}.bias" not in shapes or parts["bias"].numel() != outputs * len(ours)
    ):
        return False
    try:
        change = None if layer.kind is None else layer.kind.change(w, parts, layer.alpha)
        length = parts.get("dora_scale", parts.get("magnitude"))
    except (RuntimeError, IndexError, KeyError, ValueError, TypeError):
        return False  # parts that do not go together
    if length is not None and length.numel() not in (w.shape[0], *w.shape[1:2]):
        return False
    return change is None or change.numel() == w.numel()


def match_lora(lora: Lora, family: Family) -> Matched:
    """Where the layers of a LoRA are in a family's networks. CheckpointError: less than half of
    them are there, or none of a network's, or one has another shape; it names the family that the
    file is for."""
    changed, absent, wrong = [], list[str](), list[str]()
    twice = set[tuple[tuple[str, ...], str | None]]()
    in_order = sorted(places(lora, family), key=lambda found: bool(COMPVIS.match(found[0].name)))
    for layer, ours in in_order:
        what = ours, layer.kind and layer.kind.name
        if ours and what in twice:
            absent.append(layer.key)
            continue
        twice.add(what)
        if ours and fitting(layer, ours, family):
            changed.append((layer, ours))
        elif not ours or ours == (TOLERATED,):
            absent.append(layer.key)
        else:
            wrong.append(layer.key)
    lacking = {layer.network for layer in lora.layers} - {layer.network for layer, _ in changed}
    if wrong or lacking or 2 * len(changed) < len(lora.layers):
        meant = meant_for(lora)
        some = f"it has {len(changed)} of {len(lora.layers)} layers"
        fault = f"{first(wrong, 2)} do not fit it" if wrong else some
        if meant == family.name or (meant is None and wrong):
            raise CheckpointError(f"{lora.path} is damaged, or not for {family.name}: {fault}")
        named = f"for no family that is known (it has {first(absent, 2)})"
        whose = f"for {meant}" if meant else named
        raise CheckpointError(f"{lora.path} is {whose}, and the model is {family.name}: {fault}")
    return Matched(lora, tuple(changed), tuple(absent))


def meant_for(lora: Lora) -> str | None:
    """The name of the first of BASES that every layer fits; or what the names of the layers, or
    the header, tell else. None: nothing tells it."""
    if (told := foreign(lora)) is not None:
        return told
    for family in (FAMILIES[name] for name in BASES):
        found = list(places(lora, family))
        if all(ours for _, ours in found) and all(fitting(*pair, family) for pair in found):
            return family.name
    return stated(lora)
