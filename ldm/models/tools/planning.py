"""From what each parameter will be to a file in any layout, written tensor by tensor."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...clip.tokenizer import CLIP_SIZE
from ..family import Family
from ..keymaps import KeyFormat, Source
from ..weights.errors import gigabytes
from ..weights.foreign import wrong_merges
from ..weights.recognise import shapes
from ..weights.saving import joined, theirs, write, written
from ..weights.write_safetensors import Planned
from .located import Located

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def planned(
    family: Family,
    key_format: KeyFormat,
    make: Callable[[str], Tensor],
    dtype_of: Callable[[str], torch.dtype],
) -> dict[str, Planned]:
    """Every tensor of a key format, made of parameters of ours by their names."""
    expected = shapes(family, key_format)

    def plan(parts: list[tuple[str, Source]]) -> Planned:
        first, dtype = parts[0][0], dtype_of(parts[0][0])

        def made() -> Tensor:
            return joined([theirs(source, make(ours).to(dtype)) for ours, source in parts])

        return Planned(dtype, expected[first], made)

    return {name: plan(parts) for name, parts in written(family, key_format).items()}


def layout_for(model: Located, out: Path, layout: KeyFormat | None) -> KeyFormat:
    """The one asked for; else a folder where the name has no ending, else the model's own, or
    CompVis's where that is a folder's."""
    if layout is not None:
        return layout
    if out.suffix == "":
        return "diffusers"
    return "compvis" if model.key_format == "diffusers" else model.key_format


def write_planned(
    path: Path,
    model: Located,
    tensors: Mapping[str, Planned],
    layout: KeyFormat,
    metadata: Mapping[str, str],
) -> None:
    """A model like another, of these tensors. The marks that other programs look for go with it.
    ValueError: it cannot be written so, or there is no room for it."""
    if not model.told and layout != "compvis":
        raise ValueError(
            f"{model.opened.path} does not say what its U-Net predicts, and this layout must: say "
            "it with --prediction eps or v"
        )
    known = model.family.text[0].vocabulary
    if layout == "diffusers" and model.merges is None and known != CLIP_SIZE:
        raise wrong_merges(model.opened, CLIP_SIZE, known)
    sizes = (torch.Size(one.shape).numel() * one.dtype.itemsize for one in tensors.values())
    needed, place = sum(sizes), next(one for one in path.absolute().parents if one.is_dir())
    if needed > (free := shutil.disk_usage(place).free):
        raise ValueError(
            f"{path} will have {gigabytes(needed)}, and {gigabytes(free)} are free there: make "
            "room, or write it elsewhere"
        )
    marks = {
        name: Planned(weight.dtype, weight.shape, weight.read)
        for name, weight in (model.marks if layout == "compvis" else {}).items()
    }
    write(path, model.family, model.merges, {**tensors, **marks}, layout, metadata, model.told)


def beside(
    model: Located, layout: KeyFormat, dtype: torch.dtype | None = None
) -> dict[str, Planned]:
    """What a checkpoint holds beside the networks of its family: of one that is told depth, what
    estimates it. dtype None: as it is."""
    if "depth" not in model.family.conditioning:
        return {}
    from ..depth import estimator_in

    estimator = estimator_in(model.opened)
    return {} if estimator is None else estimator.planned(layout, dtype)
