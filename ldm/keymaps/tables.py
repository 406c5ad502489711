"""A naming as an exact table of parameters, total and one-to-one, that serves for loading and for saving."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from torch import Tensor

from ..families import Family
from .rows import TEXT_MODEL, rows

Naming = Literal["ldm", "compvis", "diffusers"]


@dataclass(frozen=True)
class Operation:
    """How a tensor of theirs becomes ours, and ours theirs."""

    ours: Callable[[Tensor], Tensor]
    theirs: Callable[[Tensor], Tensor]


SAME = Operation(lambda tensor: tensor, lambda tensor: tensor)
POINTWISE = Operation(lambda tensor: tensor[:, :, 0, 0], lambda tensor: tensor[:, :, None, None])  # linear <- 1x1 conv


class Source(NamedTuple):
    """Where a parameter of ours is found in a naming: the first name is written, any is read."""

    names: tuple[str, ...]
    operation: Operation


@lru_cache(maxsize=16)
def table(family: Family, naming: Naming) -> dict[str, Source]:
    """Each parameter of ours -> its source in a naming."""
    sources = {}
    for layer in rows(family):
        layers = {"ldm": (layer.ours,), "compvis": layer.compvis, "diffusers": layer.diffusers}[naming]
        for parameter in ("weight", "bias") if layer.bias else ("weight",):
            pointwise = naming == "compvis" and layer.pointwise and parameter == "weight"
            names = tuple(f"{name}.{parameter}" for name in layers)
            sources[f"{layer.ours}.{parameter}"] = Source(names, POINTWISE if pointwise else SAME)
    return sources


def ema_name(compvis: str) -> str:
    """CompVis's name of the moving average of a parameter inside "model.": that name without its dots."""
    return "model_ema." + compvis.removeprefix("model.").replace(".", "")


class Ignored(NamedTuple):
    """Something in official files that is not needed."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    reason: str


SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)


def ignored(family: Family, naming: Naming) -> list[Ignored]:
    """What official files hold besides parameters, each with the reason why it is not needed."""

    def positions(text_encoder: str) -> Ignored:
        names = tuple(f"{text_encoder}.{name}embeddings.position_ids" for name in TEXT_MODEL)
        return Ignored(names, (1, family.text.length), "positions of the tokens: the numbers 0, 1, 2, …")

    if naming == "diffusers":
        return [positions("text_encoder")]
    if naming == "compvis":
        schedule = "noise schedule: computed anew, in float64, from the betas of the family"
        counter = "counters of the moving average: of use only to its training"
        return [
            *(Ignored((name,), (family.train_steps,), schedule) for name in SCHEDULE_BUFFERS),
            *(Ignored((name,), (), counter) for name in ("model_ema.decay", "model_ema.num_updates")),
            positions("cond_stage_model.transformer"),
        ]
    return []
