"""Two models, or two and a third, as one: see `methods` for how."""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...runtime.hashes import computed, legacy
from ..family import Family
from ..keymaps import KeyFormat
from ..weights.saving import checked
from .blocks import blocks_of, weights_by_block
from .located import Located, located
from .methods import METHODS, Method, Options, method_named
from .planning import beside, layout_for, planned, write_planned

STEM = "unet.stem.weight"  # (C, channels that it sees, 3, 3)


def merge(
    paths: list[str | Path],
    out: str | Path,
    method: str = "weighted",
    alpha: float | None = None,
    blocks: str | None = None,
    density: float | None = None,
    seed: int = 0,
    layout: KeyFormat | None = None,
    dtype: torch.dtype | None = None,
    family: Family | None = None,
    prediction: str | None = None,
) -> None:
    """Write a merged model to `out`, whole or not at all, with the recipe in its metadata.

    paths      A, B, and for the methods that need it C, the model that both were trained from; of
               any layouts. The first may see more than a latent (inpainting): that part is its own.
    method     a name in METHODS, or A1111's
    alpha      how much of B, or of the change; None: the method's default
    blocks     other alphas for blocks of the U-Net, see `weights_by_block`
    density    of ties and dare: see `Options`;  seed  of dare
    layout, dtype, family, prediction   see `convert`

    Computed in float32, or in float64 where a model is. CheckpointError, ValueError: it cannot be
    done.
    """
    name = method_named(method)
    how = METHODS[name]
    alpha = how.alpha if alpha is None else alpha
    density = how.density if density is None else density
    check_asked(name, how, len(paths), alpha, density)
    models = [located(path, None, family, prediction) for path in paths]
    first = models[0]
    check_alike(models)
    chosen = layout_for(first, Path(out), layout)
    target = checked(out, chosen)
    by_block = weights_by_block(blocks or f"BASE={alpha}", first.family, alpha)
    where, exact = blocks_of(first.family), is_float64(models)

    def make(ours: str) -> Tensor:
        tensors = [one.read(ours, torch.float64 if exact else torch.float32) for one in models]
        options = [] if density is None else [Options(density, lambda: dice(seed, ours))]
        whole, seen = tensors[0], min(tensor.shape[1] for tensor in tensors) if ours == STEM else 0
        parts = [tensor[:, :seen] for tensor in tensors] if seen else tensors
        result = how.run(*parts, by_block[where[ours]], *options)
        return torch.cat([result, whole[:, seen:]], 1) if seen else result

    tensors = planned(first.family, chosen, make, lambda ours: dtype or first.weight(ours).dtype)
    tensors |= beside(first, chosen, dtype)
    recipe = {"interp_method": how.label, "multiplier": alpha, "blocks": blocks}
    recipe |= {} if density is None else {"density": density, "seed": seed}
    write_planned(target, first, tensors, chosen, recipe_of(models, recipe))


def dice(seed: int, name: str) -> torch.Generator:
    """Of each tensor its own, so that the order in which they are written does not matter."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))


def is_float64(models: list[Located]) -> bool:
    return any(
        one.opened.weights[name].dtype == torch.float64
        for one in models
        for name, _ in one.sources.values()
    )


def check_asked(name: str, method: Method, count: int, alpha: float, density: float | None) -> None:
    if count != 2 + method.base:
        what = "A, B and C, the model that both come from" if method.base else "A and B"
        raise ValueError(f"--method {name} takes {2 + method.base} models, {what}: not {count}")
    if not abs(alpha) <= 100:
        raise ValueError(f"--alpha {alpha}: give a number from -100 to 100, mostly from 0 to 1")
    if density is not None and method.density is None:
        raise ValueError(f"--method {name} takes no density: leave it out, or take ties or dare")
    if density is not None and not 0 < density <= 1:
        raise ValueError(f"--density {density}: give what part is kept, above 0 and at most 1")


def check_alike(models: list[Located]) -> None:
    """An error unless all have the same parameters in the same shapes; but the first may see more
    beside its latents."""
    first = models[0]
    for other in models[1:]:
        names = {"first": first.opened.path.name, "other": other.opened.path.name}
        kinds = f"{first.family.name} and {other.family.name}"
        if first.sources.keys() != other.sources.keys():
            raise ValueError(f"{names['first']} and {names['other']} are of two kinds: {kinds}")
        for ours in first.sources:
            shape, found = (one.shape_of(ours) for one in (first, other))
            if ours == STEM and shape[1] > found[1]:
                shape = (shape[0], found[1], *shape[2:])
            if shape != found:
                what = f"{ours} is {shape} in {names['first']}, and {found} in {names['other']}"
                raise ValueError(f"models of two sizes, {kinds}: {what}")


def recipe_of(models: list[Located], recipe: dict[str, Any]) -> dict[str, str]:
    """The metadata that A1111's merger writes, with its names."""
    kinds = zip(("primary", "secondary", "tertiary"), models)
    hashes = {f"{kind}_model_hash": sha256_of(one) for kind, one in kinds}
    used = {sha256_of(one): described(one) for one in models}
    return {
        "sd_merge_recipe": json.dumps({"type": "ldm", **hashes, **recipe}),
        "sd_merge_models": json.dumps(used),
    }


def sha256_of(model: Located) -> str:
    """Of a file; a folder goes by its name."""
    path = model.opened.path
    return computed(path) if path.is_file() else path.resolve().name


def described(model: Located) -> dict[str, Any]:
    path, own = model.opened.path, model.opened.metadata.get("sd_merge_recipe")
    old = legacy(path) if path.is_file() else None
    return {"name": path.name, "legacy_hash": old, "sd_merge_recipe": own and json_of(own)}


def json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
