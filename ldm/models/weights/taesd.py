"""A tiny autoencoder from its files: the author's pair (taesd_encoder, taesd_decoder), or both in
one file, or diffusers' AutoencoderTiny.

The author counts the layers of each half through: 0, 1, 2, ... with those that have no weights.
diffusers does not count the decoder's first one, which clamps.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...vae import VAEConfig
from ...vae.taesd import BLOCKS, TAESD, TinyDecoder
from .errors import CheckpointError
from .loading import check_finite
from .mapped import Weight
from .opening import open_checkpoint

HALVES = ("encoder", "decoder")
Pair = dict[str, dict[str, Weight]]  # the halves, each by the author's names without the half's
PARAMETER = r"(?:conv\.\d\.)?(?:weight|bias)"
LAYER = re.compile(rf"(?:taesd_)?(encoder|decoder)(\.layers)?\.(\d{{1,3}})\.({PARAMETER})")
BARE = re.compile(rf"\d{{1,3}}\.{PARAMETER}")


def halves(weights: Mapping[str, Weight]) -> Pair:
    """What there is of a tiny autoencoder among these tensors: both halves, one, or none."""
    if weights and all(BARE.fullmatch(name) for name in weights):  # of one half alone
        return {"encoder" if "0.weight" in weights else "decoder": dict(weights)}
    found: Pair = {}
    for name, weight in weights.items():
        if (match := LAYER.fullmatch(name)) is not None:
            half, layers, number, rest = match.groups()
            own = int(number) + (half == "decoder" and layers is not None)
            found.setdefault(half, {})[f"{own}.{rest}"] = weight
    return found


def opened_pair(path: Path) -> Pair | None:
    """The tiny autoencoder at a path: of one file, or of two, of which the other half is beside it;
    None: what is there is no such thing. Half of one is no error yet."""
    if path.is_dir():
        files = sorted(path.glob("tae*_decoder.*"))
        if not files:
            return halves(open_checkpoint(path, alone=True).weights) or None
        path = files[0]
    found = halves(open_checkpoint(path).weights)
    if len(found) == 1:
        (half,) = found
        other = HALVES[half == "encoder"]
        beside = path.with_name(path.name.replace(half, other))
        if beside != path and beside.is_file():
            found |= halves(open_checkpoint(beside).weights)
    return found or None


def taesd_config(pair: Pair, scale: float) -> VAEConfig:
    """Its sizes, as shapes and numbers of layers tell. scale: of the model's latents."""
    decoder = pair.get("decoder", {})
    numbers = [int(name.partition(".")[0]) for name in decoder]
    try:
        levels, left = divmod(max(numbers) - 4, 5)
        width, latent_channels = decoder["1.weight"].shape[:2]
        image_channels = decoder[f"{max(numbers)}.weight"].shape[0]
    except (KeyError, ValueError, IndexError):
        left, levels = 1, 0
    if left or not 0 < levels < 8:
        raise CheckpointError(
            "a tiny autoencoder without a decoder of a known kind: give taesd_decoder and "
            "taesd_encoder side by side, or a file with both"
        )
    return VAEConfig(image_channels, latent_channels, (width,) * (levels + 1), BLOCKS, 1, scale)


def layers(levels: int) -> Iterator[tuple[str, str, str]]:
    """Each layer's half, name there in the author's files, and name here."""

    def block(half: str, number: int, ours: str) -> Iterator[tuple[str, str, str]]:
        for i in range(3):
            yield half, f"{number}.conv.{2 * i}", f"{ours}.conv{i + 1}"

    yield "encoder", "0", "stem"
    yield from block("encoder", 1, "first")
    yield "decoder", "1", "stem"
    for i in range(levels):
        yield "encoder", f"{2 + 4 * i}", f"down.{i}.conv"
        yield "decoder", f"{7 + 5 * i}", f"up.{i}.conv"
        for j in range(BLOCKS):
            yield from block("encoder", 3 + 4 * i + j, f"down.{i}.blocks.{j}")
            yield from block("decoder", 3 + 5 * i + j, f"up.{i}.blocks.{j}")
    yield "encoder", f"{2 + 4 * levels}", "out"
    yield from block("decoder", 3 + 5 * levels, "last")
    yield "decoder", f"{4 + 5 * levels}", "out"


def read_pair(pair: Pair, config: VAEConfig) -> TAESD:
    """Both halves, in float32. CheckpointError: one is absent, or not whole."""
    if len(pair) < 2:
        (half,) = pair
        other = HALVES[half == "encoder"]
        raise CheckpointError(
            f"a tiny autoencoder's {half} alone: put its {other} beside it, taesd_{other}, or give "
            "a file with both"
        )
    with torch.device("meta"):
        network = TAESD(config)
    state = {f"{half}.{n}": w for half in HALVES for n, w in state_of(pair, half, config).items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


def read_decoder(pair: Pair, config: VAEConfig) -> TinyDecoder:
    """The decoder alone, which is all that previews need."""
    with torch.device("meta"):
        network = TinyDecoder(config)
    network.load_state_dict(state_of(pair, "decoder", config), assign=True)
    return network.eval()


def state_of(pair: Pair, half: str, config: VAEConfig) -> dict[str, Tensor]:
    """The parameters of a half by our names. CheckpointError names one that is missing, left over
    or of a wrong shape."""
    with torch.device("meta"):
        expected = getattr(TAESD(config), half).state_dict()
    left, state = dict(pair[half]), {}
    for where, theirs, ours in layers(len(config.channels) - 1):
        for kind in ("weight", "bias"):
            name, own = f"{theirs}.{kind}", f"{ours}.{kind}"
            if where != half or own not in expected:
                continue
            weight = left.pop(name, None)
            if weight is None or weight.shape != expected[own].shape:
                is_there = "is missing" if weight is None else f"has shape {weight.shape}"
                raise CheckpointError(f"a tiny autoencoder of another kind: its {name} {is_there}")
            state[own] = weight.read(torch.float32)
            check_finite(state[own], f"{half} {name}")
    if left:
        raise CheckpointError(f"a tiny autoencoder of another kind: it has a {half} {min(left)}")
    return state
