"""How two models, or two and the one that both were trained from, become one: formulas on their
tensors.

    a, b   a parameter of either model;  c  of the third, where there is one
    alpha  how much of b, or of the change;  theta  what the papers call all parameters

To merge the weights of fine-tunes of one model makes sense because they stay close to each other:
Wortsman et al. 2022, "Model soups".
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Options:
    """density   what part of the changes is kept: ties the largest, dare any
    generator   where dare's dice come from, one for each tensor
    """

    density: float
    generator: Callable[[], torch.Generator]


def weighted(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) a + alpha b: A1111's "Weighted sum"."""
    return (1 - alpha) * a + alpha * b


def add_difference(a: Tensor, b: Tensor, c: Tensor, alpha: float) -> Tensor:
    """a + alpha (b - c): A1111's "Add difference". What b learnt since c, added to a."""
    return a + alpha * (b - c)


def slerp(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """From a to b along the great circle through both, each tensor taken as one vector.

    (sin((1 - alpha) w) a + sin(alpha w) b) / sin(w), where w is the angle between a and b.
    Shoemake 1985, sec. 3.3. Where they are nearly parallel, or one is 0: the weighted sum.
    """
    lengths = torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)
    cosine = (a * b).sum() / lengths if lengths > 0 else torch.ones(())
    if cosine.abs() > 0.9995:
        return weighted(a, b, alpha)
    angle = torch.acos(cosine)
    along = torch.sin((1 - alpha) * angle) * a + torch.sin(alpha * angle) * b
    return along / torch.sin(angle)


def ties(a: Tensor, b: Tensor, c: Tensor, alpha: float, options: Options) -> Tensor:
    """c + alpha tau, where tau is what a and b changed of c, and agree on.

    Yadav et al. 2023, "TIES-merging", alg. 1. Trim: of each change the `density` largest numbers
    are kept, others become 0. Elect: the sign of their sum, number by number. Merge: the mean of
    those that have this sign.
    """
    changes = torch.stack([trimmed(a - c, options.density), trimmed(b - c, options.density)])
    agree = changes * changes.sum(0).sign() > 0
    count = agree.sum(0).clamp(min=1)
    return c + alpha * (changes * agree).sum(0) / count


def trimmed(change: Tensor, density: float) -> Tensor:
    kept = round(density * change.numel())
    if kept == 0:
        return torch.zeros_like(change)
    size = change.abs()
    least = size.flatten().kthvalue(change.numel() - kept + 1).values
    return torch.where(size >= least, change, 0)


def dare(a: Tensor, b: Tensor, c: Tensor, alpha: float, options: Options) -> Tensor:
    """c + alpha (delta_a + delta_b), where each delta is a change of c of which most was dropped.

    Yu et al. 2024, "Language models are super Mario", eq. 1 to 3, with task arithmetic: each number
    of a change is kept with a probability of `density`, and then divided by it, so that it is the
    same on average.
    """
    generator = options.generator()
    return c + alpha * (thinned(a - c, options, generator) + thinned(b - c, options, generator))


def thinned(change: Tensor, options: Options, generator: torch.Generator) -> Tensor:
    keep = torch.rand(change.shape, generator=generator) < options.density
    return torch.where(keep, change / options.density, 0)


@dataclass(frozen=True)
class Method:
    """label     in A1111's merger, or in the paper
    alpha     by default
    density   by default; None: it takes none
    base      whether it needs the third model
    """

    label: str
    run: Callable[..., Tensor]
    alpha: float
    density: float | None = None
    base: bool = False


METHODS = {
    "weighted": Method("Weighted sum", weighted, 0.5),
    "add_difference": Method("Add difference", add_difference, 1.0, base=True),
    "slerp": Method("SLERP", slerp, 0.5),
    "ties": Method("TIES", ties, 1.0, density=0.2, base=True),
    "dare": Method("DARE", dare, 0.5, density=0.5, base=True),
}


def method_named(name: str) -> str:
    """The name in METHODS; other programs' labels are taken, too. ValueError lists all."""
    labels = {method.label.casefold(): own for own, method in METHODS.items()}
    found = labels.get(name.casefold().replace("_", " "), name)
    if found not in METHODS:
        raise ValueError(f"method {name!r:.80} is unknown: choose one of {', '.join(METHODS)}")
    return found
