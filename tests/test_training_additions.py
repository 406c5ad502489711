"""A trained LoRA, embedding or ControlNet: only its own parameters move, and its file gives the
network that was trained, to the bit."""

import warnings

import pytest
import torch
from safetensors.torch import load_file

import ldm
from helpers import latents
from ldm.conditioning import Conditioning
from ldm.models.control import read_control
from ldm.models.embeddings import read_embedding
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.models.weights import read
from ldm.request import Request
from ldm.training.fine_tuning import fingerprint
from ldm.training.loop import train
from ldm.training.recipe import changed
from learners import FILES, LEARNERS, SHORT, average, given, stage_of, train_briefly, two_pictures

every = pytest.mark.parametrize("name", LEARNERS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return two_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def trained(data, tiny_file, tmp_path_factory):
    """trained(name) -> a folder, and the file of what was trained in it."""
    made = {}

    def run(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, train_briefly(name, data, tiny_file, folder)
        return made[name]

    return run


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
