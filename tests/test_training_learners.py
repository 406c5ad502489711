"""How LoRAs, embeddings and ControlNets are trained: resumed, with what loss, what is refused."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ldm.images.files import to_tensor
from ldm.images.hints import HINTS
from ldm.models.weights import read
from ldm.pipeline.loading import built_in
from ldm.training.additions import INVERSION, LOW_RANK, Control, Inversion, LowRank
from ldm.training.additions.inversion import InversionModel
from ldm.training.additions.low_rank import LowRankModel
from ldm.training.data import Folder
from ldm.training.fine_tuning import fine_tune
from ldm.training.loop import TrainConfig, train
from ldm.training.recipe import changed
from ldm.training.shapes.variants import examples_of
from ldm.training.stages import DiffusionStage
from learners import LEARNERS, SHORT, loss_of, stage_of, train_briefly, two_pictures

every = pytest.mark.parametrize("name", LEARNERS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return two_pictures(tmp_path_factory.mktemp("pictures"))


@every
def test_a_training_that_is_resumed_ends_with_the_same_file(
    name, data, tiny_file, tmp_path, monkeypatch
):
    whole = train_briefly(name, data, tiny_file, tmp_path / "whole")
    loss, calls = DiffusionStage.loss, []

    def killed(self, *rest):
        calls.append(rest)
        if len(calls) == 4:
            raise InterruptedError
        return loss(self, *rest)

    monkeypatch.setattr(DiffusionStage, "loss", killed)
    for _ in range(2):
        if calls:
            path = train_briefly(name, data, tiny_file, tmp_path / "parts")
            continue
        with pytest.raises(InterruptedError):
            train_briefly(name, data, tiny_file, tmp_path / "parts")
        names = {path.name for path in (tmp_path / "parts").iterdir()}
        assert names == {"training.json", "latents.safetensors", "unet"}, "no file of it yet"
    assert len(calls) == 4 + 2, "it went on from step 2"
    ours, theirs = load_file(path), load_file(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", ["unet", "control"])
def test_the_loss_goes_down(name, data, tiny_file, tmp_path):
    """On two pictures, from random networks."""
    stage = stage_of(name, data, tiny_file, tmp_path)
    first = loss_of(stage, stage.module)
    config = TrainConfig(60, 8, 1e-2, 5, 0.0, 1.0, 0.9, 0, 60)
    assert loss_of(stage, train(stage, config, tmp_path / "unet")) < 0.5 * first


def test_the_loss_of_a_word_goes_down(tmp_path, monkeypatch):
    """With a model that draws: what a word can say, a random one has no use for."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, (pixels, caption) in enumerate(examples_of("sun", 8, 64)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(caption)
    found = []
    monkeypatch.setattr("ldm.training.fine_tuning.train", lambda stage, *_: found.append(stage))
    with pytest.raises(AssertionError):  # nothing is trained, and so nothing written
        fine_tune(
            read(built_in()), Folder(folder, 64), INVERSION, tmp_path, learner=Inversion("sun", 2)
        )
    (stage,) = found
    first = loss_of(stage, stage.module)
    config = TrainConfig(30, 4, 5e-3, 2, 0.0, 1.0, 0.8, 0, 30)
    monkeypatch.setattr(DiffusionStage, "sample", lambda *_: None)
    assert loss_of(stage, train(stage, config, tmp_path / "unet")) < 0.95 * first


def test_other_options_are_not_resumed(data, tiny_file, tmp_path):
    train_briefly("attention", data, tiny_file, tmp_path)
    for learner in (LowRank(2), LowRank(3, "unet"), Control("edges")):
        with pytest.raises(ValueError, match="give it the same recipe again, or another folder"):
            fine_tune(read(tiny_file), data, changed(LOW_RANK, SHORT), tmp_path, learner=learner)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LowRank(0), "rank of a LoRA must be from 1 to 1024, not 0"),
        (lambda: Inversion("A word"), "cannot be called 'A word': give small letters"),
        (lambda: Inversion("clip_l"), "cannot be called 'clip_l'"),
        (lambda: Inversion("dog", 0), "has 1 to 64 vectors, not 0"),
        (lambda: Control("line"), "there is no hint 'line' to train with: edges, blur, tile, grey"),
        (lambda: Control("none"), "there is no hint 'none'"),
    ],
)
def test_what_cannot_be_learnt_is_told_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("learner", "message", "begun"),
    [
        (Inversion("cat"), "the model has a token 'cat': give the embedding a new name", False),
        (Inversion("dog", 11), "11 vectors are too many: the model reads 10 tokens", False),
        (Inversion("dog", 1, " "), "like must be a word, not ' '", False),
        (Inversion("wolf"), "no caption has the word that is to be learnt: write it", True),
    ],
)
def test_words_that_cannot_be_learnt(learner, message, begun, data, tiny_file, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(ValueError, match=message):
        fine_tune(read(tiny_file), data, changed(INVERSION, SHORT), folder, learner=learner)
    assert folder.exists() == begun


def test_without_a_word_that_is_like_it_the_vectors_start_as_others_are(tiny_file, data, tmp_path):
    stage = stage_of("embedding", data, tiny_file, tmp_path)
    table = stage.module.base.text.token.weight
    assert isinstance(stage.module, InversionModel)
    starts = [
        Inversion("dog", 64).module(stage.module.base, None, stage.tokenizer, data, seed).vectors
        for seed in (0, 0, 1)
    ]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert abs(starts[0].mean() - table.mean()) < 0.1 * table.std()
    assert abs(starts[0].std() / table.std() - 1) < 0.1


def test_a_lora_starts_from_zero_times_something(data, tiny_file, tmp_path):
    module = stage_of("all", data, tiny_file, tmp_path).module
    assert isinstance(module, LowRankModel)
    assert not any(up.any() for up in module.up)
    assert all(down.std() > 0 for down in module.down)


def test_hints_are_those_of_drawing_also_while_autocast_computes(data, tiny_file, tmp_path):
    module = stage_of("control", data, tiny_file, tmp_path).module
    chosen = torch.tensor([1, 0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        hints = module.hints(chosen)
    for hint, i in zip(hints, chosen.tolist(), strict=True):
        picture = Image.open(data.folder / f"{'ab'[i]}.png")
        assert torch.equal(hint[None], HINTS["edges"]((to_tensor(picture) + 1) / 2))
    assert not torch.equal(hints[0], hints[1])


def test_the_script_trains_each(train_script, data, tiny_file, tmp_path, capsys):
    short = [word for change in SHORT for word in ("--set", change)]
    given = ["--init", tiny_file, "--data", data.folder, *short, "--outdir"]
    for flags, file in (
        (["--lora", 2, "--layers", "all"], "lora.safetensors"),
        (["--embedding", "dog", "--vectors", 2, "--like", "cat"], "dog.safetensors"),
        (["--control", "edges"], "controlnet.safetensors"),
    ):
        folder = tmp_path / file
        assert train_script(*flags, *given, folder)[0] == 0
        assert (folder / file).is_file()
        assert not (folder / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lora", 0], "the rank of a LoRA must be from 1 to 1024, not 0"),
        (["--embedding", "cat"], "the model has a token 'cat': give the embedding a new name"),
        (["--embedding", "a/b"], "an embedding cannot be called 'a/b': give small letters"),
        (["--control", "lines"], "there is no hint 'lines' to train with: edges, blur, tile, grey"),
        (["--vectors", 2], "--vectors goes with --embedding"),
        (["--lora", 2, "--like", "cat"], "--like goes with --embedding"),
        (["--layers", "all"], "--layers goes with --lora"),
        (["--lora", 2, "--control", "edges"], "not allowed with argument"),
        (["--lora", 2, "--compile"], "--compile goes with whole models, not with --lora"),
    ],
)
def test_mistakes_are_one_line_and_begin_nothing(
    flags, message, train_script, data, tiny_file, tmp_path
):
    folder = tmp_path / "out"
    code, said = train_script(
        "--init", tiny_file, "--data", data.folder, "--outdir", folder, *flags
    )
    assert code != 0
    assert message in said.rpartition("error: ")[2]
    assert said.rpartition("train.py: error: ")[2].strip().count("\n") == 0
    assert not folder.exists()


def test_the_model_is_told_to_be_needed(train_script, data, tmp_path):
    for flag, value in (("--lora", 2), ("--embedding", "dog"), ("--control", "edges")):
        _, said = train_script("--data", data.folder, "--outdir", tmp_path / "out", flag, value)
        assert f"{flag} needs --init, the model that it is for" in said
