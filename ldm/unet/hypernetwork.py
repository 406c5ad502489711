"""Hypernetworks: small networks change what the keys and the values of the U-Net's attentions are
made of,

    attention(Q(x), K(c + s f(c)), V(c + s g(c)))

where c is the text, or x itself. There is a pair f, g for each width that c may have. The idea is
NovelAI's ("NovelAI improvements on Stable Diffusion", 2022); that all attentions of a width share a
pair, and what f may be, are AUTOMATIC1111's.

B batch, L tokens, D their width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Linear
from .blocks import CrossAttention
from .model import UNet

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {  # as files call them; swish is the hard one
    "linear": nn.Identity(), "relu": F.relu, "leakyrelu": F.leaky_relu, "elu": F.elu,
    "swish": F.hardswish, "hardswish": F.hardswish, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "silu": F.silu, "gelu": F.gelu, "mish": F.mish, "selu": F.selu, "celu": F.celu,
    "relu6": F.relu6, "rrelu": F.rrelu, "softplus": F.softplus, "softsign": F.softsign,
    "hardtanh": F.hardtanh, "hardsigmoid": F.hardsigmoid, "hardshrink": F.hardshrink,
    "softshrink": F.softshrink, "tanhshrink": F.tanhshrink, "logsigmoid": F.logsigmoid,
}  # fmt: skip


class Change(nn.Module):
    """f: linear layers, after each the activation and, where there is one, a layer norm.

    widths      from D to D
    norms       whether there is one after each layer
    activation  its name
    last        whether it is also after the last layer
    """

    __call__: Callable[[Tensor], Tensor]

    def __init__(
        self, widths: Sequence[int], norms: Sequence[bool], activation: str, last: bool
    ) -> None:
        super().__init__()
        self.linears = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(
            nn.LayerNorm(width) if norm else nn.Identity() for width, norm in zip(widths[1:], norms)
        )
        self.activation, self.last = ACTIVATIONS[activation], last

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> the same"""
        for i, (linear, norm) in enumerate(zip(self.linears, self.norms), 1):
            x = linear(x)
            x = norm(self.activation(x) if self.last or i < len(self.linears) else x)
        return x


class Hypernetwork(nn.Module):
    """pairs   f and g by D"""

    def __init__(self, pairs: Mapping[int, tuple[Change, Change]]) -> None:
        super().__init__()
        self.widths = tuple(pairs)
        self.pairs = nn.ModuleList(nn.ModuleList(pair) for pair in pairs.values())


def attentions(unet: UNet) -> Iterator[CrossAttention]:
    """All, whatever they read: it is `k.in_features` wide."""
    return (module for module in unet.modules() if isinstance(module, CrossAttention))


@contextmanager
def through(unet: UNet, network: Hypernetwork, strength: float) -> Iterator[None]:
    """While it lasts, the keys and values of the U-Net are made of what the network makes of their
    contexts; of several networks each is given what the one before made."""

    def changed(change: Callable[[Tensor], Tensor]) -> Any:
        return lambda _, args: (args[0] + strength * change(args[0]),)

    pairs: dict[int, Any] = dict(zip(network.widths, network.pairs))
    with ExitStack() as stack:
        for attn in attentions(unet):
            for layer, change in zip((attn.k, attn.v), pairs.get(attn.k.in_features, ())):
                stack.callback(layer.register_forward_pre_hook(changed(change)).remove)
        yield
