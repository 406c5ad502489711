"""Several LoRAs made one; and LoRAs made a part of a checkpoint."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ...runtime.files import replacing
from ..families import FAMILIES, Family
from ..family import parameter_shapes
from ..keymaps import Source
from ..tools.located import Located
from ..weights.errors import CheckpointError
from ..weights.loading import locate
from ..weights.opening import open_checkpoint
from ..weights.write_safetensors import Planned, write_safetensors
from .applying import Change, Use, change_of, merged, planned
from .extracting import factors, kohya_names, target, write_safetensors_whole
from .file import read_lora
from .matching import match_lora, meant_for

Entry = tuple[str, float, float]  # a file, its strengths for the U-Net and for the text encoders
OF_WEIGHTS = "OFT", "BOFT", "GLoRA", "IA3", "set"  # their change depends on the weight


def recipe_of(entries: Sequence[Entry], **more: object) -> dict[str, str]:
    """For the header of a file that was made of these."""
    made_of = [[Path(file).name, unet, text] for file, unet, text in entries]
    return {"ldm_recipe": json.dumps({"lora-merge": made_of, **more})}


def merge_loras(
    entries: Sequence[Entry],
    path: str | Path,
    rank: int | None = None,
    dtype: torch.dtype = torch.float16,
) -> int:
    """Write one LoRA, in kohya's layout, that at strength 1 does what several do together. -> its
    number of layers

    rank   None: exact, the ranks of a layer add up, and what is no product of a rank is written in
           full; else each layer is brought to that rank, see `factors`

    CheckpointError: they are for two families; or their change depends on the weights.
    """
    path, loras = target(path), [read_lora(file) for file, *_ in entries]
    meant = {meant_for(lora) for lora in loras}
    names = sorted(str(name) for name in meant)
    if len(meant) > 1 or names[0] not in FAMILIES:
        one = "of no family that is known" if meant == {None} else f"of {names[0]}, not known here"
        what = f"not of one family ({', '.join(names)})" if len(meant) > 1 else one
        raise CheckpointError(f"these LoRAs are {what}: give --ckpt, the model to merge them into")
    family = FAMILIES[names[0]]
    uses = [
        Use(match_lora(lora, family), unet, text) for lora, (_, unet, text) in zip(loras, entries)
    ]
    shapes, tensors = parameter_shapes(family), dict[str, Tensor]()
    begins = kohya_names(family)
    plan = planned(uses)
    for name, changes in plan.items():
        layer, _, parameter = name.rpartition(".")
        if parameter == "bias":
            total = sum((bias_of(change) for change in changes), torch.zeros(shapes[name]))
            tensors[f"{begins[layer]}.diff_b"] = total.to(dtype)
        else:
            found = together(changes, shapes[name], rank)
            tensors |= {f"{begins[layer]}.{end}": x.to(dtype).contiguous() for end, x in found}
    write_safetensors_whole(path, tensors, recipe_of(entries, rank=rank))
    return len({name.rpartition(".")[0] for name in plan})


def bias_of(change: Change) -> Tensor:
    layer, ours, part, strength = change
    return strength * layer.parts["bias"].read(torch.float32).chunk(len(ours))[part]


def together(
    changes: Sequence[Change], shape: torch.Size, rank: int | None
) -> list[tuple[str, Tensor]]:
    """The parts of a layer that does what these do: of a rank; or of the sum of theirs."""
    plain = all(
        c.layer.parts.keys() <= {"up", "down", "bias"} and len(c.ours) == 1 for c in changes
    )
    if plain and rank is None:
        ups, downs = [], []
        for layer, _, _, strength in changes:
            parts = layer.read(torch.float32, torch.device("cpu"))
            down = parts["down"].reshape(len(parts["down"]), *shape[1:])
            scale = strength * (layer.alpha / len(down) if layer.alpha else 1.0)
            ups.append(scale * parts["up"].flatten(1))
            downs.append(down)
        up, down = torch.cat(ups, 1), torch.cat(downs)
        up = up.reshape(*up.shape, *[1] * (len(shape) - 2))
    else:
        total = torch.zeros(shape)
        for layer, ours, part, strength in changes:
            kind = layer.kind
            assert kind is not None
            if kind.name in OF_WEIGHTS or {"dora_scale", "magnitude"} & layer.parts.keys():
                what = f"{layer.key} changes with the weight that it is added to"
                raise CheckpointError(f"{what}: merge it into a checkpoint, with --ckpt")
            whole = torch.zeros(shape[0] * len(ours), *shape[1:])
            delta, factor = change_of(layer, whole, strength)
            total += factor * delta.chunk(len(ours))[part]
        if rank is None:
            return [("diff", total)]
        up, down, *_ = factors(total, rank)
    alpha = torch.tensor(float(len(down)))
    return [("lora_up.weight", up), ("lora_down.weight", down), ("alpha", alpha)]


def merge_into(
    checkpoint: str | Path,
    entries: Sequence[Entry],
    path: str | Path,
    family: Family | None = None,
    program: str | None = None,
) -> int:
    """Write a checkpoint with LoRAs in its weights: the names and types of the old one, and its
    header with the recipe. One tensor is in memory at a time. -> how many parameters are changed"""
    path, opened = target(path), open_checkpoint(checkpoint)
    if opened.container == "folder":
        raise CheckpointError(f"{checkpoint} is a folder: give a single file, see `model.save`")
    kind, sources = locate(opened, family, None, None)
    assert kind.family is not None
    uses = [Use(match_lora(read_lora(file), kind.family), *s) for file, *s in entries]
    plan, model = planned(uses), Located(opened, kind.family, not kind.undecided, sources)

    def original(ours: str) -> Tensor:
        return model.read(ours, model.weight(ours).dtype)

    inside: dict[str, list[tuple[str, Source]]] = {}
    for ours, (name, source) in sources.items():
        if ours in plan:
            inside.setdefault(name, []).append((ours, source))

    def made(name: str) -> Tensor:
        weight = opened.weights[name]
        tensor = weight.read().clone()
        for ours, source in inside.get(name, ()):
            new = merged(ours, original(ours), plan[ours], original, program, {})
            new = new if source.operation is None else source.operation.theirs(new)
            i, n = source.part
            place = tensor.chunk(n)[i]
            place.copy_(new.reshape(place.shape))
        weight.file.forget(weight.offset, weight.offset + weight.nbytes)
        return tensor

    tensors = {
        name: Planned(weight.dtype, weight.shape, partial(made, name))
        for name, weight in opened.weights.items()
    }
    with replacing(path) as temporary:
        header = dict(opened.metadata) | recipe_of(entries, ckpt=Path(checkpoint).name)
        write_safetensors(temporary, tensors, header)
    return len(plan)
