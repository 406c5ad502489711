"""The tiny model of `helpers` as fixtures."""

from pathlib import Path

import pytest
import torch

from helpers import MERGES, TINY, build_tiny, tiny_networks
from ldm.models.families import Family
from ldm.models.weights import Checkpoint, save
from ldm.models.weights.saving import renamed
from ldm.pipeline.model import LatentDiffusion


@pytest.fixture(scope="session")
def tiny_family() -> Family:
    return TINY


@pytest.fixture(scope="session")
def tiny() -> LatentDiffusion:
    """Shared by all tests: do not change it."""
    return build_tiny()


@pytest.fixture
def own_tiny() -> LatentDiffusion:
    """The same model, to be broken."""
    return build_tiny()


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Checkpoint:
    """The same model, to be saved."""
    text, unet, vae = tiny_networks()
    return Checkpoint(TINY, (text,), unet, vae, tuple(MERGES))


@pytest.fixture(scope="session")
def tiny_compvis(tiny_checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Its tensors under CompVis's names. Copy before you change it."""
    return {
        name: tensor.detach().contiguous()
        for name, tensor in renamed(tiny_checkpoint, "compvis").items()
    }


@pytest.fixture(scope="session")
def tiny_file(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a file."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save(path, tiny_checkpoint)
    return path
