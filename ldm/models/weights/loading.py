"""From a path to the networks in memory."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ...clip.model import TextEncoder
from ...clip.tokenizer import CLIP_SIZE, Tokenizer, clip_merges, parse_merges
from ...unet import UNet
from ...vae import VAE
from ..families import Family, as_family
from ..family import meta_model, parameter_shapes
from ..keymaps import Source
from .checkpoint import Checkpoint
from .errors import CheckpointError
from .foreign import matched, wrong_merges
from .opening import OpenedCheckpoint, open_checkpoint, stated_family
from .recognise import BY_HEADER, Kind
from .verify import verified_meanwhile

Sources = Mapping[str, tuple[str, Source]]  # parameters of ours -> see KeyMatch


def read(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    ema: bool | None = None,
    family: Family | str | Path | None = None,
    vae_dtype: torch.dtype | None = None,
    prediction: str | None = None,
    copy: bool = False,
) -> Checkpoint:
    """The model in a file or a diffusers folder, ready to run.

    dtype      of all weights, whatever they are in the file. Where they are that already, and on
               the CPU, they are the mapped file itself; else they are converted one by one.
    ema        take the moving averages of the U-Net where the file has them beside the weights;
               None: if it has them
    family     what the file is, where that is neither written in it nor to be told from its keys
               and shapes: a Family, or see `family_named`
    vae_dtype  of the VAE's weights; None: dtype
    prediction  what the U-Net predicts, eps or v; None: as the file says, or the family, or else a
               call of the U-Net, see `prediction.probed`
    copy       never take the mapped file itself

    CheckpointError: there is no such file, or it is damaged, or it is not such a checkpoint.
    UnsafePickle: it is a pickle that tries to do more than to be data.
    """
    given = None if family is None else as_family(family)
    opened = open_checkpoint(path)
    kind, sources = locate(opened, given, ema, prediction)
    family, reason = cast(Family, kind.family), kind.prediction
    used = {name for name, _ in sources.values()}
    archive = opened.container == "torch"  # which has checksums
    with verified_meanwhile(opened, used) if archive else nullcontext():
        networks = load(opened, family, sources, dtype, device, vae_dtype, copy)
    text = [net for net in networks.values() if isinstance(net, TextEncoder)]
    unet, vae = cast(UNet, networks["unet"]), cast(VAE, networks["vae"])
    if kind.undecided:
        from .prediction import probed

        family, reason = probed(unet, family)
    others = nn.ModuleDict({n: networks[n] for n in ("vision", "augmentor") if n in networks})
    merges, depth = merges_of(opened, family), None
    if "depth" in family.conditioning:
        from ..depth import estimator_in

        depth = estimator_in(opened)
    return Checkpoint(family, tuple(text), unet, vae, merges, reason, others, depth)


def locate(
    opened: OpenedCheckpoint, family: Family | None, ema: bool | None, prediction: str | None
) -> tuple[Kind, Sources]:
    """What a checkpoint is, and where each parameter is. A complete file of our own needs no tables
    of names; what is wrong with an incomplete one they tell."""
    asked = family is not None or ema or prediction is not None
    if not asked and "family" in opened.metadata:
        stated = stated_family(opened)
        if is_complete(opened, stated):
            sources = {name: (name, Source(name.split(".")[0])) for name in opened.weights}
            return Kind("ldm", stated, f"{stated.prediction}, {BY_HEADER}"), sources
    return matched(opened, family, ema, prediction)


def is_complete(opened: OpenedCheckpoint, family: Family) -> bool:
    """Whether it holds the family's parameters, all in their shapes, and nothing else."""
    found = {name: weight.shape for name, weight in opened.weights.items()}
    numbers = (weight.dtype.is_floating_point for weight in opened.weights.values())
    return found == parameter_shapes(family) and all(numbers)


def load(
    opened: OpenedCheckpoint,
    family: Family,
    sources: Sources,
    dtype: torch.dtype,
    device: torch.device | str,
    vae_dtype: torch.dtype | None = None,
    copy: bool = False,
) -> nn.ModuleDict:
    """The networks whose parameters have been found."""
    of_vae = dtype if vae_dtype is None else vae_dtype
    shapes = parameter_shapes(family)
    state = {}
    for ours, (name, source) in sources.items():
        weight = opened.weights[name].part(*source.part)
        tensor = weight.read(of_vae if source.component == "vae" else dtype, device, copy)
        if source.operation is not None:
            tensor = source.operation.ours(tensor)
        state[ours] = tensor.reshape(shapes[ours]).contiguous()  # see `trimmed`
        check_finite(state[ours], f"{name} in {opened.path}")
    wanted = {source.component for _, source in sources.values()}
    networks = nn.ModuleDict(
        {name: network for name, network in meta_model(family).items() if name in wanted}
    )
    networks.load_state_dict(state, assign=True)
    return networks.eval()


def check_finite(tensor: Tensor, name: str) -> None:
    """A sum is finite if all its terms are, and is quick; where it is not, it may only have grown
    too large."""
    if not tensor.sum().isfinite() and not (finite := tensor.isfinite()).all():
        count = int((~finite).sum())
        what = f"{name} has {count} values that are NaN or inf in {tensor.dtype}"
        raise CheckpointError(f"{what}: the file is damaged, or this type too narrow for it")


MAX_MERGES = 1_000_000  # CLIP has 48,894


def merges_of(opened: OpenedCheckpoint, family: Family) -> tuple[tuple[str, str], ...] | None:
    """The tokenizer's merges, where they are not CLIP's, if the text encoder knows as many."""
    known = family.text[0].vocabulary
    if opened.merges is None:
        if opened.container == "folder" and known != CLIP_SIZE:
            raise wrong_merges(opened, CLIP_SIZE, known)
        return None
    try:
        if opened.merges.count("\n") > MAX_MERGES:
            raise ValueError(f"there are more than {MAX_MERGES}")
        merges = parse_merges(opened.merges.strip("\n").split("\n"))
        count = len(Tokenizer(merges))
    except ValueError as error:
        raise CheckpointError(f"{opened.path} has damaged merges: {error}") from error
    if count != known:
        raise wrong_merges(opened, count, known)
    return None if count == CLIP_SIZE and merges == clip_merges() else merges
