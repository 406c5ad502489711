"""Short trainings of a LoRA, an embedding and a ControlNet for the tiny model."""

import warnings

import pytest
import torch
from PIL import Image

from ldm.conditioning import Conditioning
from ldm.models.weights import read
from ldm.training.additions import CONTROL, INVERSION, LOW_RANK, Control, Inversion, LowRank
from ldm.training.data import Folder
from ldm.training.fine_tuning import fine_tune
from ldm.training.loop import step_generator
from ldm.training.recipe import changed

SHORT = ["unet.steps=4", "unet.batch=2", "unet.save_every=2", "unet.warmup=0"]
LEARNERS = {
    "attention": (LowRank(3), LOW_RANK),
    "unet": (LowRank(2, "unet"), LOW_RANK),
    "all": (LowRank(2, "all"), LOW_RANK),
    "embedding": (Inversion("dog", 2, "cat"), INVERSION),
    "control": (Control("edges"), CONTROL),
}
FILES = {"embedding": "dog.safetensors", "control": "controlnet.safetensors"}


def two_pictures(folder):
    """Two squares on grounds, whose edges differ. -> data"""
    folder.mkdir(exist_ok=True)
    for name, colour, box in (("a", "red", (2, 2, 8, 8)), ("b", "lime", (7, 5, 14, 12))):
        picture = Image.new("RGB", (16, 16), "black")
        picture.paste(colour, box)
        picture.save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text("cat dog")
    return Folder(folder, 16)


def train_briefly(name, data, tiny_file, folder):
    """-> the file of what was trained"""
    learner, recipe = LEARNERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fine_tune(read(tiny_file), data, changed(recipe, SHORT), folder, learner=learner)


def stage_of(name, data, tiny_file, folder):
    """The stage before its first step."""
    found = []

    def stop(stage, *_):
        found.append(stage)
        raise InterruptedError

    learner, recipe = LEARNERS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ldm.training.fine_tuning.train", stop)
        patch.setattr("ldm.training.fine_tuning.warn", lambda _: None)
        with pytest.raises(InterruptedError):
            fine_tune(read(tiny_file), data, changed(recipe, SHORT), folder, learner=learner)
    return found[0]


def average(folder, stage):
    """The module that was trained, with its averaged weights."""
    state = torch.load(folder / "unet/state.pt", weights_only=True)
    stage.module.load_state_dict(state["average"])
    return stage.module


def given():
    """An input of the U-Net: x, t and a context."""
    generator = torch.Generator().manual_seed(5)
    x, context = (torch.randn(s, generator=generator) for s in ((2, 4, 8, 8), (2, 12, 16)))
    return x, torch.tensor([300]), Conditioning(context)


def loss_of(stage, module, batch=32):
    """Of the same batch, times and noise whenever it is asked for."""
    with torch.no_grad():
        return stage.loss(module, stage.draw(batch, step_generator(9, 9)))["loss"].item()
