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
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a checkpoint."""
    model = build_tiny()
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save(path, Checkpoint(model.family, model.text, model.unet, model.vae, model.tokenizer.merges))
    return path
