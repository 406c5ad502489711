"""The tiny model of `helpers` as fixtures."""

import importlib.util
import os
import shlex
import signal
import sys
import warnings
from pathlib import Path

import pytest
import torch

from helpers import MERGES, TINY, Door, build_tiny, tiny_networks
from ldm.cli import main
from ldm.models.families import Family
from ldm.models.weights import Checkpoint, CheckpointError, read, save
from ldm.models.weights.saving import renamed
from ldm.pipeline.model import LatentDiffusion
from ldm.runtime.device import peak_memory

# A shell lets what it starts in the background ignore Ctrl-C, and the children that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """Hashes of files are kept in a folder of the tests'."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


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


@pytest.fixture
def door(record_property, tmp_path, monkeypatch):
    """The ends of what comes in from outside, see `helpers.Door`; that nothing of it ran, and that
    it took little memory, is checked when the test is over. `scripts/fuzz.py` reads the counts."""
    monkeypatch.chdir(tmp_path)
    before, found = peak_megabytes(), Door()
    yield found
    assert not Path("ran").exists()
    assert peak_megabytes() - before < found.megabytes
    for name in ("read", "refused", "longest"):
        record_property(name, getattr(found, name))


def peak_megabytes():
    return peak_memory(torch.device("cpu")) / 2**20


@pytest.fixture
def ends(door):
    """ends(path) -> what reading a checkpoint gives, or None."""

    def run(path, function=read, errors=CheckpointError, **options):
        return door.ends(function, path, errors=errors, **options)

    yield run
    assert door.refused > 0


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


@pytest.fixture
def train_script(monkeypatch, capsys):
    """scripts/train.py, run here -> its exit code (1: an error), and what it says of errors."""
    where = Path(__file__).parent.parent / "scripts" / "train.py"
    spec = importlib.util.spec_from_file_location("train_script", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["train.py", "--device", "cpu", *map(str, arguments)])
        with warnings.catch_warnings():
            try:
                module.main()
            except SystemExit as end:
                if isinstance(end.code, str):
                    return 1, f"{end.code}{capsys.readouterr().err}".strip()
                return end.code, capsys.readouterr().err.strip()
        return 0, capsys.readouterr().err.strip()

    return run
