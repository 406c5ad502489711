"""The tiny model of `helpers` as fixtures."""

import resource
import shlex
import time
import warnings
from pathlib import Path

import pytest
import torch

from helpers import MERGES, TINY, build_tiny, tiny_networks
from ldm.cli import main
from ldm.models.families import Family
from ldm.models.weights import Checkpoint, CheckpointError, read, save
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


SECONDS, MEGABYTES = 10, 500  # that a hostile file may take, and that a test of them may


@pytest.fixture
def ends(tmp_path, monkeypatch):
    """ends(path) -> what reading it gives, or None; that nothing ran is checked at the end."""
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = {"read": 0, "refused": 0}

    def run(path, function=read, errors=CheckpointError, **options):
        start = time.process_time()
        found = None
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                found = function(path, **options)
            lines = [str(warning.message) for warning in told]
            counts["read"] += 1
        except errors as error:
            lines = [str(error)]
            counts["refused"] += 1
        for line in lines:
            assert line.isprintable(), line
            assert len(line) <= 500
        assert time.process_time() - start < SECONDS
        return found

    yield run
    assert not Path("ran").exists()
    assert counts["refused"] > 0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES
    print(counts)


@pytest.fixture
def run(tiny_file, tmp_path, monkeypatch, capsys):
    """Runs a command with the tiny model in an empty folder; gives its exit code, output and
    complaints."""
    monkeypatch.chdir(tmp_path)

    def run(line, ckpt=True):
        arguments = shlex.split(line) + (["--ckpt", str(tiny_file)] if ckpt else [])
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run
