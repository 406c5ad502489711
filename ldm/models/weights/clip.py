"""CLIP's files: both towers, or that of pictures alone; in the layouts of transformers, of
OpenCLIP, and of OpenAI's own archives, whose names are OpenCLIP's, and which are TorchScript
programs of which only the tensors are read.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ...clip.contrastive import CLIP
from ...clip.vision import VisionEncoder
from ..family import NoInitialisation
from ..keymaps import KeyFormat, Source, sources
from ..keymaps.text import openclip_rows, text_rows
from ..keymaps.vision import vision_rows
from .clip_sizes import Activation, FoundCLIP, text_config, vision_config
from .errors import CheckpointError
from .folder_files import read_json, snapshot
from .loading import check_finite
from .matching import KeyMatch
from .opening import open_checkpoint
from .recognise import shapes_of

LAYOUTS: dict[str, KeyFormat] = {  # by the end of a name that all files of the layout have
    "visual.conv1.weight": "compvis",
    "vision_model.embeddings.patch_embedding.weight": "diffusers",
    "embeddings.patch_embedding.weight": "diffusers",
}
OPENCLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def read_clip(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    activation: Activation | None = None,
) -> CLIP:
    """A whole CLIP: a file, or a folder as transformers or OpenCLIP write it.

    activation   of its layers; None: see `activation_of`

    CheckpointError: there is no such file, or it is damaged, or is no CLIP. UnsafePickle: it is a
    pickle that tries to do more than to be data.
    """
    found = find(path)
    text, vision = text_config(found, activation), vision_config(found, activation)
    with torch.device("meta"), NoInitialisation():
        try:
            model = CLIP(text, vision)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
    rows = openclip_rows(text) if found.key_format == "compvis" else text_rows(text)
    where = sources("text", rows, found.key_format, found.begin)
    where |= sources("vision", vision_rows(vision), found.key_format, found.begin)
    where["logit_scale"] = Source("", (f"{found.begin}logit_scale",))
    fill(model, found, where, dtype, device)
    return model


def read_vision(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    activation: Activation | None = None,
) -> VisionEncoder:
    """The vision tower of a CLIP, from a file of both towers, or of this one alone. Others: see
    `read_clip`."""
    found = find(path)
    config = vision_config(found, activation)
    with torch.device("meta"), NoInitialisation():
        model = nn.ModuleDict({"vision": VisionEncoder(config)})
    where = sources("vision", vision_rows(config), found.key_format, found.begin)
    fill(model, found, where, dtype, device)
    return cast(VisionEncoder, model["vision"])


def find(path: str | Path) -> FoundCLIP:
    """Where a CLIP is in a file or a folder, among other networks perhaps."""
    place = snapshot(Path(os.path.expanduser(path)))
    file = next((place / name for name in OPENCLIP_FILES if (place / name).is_file()), place)
    opened = open_checkpoint(file, alone=True)
    for end, key_format in LAYOUTS.items():
        for name in opened.weights:
            if name.endswith(end):
                config = config_beside(file)
                return FoundCLIP(opened, key_format, name.removesuffix(end), config)
    raise CheckpointError(
        f"{path} has no vision tower of CLIP: give a file of OpenAI's, OpenCLIP's or "
        "transformers' CLIP"
    )


def config_beside(file: Path) -> Mapping[str, Any]:
    """What transformers has written beside the weights, if that is of a CLIP."""
    path = (file if file.is_dir() else file.parent) / "config.json"
    config = read_json(path) if path.is_file() else {}
    return config if str(config.get("model_type")).startswith("clip") else {}


def fill(
    model: nn.Module,
    found: FoundCLIP,
    where: Mapping[str, Source],
    dtype: torch.dtype,
    device: torch.device | str,
) -> None:
    """Load what has been found. CheckpointError names what is missing, or of the wrong shape; what
    the file holds besides, the other tower say, is left."""
    parameters = {name: tensor.shape for name, tensor in model.state_dict().items()}
    match, weights = KeyMatch(dict(found.opened.weights)), found.opened.weights
    names = {ours: source.names for ours, source in where.items()}
    match.map(names, where, shapes_of(where, parameters))
    match.unknown.clear()
    match.check(found.opened)
    state = {}
    for ours, (name, source) in match.sources.items():
        tensor = weights[name].part(*source.part).read(dtype, device)
        check_finite(tensor, f"{name} in {found.opened.path}")
        tensor = tensor if source.operation is None else source.operation.ours(tensor)
        state[ours] = tensor.reshape(parameters[ours]).contiguous()
    model.load_state_dict(state, assign=True)
    model.eval().requires_grad_(False)
