"""Training a LoRA, an embedding and a ControlNet: only their own parameters move, and their files
give the network that was trained, to the bit."""

import warnings

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ldm
from helpers import latents
from ldm.conditioning import Conditioning
from ldm.models.control import read_control
from ldm.models.embeddings import read_embedding
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.models.weights import read
from ldm.pipeline.loading import built_in
from ldm.request import Request
from ldm.training.additions import CONTROL, INVERSION, LOW_RANK, Control, Inversion, LowRank
from ldm.training.additions.inversion import InversionModel
from ldm.training.additions.low_rank import LowRankModel
from ldm.training.data import Folder
from ldm.training.fine_tuning import fine_tune, fingerprint
from ldm.training.loop import TrainConfig, step_generator, train
from ldm.training.recipe import changed
from ldm.training.shapes.variants import examples_of
from ldm.training.stages import DiffusionStage

SHORT = ["unet.steps=4", "unet.batch=2", "unet.save_every=2", "unet.warmup=0"]
LEARNERS = {
    "attention": (LowRank(3), LOW_RANK),
    "unet": (LowRank(2, "unet"), LOW_RANK),
    "all": (LowRank(2, "all"), LOW_RANK),
    "embedding": (Inversion("dog", 2, "cat"), INVERSION),
    "control": (Control("edges"), CONTROL),
}
FILES = {"embedding": "dog.safetensors", "control": "controlnet.safetensors"}
every = pytest.mark.parametrize("name", LEARNERS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two squares on grounds, whose edges differ."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour, box in (("a", "red", (2, 2, 8, 8)), ("b", "lime", (7, 5, 14, 12))):
        picture = Image.new("RGB", (16, 16), "black")
        picture.paste(colour, box)
        picture.save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text("cat dog")
    return Folder(folder, 16)


@pytest.fixture(scope="module")
def trained(data, tiny_file, tmp_path_factory):
    """trained(name) -> a folder, what was trained in it as it was at first, and its file."""
    made = {}

    def run(name):
        if name not in made:
            learner, recipe = LEARNERS[name]
            folder = tmp_path_factory.mktemp(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                path = fine_tune(
                    read(tiny_file), data, changed(recipe, SHORT), folder, learner=learner
                )
            made[name] = folder, path
        return made[name]

    return run


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


@every
def test_a_training_starts_from_the_model_to_the_bit(name, data, tiny_file, tmp_path):
    module = stage_of(name, data, tiny_file, tmp_path).module
    with torch.no_grad():
        x = given()
        assert torch.equal(module.network(torch.tensor([0, 1]))(*x), module.base.unet(*x))
        ids = torch.tensor([[515, 3, 4, *[516] * 9]])
        assert torch.equal(module.text(ids).last, module.base.text(ids).last)


@every
def test_only_its_own_parameters_learn_and_all_of_them(name, data, tiny_file, tmp_path, trained):
    before = tiny_file.read_bytes()
    stage = stage_of(name, data, tiny_file, tmp_path)
    first = {key: value.clone() for key, value in stage.module.state_dict().items()}
    beginnings = {"embedding": {"vectors"}, "control": {"control"}}.get(name, {"up", "down"})
    assert {key.partition(".")[0] for key in first} == beginnings
    base = stage.module.base
    model = read(tiny_file)
    assert not any(w.requires_grad for net in (base.text, base.unet) for w in net.parameters())
    done = train(stage, changed(LEARNERS[name][1], SHORT).unet, tmp_path / "unet")
    same = [key for key, weight in done.state_dict().items() if torch.equal(weight, first[key])]
    # The last layers that a zero convolution hides learn nothing in the first step; the ends of
    # training steps are no rows of a table, and no gradient reaches an unread key bias.
    assert len(same) <= 0.05 * len(first), same
    for ours, theirs in ((base.text, model.text[0]), (base.unet, model.unet)):
        weights = theirs.state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in ours.state_dict().items())
    assert tiny_file.read_bytes() == before
    _, path = trained(name)
    assert path.name == FILES.get(name, "lora.safetensors")
    assert fingerprint(read(tiny_file)) == fingerprint(model)


@pytest.mark.parametrize("name", ["attention", "unet", "all"])
def test_the_file_of_a_lora_gives_what_was_trained(name, data, tiny_file, tmp_path, trained):
    folder, path = trained(name)
    module = average(folder, stage_of(name, data, tiny_file, tmp_path))
    module.half().float()  # as the file has its factors
    init = read(tiny_file)
    lora = read_lora(path)
    matched = match_lora(lora, init.family)
    assert matched.told is None
    assert {ours for _, ours in matched.changed} == {(layer,) for layer in module.names}
    networks = {"unet": init.unet, "text": init.text[0]}
    untouched = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in networks.items()}
    Applied(networks).use([Use(matched)])
    for network, weights in untouched.items():
        now, expected = networks[network].state_dict(), module.changed(network)
        for key, was in weights.items():
            assert torch.equal(now[key], expected.get(key, was)), key
            assert torch.equal(now[key], was) == (key not in expected), key
    rank = LEARNERS[name][0].rank
    assert lora.metadata["ss_network_dim"] == str(rank)
    assert lora.metadata["ss_base_model_version"] == "tiny"
    assert {layer.alpha for layer in lora.layers} == {rank}
    assert {layer.parts["down"].shape[0] for layer in lora.layers} == {rank}


def test_which_layers_a_lora_has(data, tiny_file, tmp_path):
    names = {
        name: set(stage_of(name, data, tiny_file, tmp_path / name).module.names)
        for name in ("attention", "unet", "all")
    }
    assert names["attention"] < names["unet"] < names["all"]
    assert all(".attn." in layer for layer in names["attention"])
    assert {layer for layer in names["unet"] - names["attention"] if ".attn." in layer} == set()
    assert {layer.partition(".")[0] for layer in names["all"] - names["unet"]} == {"text"}
    assert {"unet.stem", "unet.out", "unet.down.0.res.0.conv1", "unet.time.linear1"} <= names[
        "unet"
    ]


def test_the_file_of_an_embedding_gives_what_was_trained(data, tiny_file, tmp_path, trained):
    folder, path = trained("embedding")
    stage = stage_of("embedding", data, tiny_file, tmp_path)
    vectors = average(folder, stage).vectors.detach()
    assert torch.equal(read_embedding(path).vectors[""], vectors)
    assert read_embedding(path).name == "dog"
    assert {key: value.shape for key, value in load_file(path).items()} == {"dog": (2, 16)}
    model = ldm.load(tiny_file, device="cpu")
    request = Request("cat dog", steps=2, seed=3, embedding_dir=str(path.parent))
    ids = stage.tokenizer(["cat dog"])
    assert ids[0, 1:5].tolist()[1:3] == [517, 518]
    context = stage.module.text(ids).last.detach()
    negative = stage.module.text(stage.tokenizer([""])).last.detach()
    with_word = latents(model, request)
    given = [Conditioning(negative), Conditioning(context)]
    told = latents(model, Request("", steps=2, seed=3), conditioning=given)
    assert torch.equal(with_word, told)
    assert not torch.equal(with_word, latents(model, Request("cat dog", steps=2, seed=3)))


def test_the_file_of_a_controlnet_gives_what_was_trained(data, tiny_file, tmp_path, trained):
    folder, path = trained("control")
    module = average(folder, stage_of("control", data, tiny_file, tmp_path))
    init = read(tiny_file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = read_control(path, init.family, init.unet)
    expected = module.control.half().float().state_dict()
    found = network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert "control_model.input_hint_block.0.weight" in load_file(path)
    assert "control_model.zero_convs.0.0.weight" in load_file(path)


@every
def test_at_strength_0_the_pictures_are_the_models_to_the_bit(name, data, tiny_file, trained):
    _, path = trained(name)
    model = ldm.load(tiny_file, device="cpu")
    plain = {"prompt": "cat", "steps": 2, "seed": 3}
    base = latents(model, Request(**plain))

    def drawn(strength):
        if name == "embedding":  # which has no strength: its word is in the prompt, or is not
            return Request(
                **plain | {"prompt": "cat dog" if strength else "cat"},
                embedding_dir=str(path.parent),
            )
        asked = {"lora": f"{path}:{strength}"}
        if name == "control":
            picture = str(data.folder / "a.png")
            asked = {"control": f"{path}:{strength}", "control_image": picture, "hint": "edges"}
        return Request(**plain, **asked)

    assert torch.equal(latents(model, drawn(0)), base)
    assert not torch.equal(latents(model, drawn(1)), base)
    assert torch.equal(latents(model, Request(**plain)), base)


@every
def test_a_training_that_is_resumed_ends_with_the_same_file(
    name, data, tiny_file, tmp_path, trained, monkeypatch
):
    _, whole = trained(name)
    learner, recipe = LEARNERS[name]
    loss, calls = DiffusionStage.loss, []

    def killed(self, *rest):
        calls.append(rest)
        if len(calls) == 4:
            raise InterruptedError
        return loss(self, *rest)

    monkeypatch.setattr(DiffusionStage, "loss", killed)
    monkeypatch.setattr("ldm.training.fine_tuning.warn", lambda _: None)
    for _ in range(2):
        if calls:
            path = fine_tune(
                read(tiny_file), data, changed(recipe, SHORT), tmp_path, learner=learner
            )
            continue
        with pytest.raises(InterruptedError):
            fine_tune(read(tiny_file), data, changed(recipe, SHORT), tmp_path, learner=learner)
        assert not list(tmp_path.glob("*[!s].safetensors")), "no file of it yet"
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


def loss_of(stage, module):
    """Of the same batch, times and noise whenever it is asked for."""
    with torch.no_grad():
        return stage.loss(module, 32, step_generator(9, 9))["loss"].item()


def test_another_seed_or_option_is_not_resumed(data, tiny_file, trained):
    folder, _ = trained("attention")
    for learner in (LowRank(2), LowRank(3, "unet"), Control("edges")):
        with pytest.raises(ValueError, match="give it the same recipe again, or another folder"):
            fine_tune(read(tiny_file), data, changed(LOW_RANK, SHORT), folder, learner=learner)


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
