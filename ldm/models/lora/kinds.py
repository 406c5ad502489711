"""What each kind of file says of a weight W (O, I) or (O, I, kh, kw): a formula for its change dW.

r is the rank and s = alpha / r the scale; without an alpha, or with 0, s = 1. Parts of a layer are
named as in `spelling`. A convolution of 1 x 1 and a linear layer are the same weight in two shapes:
results are reshaped to that of W. Every function also runs on torch's `meta` device, where it tells
the shape of what it gives and computes nothing.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .rotation import rotation

Parts = Mapping[str, Tensor]
# W, parts, alpha -> dW, a tensor of its own: nothing that is given is written to
Change = Callable[[Tensor, Parts, float | None], Tensor]


class Kind(NamedTuple):
    """name, signs   a layer with a part of these names is of this kind
    change        its formula
    """

    name: str
    signs: tuple[str, ...]
    change: Change


def scale(alpha: float | None, rank: int) -> float:
    if rank == 0:
        raise ValueError("a change of rank 0 is none")
    return alpha / rank if alpha else 1.0


def lora(w: Tensor, p: Parts, alpha: float | None) -> Tensor:
    """dW = s up down. Hu et al. 2021, "LoRA", eq. 3; of convolutions, and with a core `mid`
    (r, r, kh, kw) between the two (a Tucker decomposition): LyCORIS, "LoCon"."""
    up, down = p["up"].flatten(1), p["down"]  # (O, r), (r, I, kh, kw)
    s = scale(alpha, len(down))
    if "mid" in p:
        core = torch.einsum("mn..., om, ni -> oi...", p["mid"], up, down.flatten(1))
        return s * core
    return (s * up) @ down.flatten(1)


def loha(w: Tensor, p: Parts, alpha: float | None) -> Tensor:
    """dW = s (A1 B1) * (A2 B2), multiplied entry by entry. Hyeon-Woo et al. 2021, "FedPara", eq. 2;
    with cores t (r, r, kh, kw): its proposition 3."""

    def half(i: int) -> Tensor:
        a, b = p[f"hada_w{i}_a"], p[f"hada_w{i}_b"]  # (O, r), (r, I kh kw); with a core (r, O)
        if f"hada_t{i}" in p:
            return torch.einsum("ij..., jr, ip -> pr...", p[f"hada_t{i}"], b, a)
        return a @ b

    return scale(alpha, len(p["hada_w1_b"])) * half(1) * half(2)


def lokr(w: Tensor, p: Parts, alpha: float | None) -> Tensor:
    """dW = s C x D, their Kronecker product; each of the two whole, or a product of two of rank r.
    If both are whole there is no rank, and s = 1. Edalati et al. 2022, "KronA"; LyCORIS, "LoKr"."""
    ranks: list[int] = []

    def factor(i: int) -> Tensor:
        if (whole := p.get(f"lokr_w{i}")) is not None:
            return whole
        a, b = p[f"lokr_w{i}_a"], p[f"lokr_w{i}_b"]
        ranks.append(len(b))
        if (core := p.get(f"lokr_t{i}")) is not None:
            return torch.einsum("ij..., jr, ip -> pr...", core, b, a)
        return a @ b

    c, d = factor(1), factor(2)
    if d.dim() == 4:
        c = c[:, :, None, None]
    product = torch.kron(c.contiguous(), d.contiguous())
    return scale(alpha, ranks[0]) * product if ranks else product


def glora(w: Tensor, p: Parts, alpha: float | None) -> Tensor:
    """dW = s (W A1 A2 + B1 B2). Chavan et al. 2023, "One-for-all: generalized LoRA". LyCORIS wrote
    the factors in two layouts: A1 (I, r), A2 (r, I), B1 (O, r), B2 (r, I); before version 1.9 the
    two of each pair were exchanged: then it is W A2 A1 + B2 B1, and A1 is (r, I)."""
    a1, a2, b1, b2 = (p[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    inputs = w.shape[1]
    if (a1.shape[0], a2.shape[1]) != (inputs, inputs):
        a1, a2, b1, b2 = a2, a1, b2, b1
    s = scale(alpha, len(a2))
    within = torch.einsum("oi..., ir, rj -> oj...", w, a1, a2)
    core = p.get("bm")
    beside = b1 @ b2 if core is None else torch.einsum("mn..., om, ni -> oi...", core, b1, b2)
    return s * (within + beside.reshape(w.shape))


def ia3(w: Tensor, p: Parts, alpha: float | None) -> Tensor:
    """dW = W * v, v one number for each input, or for each output. Liu et al. 2022, "Few-shot
    parameter-efficient fine-tuning", eq. 1, with 1 + v in the place of its l: LyCORIS."""
    shape = [1] * w.dim()
    shape[1 if "of_inputs" in p else 0] = -1
    return w * p["of_inputs" if "of_inputs" in p else "of_outputs"].reshape(shape)


def added(part: str) -> Change:
    """dW as it stands in the file."""
    return lambda w, p, alpha: p[part].clone()


def replaced(w: Tensor, p: Parts, alpha: float | None) -> Tensor:
    """dW = W' - W: the file has the weight itself (ComfyUI's `set_weight`)."""
    return p["set_weight"].reshape(w.shape) - w


KINDS = (
    Kind("LoRA", ("up", "down"), lora),
    Kind("LoHa", ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), loha),
    Kind("LoKr", ("lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_a"), lokr),
    Kind("OFT", ("oft_blocks",), rotation),
    Kind("BOFT", ("boft_blocks",), rotation),
    Kind("GLoRA", ("a1", "a2", "b1", "b2"), glora),
    Kind("IA3", ("of_inputs", "of_outputs"), ia3),
    Kind("full", ("diff",), added("diff")),
    Kind("norm", ("w_norm",), added("w_norm")),
    Kind("set", ("set_weight",), replaced),
)
