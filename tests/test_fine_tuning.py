"""Teaching a model pictures of one's own, on tiny networks."""

import re
import warnings
from dataclasses import replace

import pytest
import torch
from PIL import Image

import ldm
from ldm.clip.tokenizer import Tokenizer
from ldm.models.weights import read, save
from ldm.training.data import Folder
from ldm.training.fine_tuning import FINE_TUNING, check, fine_tune, fingerprint
from ldm.training.recipe import changed
from ldm.training.stages import DiffusionStage

SHORT = changed(FINE_TUNING, ["unet.steps=4", "unet.batch=2", "unet.save_every=2"])


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("a", "red"), ("b", "lime"), ("c", "blue")):
        Image.new("RGB", (20, 16), colour).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text("cat cat")
    return Folder(folder, 16)


def networks(checkpoint):
    return {"text": checkpoint.text[0], "unet": checkpoint.unet, "vae": checkpoint.vae}


def moved(before, after):
    """The parameters that differ, of two checkpoints."""
    ours, theirs = networks(before), networks(after)
    return {
        f"{part}.{name}"
        for part in ours
        for name, weight in ours[part].state_dict().items()
        if not torch.equal(weight.half().float(), theirs[part].state_dict()[name].float())
    }


def test_a_training_starts_from_the_model_as_it_is(tmp_path, data, tiny_file, monkeypatch):
    starts = []

    def stop(stage, *_):
        starts.append(stage)
        raise InterruptedError

    monkeypatch.setattr("ldm.training.fine_tuning.train", stop)
    init = read(tiny_file)
    with pytest.raises(InterruptedError):
        fine_tune(init, data, SHORT, tmp_path / "out")
    (stage,) = starts
    for name, network in (("text", stage.module.text), ("unet", stage.module.unet)):
        weights = networks(init)[name].state_dict()
        assert all(
            torch.equal(weight, weights[key]) for key, weight in network.state_dict().items()
        )
    assert stage.vae.config == init.vae.config
    assert all(weight.requires_grad for weight in stage.module.parameters())


def test_only_the_u_net_and_the_text_encoder_learn(tmp_path, data, tiny_file):
    before = tiny_file.read_bytes()
    init = read(tiny_file)
    path = fine_tune(init, data, SHORT, tmp_path / "cats")
    after = read(path)
    assert {name.partition(".")[0] for name in moved(init, after)} == {"text", "unet"}
    learnt = torch.load(tmp_path / "cats/unet/state.pt", weights_only=True)["module"]
    text, unet = init.text[0].state_dict(), init.unet.state_dict()
    was = {f"text.{k}": w for k, w in text.items()} | {f"unet.{k}": w for k, w in unet.items()}
    same = [name for name, weight in learnt.items() if torch.equal(weight, was[name])]
    assert len(same) < 0.1 * len(learnt), same
    assert fingerprint(init) == fingerprint(read(tiny_file)), "the given model stays as it was"
    assert tiny_file.read_bytes() == before
    assert after.merges == init.merges
    assert after.family == replace(init.family, name="cats")
    (picture,) = ldm.load(path, device="cpu").txt2img("cat", seed=1)
    assert picture.size == (16, 16)


def test_a_training_that_is_resumed_ends_with_the_same_weights(
    tmp_path, data, tiny_file, monkeypatch
):
    whole = read(fine_tune(read(tiny_file), data, SHORT, tmp_path / "whole"))
    loss, calls = DiffusionStage.loss, []

    def killed(self, *given):
        calls.append(given)
        if len(calls) == 4:
            raise InterruptedError
        return loss(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionStage, "loss", killed)
        with pytest.raises(InterruptedError):
            fine_tune(read(tiny_file), data, SHORT, tmp_path / "parts")
    monkeypatch.setattr(DiffusionStage, "loss", lambda *given: calls.append(0) or loss(*given))
    resumed = read(fine_tune(read(tiny_file), data, SHORT, tmp_path / "parts"))
    assert len(calls) == 4 + 2, "it went on from step 2"
    assert not moved(whole, resumed)


def test_a_training_is_not_resumed_from_another_model(tmp_path, data, tiny_checkpoint, tiny_file):
    fine_tune(read(tiny_file), data, SHORT, tmp_path / "out")
    other = read(tiny_file)
    other.unet.out.bias = torch.nn.Parameter(other.unet.out.bias + 1)
    with pytest.raises(ValueError, match=r"was begun with 'init=.*give it the same recipe again"):
        fine_tune(other, data, SHORT, tmp_path / "out")


def test_words_that_are_no_tokens_are_told_once(tmp_path, data, tiny_file):
    (data.folder / "b.txt").write_text("a DOG and a cat")
    fewer = Folder(data.folder, 16)
    message = r"no token for 2 of the captions' words, dog, and: .* in pieces \(do g\)"
    with pytest.warns(UserWarning, match=message) as told:
        fine_tune(read(tiny_file), fewer, SHORT, tmp_path / "out")
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine_tune(read(tiny_file), data, SHORT, tmp_path / "known")


def test_captions_that_are_too_long_are_told_once(tmp_path, data, tiny_file):
    for name in ("b", "c"):
        (data.folder / f"{name}.txt").write_text("cat " * 11)
    message = (
        r"2 of 3 captions have more than 10 tokens and are cut there, first that of '.*b\.png'"
    )
    with pytest.warns(UserWarning, match=message) as told:
        fine_tune(read(tiny_file), Folder(data.folder, 16), SHORT, tmp_path / "out")
    assert len(told) == 1


def test_a_model_of_another_kind_is_told(tiny_family):
    check(tiny_family)
    (text,) = tiny_family.text
    unet = replace(tiny_family.unet, context_width=32)
    two = replace(tiny_family, text=(text, text), unet=unet)
    early = replace(tiny_family, text=(replace(text, final_norm=False),))
    for family, what in ((two, "more than the one text"), (early, "another layer")):
        with pytest.raises(ValueError, match=f"'tiny' cannot go on learning: it reads {what}"):
            check(family)


@pytest.fixture
def script(train_script):
    """Its exit code if it is one, and what it says."""

    def run(*arguments):
        code, said = train_script(*arguments)
        return said if code == 1 else f"{code} {said}"

    return run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no|no such file|No such file"),
        (b"no weights", r"model\.safetensors"),
        (b"\x00" * 100, r"model\.safetensors"),
    ],
)
def test_a_model_that_cannot_be_read_is_one_line(script, tmp_path, data, content, message):
    model = tmp_path / "model.safetensors"
    if content is not None:
        model.write_bytes(content)
    said = script("--init", model, "--data", data.folder, "--outdir", tmp_path / "out")
    assert said.startswith("train.py: error: ")
    assert re.search(message, said)
    assert "\n" not in said
    assert not (tmp_path / "out").exists()


def test_mistakes_are_one_line(script, tmp_path, data, tiny_file):
    given = ["--init", tiny_file, "--outdir", tmp_path / "out"]
    assert script(*given).endswith(
        "error: --init needs --data, the pictures that the model is to learn"
    )
    given += ["--data", data.folder]
    for change, message in (
        ("unet.batch=0", "unet.batch must be at least 1, not 0"),
        ("scenes=3", "a recipe has no 'scenes'"),
        ("unet.lr=-1", "unet.lr must be more than 0, not -1"),
        ("unet.ema=2", "unet.ema must be from 0 to 1, not 2"),
        ("cond_drop_prob=3", "cond_drop_prob must be from 0 to 1, not 3"),
    ):
        said = script(*given, "--set", change)
        assert said.startswith(f"train.py: error: {message}"), said
        assert "\n" not in said
    (tmp_path / "file").write_text("")
    said = script("--init", tiny_file, "--data", data.folder, "--outdir", tmp_path / "file" / "in")
    assert re.fullmatch(r"train\.py: error: cannot train into '.*in': Not a directory", said)


def test_the_tokenizer_stays_the_models(tmp_path, data, tiny_checkpoint, tiny_file):
    """Also its padding, which some families' text encoders read."""
    config = replace(tiny_checkpoint.family.text[0], pad=0)
    family = replace(tiny_checkpoint.family, text=(config,))
    save(tmp_path / "padded.safetensors", replace(tiny_checkpoint, family=family))
    path = fine_tune(read(tmp_path / "padded.safetensors"), data, SHORT, tmp_path / "out")
    model = ldm.load(path, device="cpu")
    expected = Tokenizer(tiny_checkpoint.merges, config.length, pad=0)("cat")
    assert torch.equal(model.tokenizer("cat"), expected)
