"""A latent diffusion model small enough to draw in milliseconds; its weights are random but always the same."""

from pathlib import Path

import pytest
import torch

from ldm.clip.model import TextConfig, TextEncoder
from ldm.clip.tokenizer import Tokenizer
from ldm.families import Family
from ldm.pipeline import LatentDiffusion
from ldm.unet import UNet, UNetConfig
from ldm.vae import VAE, VAEConfig
from ldm.weights import Checkpoint, save
from ldm.weights.saving import renamed

MERGES = [("c", "a"), ("ca", "t</w>"), ("d", "o")]

TINY = Family(
    name="tiny",
    text=TextConfig(vocabulary=517, length=12, width=16, layers=1, heads=2, activation="quick_gelu"),
    unet=UNetConfig(
        in_channels=4,
        out_channels=4,
        channels=(32, 64),
        res_blocks=1,
        groups=8,
        attention=(False, True),
        context_width=16,
        heads=2,
        head_width=None,
        depth=1,
        linear_projection=False,
    ),
    vae=VAEConfig(image_channels=3, latent_channels=4, channels=(32, 32), res_blocks=1, groups=8, scale=0.5),
    beta_start=0.00085,
    beta_end=0.0120,
    train_steps=1000,
    prediction="eps",
    size=16,
    steps=4,
    scale=3.0,
    sampler="euler",
    schedule="karras",
)


def build_tiny() -> LatentDiffusion:
    with torch.random.fork_rng(), torch.device("cpu"):
        torch.manual_seed(0)
        networks = TextEncoder(TINY.text), UNet(TINY.unet), VAE(TINY.vae)
    return LatentDiffusion(*networks, Tokenizer(MERGES, TINY.text.length), TINY)


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
def tiny_checkpoint(tiny: LatentDiffusion) -> Checkpoint:
    """The same model, to be saved."""
    return Checkpoint(tiny.family, tiny.text, tiny.unet, tiny.vae, tiny.tokenizer.merges)


@pytest.fixture(scope="session")
def tiny_compvis(tiny_checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Its tensors under CompVis's names. Copy before you change it."""
    return {name: tensor.detach().contiguous() for name, tensor in renamed(tiny_checkpoint, "compvis").items()}


@pytest.fixture(scope="session")
def tiny_file(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a file."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save(path, tiny_checkpoint)
    return path
