"""From a path to the three networks in memory."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..clip.model import TextEncoder
from ..clip.tokenizer import Tokenizer, clip_merges, parse_merges
from ..families import FAMILIES, Family
from ..unet import UNet
from ..vae import VAE
from .mapped import CheckpointError
from .matching import guess, match
from .opening import Opened, open_checkpoint
from .recognise import recognise
from .skeleton import skeleton


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies in a file.

    merges   of its tokenizer, first learnt first; None means CLIP's
    """

    family: Family
    text: TextEncoder
    unet: UNet
    vae: VAE
    merges: tuple[tuple[str, str], ...] | None = None


def read(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    ema: bool | None = None,
    family: Family | None = None,
    vae_dtype: torch.dtype | None = None,
) -> Checkpoint:
    """The model in a file or a diffusers folder, ready to run.

    dtype      of all weights, whatever they are in the file. Where they are that already, and on the CPU, they are the
               mapped file itself; else they are converted one by one.
    ema        take the moving averages of the U-Net where the file has them beside the weights; None: if it has them
    family     what the file is, where that is neither written in it nor to be told from its keys and shapes
    vae_dtype  of the VAE's weights; None: dtype

    CheckpointError: there is no such file, or it is damaged, or it is not such a checkpoint.
    UnsafePickle: it is a pickle that tries to do more than to be data.
    """
    opened = open_checkpoint(path)
    kind = recognise(opened, family)
    if kind.family is None:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"{opened.path} is of no family that is known here ({known}){guess(opened)}")
    found = match(opened, kind.family, kind.naming, ema)
    found.check(opened)
    of_vae = dtype if vae_dtype is None else vae_dtype
    state = {}
    for ours, (name, operation) in found.sources.items():
        weight = opened.weights[name].read(of_vae if ours.startswith("vae.") else dtype, device)
        tensor = operation.ours(weight).contiguous()
        check_finite(tensor, f"{name} in {opened.path}")
        state[ours] = tensor
    networks = skeleton(kind.family)
    networks.load_state_dict(state, assign=True)
    return Checkpoint(kind.family, **networks.eval(), merges=merges_of(opened, kind.family))


def check_finite(tensor: Tensor, name: str) -> None:
    """A sum is finite if all its terms are, and is quick; where it is not, it may only have grown too large."""
    if not tensor.sum().isfinite() and not (finite := tensor.isfinite()).all():
        count = int((~finite).sum())
        raise CheckpointError(
            f"{name} has {count} values that are no numbers in {tensor.dtype} (NaN or infinite): the file is damaged, "
            "or this type too narrow for it"
        )


def merges_of(opened: Opened, family: Family) -> tuple[tuple[str, str], ...] | None:
    """The tokenizer's merges, where they are not CLIP's; as many as the text encoder knows words."""
    if opened.merges is None:
        return None
    try:
        merges = parse_merges(opened.merges.strip("\n").split("\n"))
        if len(Tokenizer(merges)) != family.text.vocabulary:
            raise ValueError(f"they make {len(merges) + 514} tokens, and not {family.text.vocabulary}")
    except ValueError as error:
        raise CheckpointError(f"{opened.path} has damaged merges: {error}") from error
    return None if merges == clip_merges() else merges
