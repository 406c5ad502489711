"""LoRAs on the weights of networks: merged into them, and taken back to the last bit.

The weights as they were are kept, and nothing is copied but those that change; every state is
computed from them anew. So the order in which LoRAs come and go leaves no trace.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .dora import decomposed
from .file import Layer
from .matching import Matched


class Use(NamedTuple):
    """A LoRA with its strength for the U-Net and for the text encoders."""

    matched: Matched
    unet: float = 1.0
    text: float = 1.0


class Change(NamedTuple):
    """What a layer of a file does to a parameter of ours: of its change the i-th of n parts."""

    layer: Layer
    ours: tuple[str, ...]
    part: int
    strength: float


Made = dict[tuple[int, float], tuple[Tensor, float]]


class Applied:
    """networks   unet, text and text2, whose weights change
    originals  of the parameters that are changed, as they were
    uses       what is in them
    program    whose rule for DoRA at a strength other than 1, see `dora`
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self.layers = {
            f"{network}.{name}": layer
            for network, module in networks.items()
            for name, layer in module.named_modules()
        }
        self.originals: dict[str, Tensor] = {}
        self.program: str | None = None
        self.uses: list[Use] = []
        self._plan: dict[str, list[Change]] = {}

    @torch.no_grad()
    def use(self, uses: list[Use], program: str | None = None) -> None:
        """From now on these LoRAs, and no others, are in the weights: W + sum of s dW, each dW of
        W as it was. A state that is there already costs nothing."""
        if uses == self.uses and program == self.program:
            return
        plan = planned(uses)
        stale = {
            name
            for name in {*plan, *self._plan}
            if plan.get(name) != self._plan.get(name) or program != self.program
        }
        self.uses, self._plan, self.program = list(uses), plan, program
        made: Made = {}
        for name in sorted(stale):
            original, now = self.originals.setdefault(name, self.now(name)), self.now(name)
            if name in plan:
                self.set(name, merged(name, now, plan[name], self.original, program, made))
            else:  # moved meanwhile, perhaps, and then rounded as it was
                self.set(name, original.to(now))
                del self.originals[name]

    def now(self, name: str) -> Tensor:
        """The tensor of a parameter, whether it is packed (`layers.packed`) or not."""
        layer, _, parameter = name.rpartition(".")
        tensor: Tensor = getattr(self.layers[layer], parameter).data
        if not tensor.is_mkldnn:
            return tensor
        pointwise = getattr(self.layers[layer], "pointwise", False)  # packed as a matrix
        return tensor.to_dense()[..., None, None] if pointwise else tensor.to_dense()

    def set(self, name: str, tensor: Tensor) -> None:
        """Put a tensor in the place of a parameter's, packed where that is."""
        name, _, parameter = name.rpartition(".")
        layer: Any = self.layers[name]
        if not getattr(layer, parameter).is_mkldnn:
            getattr(layer, parameter).data = tensor
            return
        layer.weight = nn.Parameter(tensor, requires_grad=False)
        layer.weight = nn.Parameter(layer.pack(), requires_grad=False)

    def original(self, name: str) -> Tensor:
        """A parameter without LoRAs."""
        return self.originals[name] if name in self.originals else self.now(name)


def planned(uses: Sequence[Use]) -> dict[str, list[Change]]:
    """The changes of each parameter."""
    plan: dict[str, list[Change]] = {}
    for matched, unet, text in uses:
        for layer, ours in matched.changed:
            strength = unet if layer.network == "unet" else text
            kinds = ("weight",) * (layer.kind is not None) + ("bias",) * ("bias" in layer.parts)
            for i, name in enumerate(ours) if strength else ():
                for kind in kinds:
                    plan.setdefault(f"{name}.{kind}", []).append(Change(layer, ours, i, strength))
    return plan


def merged(
    name: str,
    now: Tensor,
    changes: Sequence[Change],
    original: Callable[[str], Tensor],
    program: str | None,
    made: Made,
) -> Tensor:
    """A parameter with its changes, computed in float32 or better. now: as it is; original: gives
    any parameter as it was; made: what has been computed of several parameters together."""
    wide = torch.promote_types(now.dtype, torch.float32)
    total = original(name).to(now.device, wide)
    for change in changes:
        layer, ours, part, strength = change
        key = id(layer), strength
        if name.endswith(".bias"):
            found = layer.parts["bias"].read(wide, now.device).clone(), strength
        elif key in made:
            found = made[key]
        else:
            w = [original(f"{one}.weight").to(now.device, wide) for one in ours]
            found = change_of(layer, w[0] if len(w) == 1 else torch.cat(w), strength, program)
            if len(w) > 1:
                made[key] = found
        delta, factor = found
        delta = delta if len(ours) == 1 else delta.chunk(len(ours))[part].clone()
        delta = delta.reshape(now.shape)
        total = torch.add(total, delta, alpha=factor, out=delta)
    return total.to(now.dtype)


def change_of(
    layer: Layer, w: Tensor, strength: float, program: str | None = None
) -> tuple[Tensor, float]:
    """What a layer at a strength adds to W (O, I, ...): a tensor of its own, and a factor."""
    assert layer.kind is not None
    parts = layer.read(w.dtype, w.device)
    delta = layer.kind.change(w, parts, layer.alpha).reshape(w.shape)
    length = parts["magnitude"].flatten() if "magnitude" in parts else parts.get("dora_scale")
    if length is None:
        return delta, strength
    return decomposed(w, delta, length, strength, program), 1.0
