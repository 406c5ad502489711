"""A checkpoint in another layout or number format, without what is not needed to draw."""

from pathlib import Path

import torch
from torch import Tensor

from ...runtime.hashes import computed
from ..family import Family
from ..keymaps import KeyFormat, ema_name
from ..weights.saving import checked
from ..weights.write_safetensors import Planned
from .located import Located, located
from .planning import beside, layout_for, planned, write_planned


def convert(
    path: str | Path,
    out: str | Path,
    layout: KeyFormat | None = None,
    dtype: torch.dtype | None = None,
    ema: bool | None = None,
    keep_ema: bool = False,
    family: Family | None = None,
    prediction: str | None = None,
) -> None:
    """Write the model at `path` to `out`, whole or not at all.

    layout     see `save`; None: a folder where `out` has no ending, else as it is
    dtype      of all parameters; None: as they are
    ema        whether the moving averages of the U-Net take the place of its weights; None: if
               there are any
    keep_ema   the weights as they are, and the averages beside them, in CompVis's layout
    family, prediction   see `read`

    What is left out: averages and weights that the others take the place of, optimizers, schedules
    and counters, and whatever else is no parameter. CheckpointError, ValueError: it cannot be done.
    """
    model = located(path, False if keep_ema else ema, family, prediction)
    chosen = layout_for(model, Path(out), layout)
    target = checked(out, chosen)

    def make(ours: str) -> Tensor:
        return model.read(ours, model.weight(ours).dtype)

    tensors = planned(model.family, chosen, make, lambda ours: dtype or model.weight(ours).dtype)
    tensors |= beside(model, chosen, dtype)
    if keep_ema:
        if chosen != "compvis":
            raise ValueError("only CompVis's layout has a place for both weights and averages")
        averages = located(path, True, family, prediction)
        tensors |= averages_of(averages, dtype)
    write_planned(target, model, tensors, chosen, {"converted_from": said(model)})


def averages_of(model: Located, dtype: torch.dtype | None) -> dict[str, Planned]:
    """The moving averages of the U-Net under the names that CompVis's training gives them."""
    tensors = planned(
        model.family,
        "compvis",
        lambda ours: model.read(ours, model.weight(ours).dtype),
        lambda ours: dtype or model.weight(ours).dtype,
    )
    unet = "model.diffusion_model."
    return {ema_name(name): one for name, one in tensors.items() if name.startswith(unet)}


def said(model: Located) -> str:
    """Name and sha256 of a file; of a folder the name."""
    path = model.opened.path
    return f"{path.name} {computed(path)}" if path.is_file() else path.resolve().name
