"""Hypernetworks: the web UI's files, what they do to attention, and that they leave no trace."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import hypernetworks as theirs
from helpers import assert_same, build_tiny, differ, latents, normal
from ldm.images.files import read_text
from ldm.layers import attention
from ldm.metadata.infotext import split
from ldm.models.hypernetworks import read_hypernetwork
from ldm.models.weights import CheckpointError, UnsafePickle, inspect
from ldm.request import Request
from ldm.unet.hypernetwork import ACTIVATIONS, attentions, through
from test_hostile_additions import Runs

ASKED = {"prompt": "a cat", "steps": 3, "seed": 3, "width": 16, "height": 16}
KINDS = {  # how it is made, and what its file says
    "plain": ({}, {}),
    "relu": ({"activation": nn.ReLU}, {"activation_func": "relu", "activate_output": False}),
    "last": ({"activation": nn.Tanh, "last": True},
             {"activation_func": "tanh", "activate_output": True}),
    "last, unsaid": ({"activation": nn.Mish, "last": True}, {"activation_func": "mish"}),
    "norms": ({"activation": nn.Hardswish, "norm": True},
              {"activation_func": "swish", "activate_output": False, "is_layer_norm": True}),
    "deep": ({"structure": (1, 2, 1.5, 1), "dropout": True, "norm": True, "activation": nn.ELU},
             {"activation_func": "elu", "activate_output": False, "use_dropout": True}),
    "linear": ({}, {"activation_func": "linear", "activate_output": True}),
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    """A model of its own: it keeps what was opened."""
    return build_tiny()


@pytest.fixture
def made(model):
    return theirs.pairs(theirs.widths_of(model.unet.config))


@pytest.fixture
def path(made, tmp_path):
    torch.save(theirs.saved(made), tmp_path / "brush.pt")
    return tmp_path / "brush.pt"


def ours(path, model):
    return read_hypernetwork(path, model.family, model.unet)


def read_by(network, width, which, x):
    return network.pairs[network.widths.index(width)][which](x)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_each_network_is_the_sequence_that_the_web_ui_builds(kind, zipped, model, tmp_path):
    """Fails if an activation or a norm stands elsewhere, or dropout's numbers are layers."""
    options, words = KINDS[kind]
    made = theirs.pairs(theirs.widths_of(model.unet.config), **options)
    path = tmp_path / "x.pt"
    torch.save(theirs.saved(made, **words), path, _use_new_zipfile_serialization=zipped)
    network = ours(path, model)
    assert network.widths == tuple(made)
    for width, pair in made.items():
        for which, one in enumerate(pair):
            x = normal(2, 5, width)
            assert_same(read_by(network, width, which, x), one(x), 1e-6)


def test_the_first_files_and_safetensors(model, made, tmp_path):
    old = {
        width: tuple(
            {f"linear{i + 1}.{part}": getattr(one[i], part) for i in (0, 1)
             for part in ("weight", "bias")}
            for one in pair
        )
        for width, pair in made.items()
    }  # fmt: skip
    torch.save(old, tmp_path / "old.pt")
    save_file(theirs.flat(made), tmp_path / "x.safetensors", {"activation_func": "linear"})
    for name in ("old.pt", "x.safetensors"):
        network = ours(tmp_path / name, model)
        for width, (first, _) in made.items():
            x = normal(1, 3, width)
            assert_same(read_by(network, width, 0, x), first(x), 1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_torchs_classes_of_that_name(name):
    """By which the web UI finds them; it calls the hard swish swish."""
    classes = {cls.lower(): getattr(nn, cls) for cls in nn.modules.activation.__all__}
    classes |= {"linear": nn.Identity, "swish": nn.Hardswish}
    x = normal(50) * 4
    assert torch.equal(ACTIVATIONS[name](x), classes[name]().eval()(x))


def test_every_attention_reads_what_the_networks_make_of_its_context(model, made, path):
    """All of them, by the formula; fails if one is left out, or K and V are changed round."""
    network = ours(path, model)
    assert {attn.k.in_features for attn in attentions(model.unet)} == {*made}
    for attn in attentions(model.unet):
        x, context = normal(2, 6, attn.q.in_features), normal(2, 5, attn.k.in_features, seed=1)
        f, g = made[attn.k.in_features]
        k, v = attn.k(context + 0.7 * f(context)), attn.v(context + 0.7 * g(context))
        expected = attn.out(attention(attn.q(x), k, v, attn.heads))
        before = attn(x, context)
        with through(model.unet, network, 0.7):
            assert_same(attn(x, context), expected)
        assert torch.equal(attn(x, context), before)
        assert differ(before, expected)


def test_a_picture_has_it_and_the_next_one_has_no_trace(model, path):
    plain = latents(model, Request(**ASKED))
    whole = latents(model, Request(**ASKED, hypernetwork=str(path)))
    half = latents(model, Request(**ASKED, hypernetwork=f"{path}:0.5"))
    assert differ(plain, whole)
    assert differ(half, whole)
    assert torch.equal(latents(model, Request(**ASKED, hypernetwork=f"{path}:0")), plain)
    assert torch.equal(latents(model, Request(**ASKED)), plain)
    for attn in attentions(model.unet):
        assert not attn.k._forward_pre_hooks
        assert not attn.v._forward_pre_hooks


def test_between_the_steps_of_a_run_another_has_its_own(model, path):
    """Fails if it stays in the U-Net between two steps."""
    plain, asked = latents(model, Request(**ASKED)), Request(**ASKED, hypernetwork=str(path))
    alone = latents(model, asked)
    steps = [[*pair] for pair in zip(model.steps(asked), model.steps(Request(**ASKED)))]
    assert torch.equal(steps[-1][0].x, alone)
    assert torch.equal(steps[-1][1].x, plain)


def test_several_are_read_one_after_the_other(model, made, path, tmp_path):
    other = tmp_path / "other.pt"
    torch.save(theirs.saved({w: pair[::-1] for w, pair in made.items()}), other)
    attn = next(iter(attentions(model.unet)))
    context = normal(1, 4, attn.k.in_features)
    f, g = made[attn.k.in_features]
    first = context + 0.5 * f(context)
    expected = attn.k(first - g(first))
    with through(model.unet, ours(path, model), 0.5), through(model.unet, ours(other, model), -1):
        assert_same(attn.k(context), expected)
    both = latents(model, Request(**ASKED, hypernetwork=(f"{path}:0.5", f"{other}:-1")))
    assert differ(both, latents(model, Request(**ASKED, hypernetwork=f"{path}:0.5")))


def test_tiles_hires_and_joined_edges_have_it(model, path):
    for more in ({"tile": 16, "width": 24}, {"hires": 1.5}, {"seamless": "xy"}):
        asked = {**ASKED, **more}
        assert differ(
            latents(model, Request(**asked)),
            latents(model, Request(**asked, hypernetwork=str(path))),
        )


# What is wrong


def with_parts(made, **parts):
    """The file with another first network of the first width."""
    content = theirs.saved(made)
    width = next(iter(made))
    content[width] = ({**content[width][0], **parts}, content[width][1])
    return content


@pytest.mark.parametrize(("change", "match"), [
    (lambda made: with_parts(made, **{"linear.0.weight": torch.ones(3, 2)}), "is damaged: a layer"),
    (lambda made: with_parts(made, **{"linear.0.bias": torch.ones(3)}), "is damaged: a layer has"),
    (lambda made: with_parts(made, **{"linear.1.bias": torch.full((16,), torch.nan)}), "are NaN"),
    (lambda made: with_parts(made, **{"linear.7.weight": torch.ones(5, 16),
                                      "linear.7.bias": torch.ones(5)}), "it makes 5 numbers of 16"),
    (lambda made: with_parts(made, **{"linear.0.bias": torch.ones(32, dtype=torch.int64)}),
     "it is of torch.int64"),
    (lambda made: {**theirs.saved(made), "lora": torch.ones(2)}, "is not a hypernetwork: it has l"),
    (lambda made: {"step": 1}, "it has no pairs of networks"),
    (lambda made: {16: theirs.saved(made)[16][:1]}, "it has no pairs of networks"),
    (lambda made: theirs.saved(made, activation_func="softmax"), "the activation 'softmax': known"),
])  # fmt: skip
def test_damage_is_named(change, match, model, made, tmp_path):
    torch.save(change(made), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=match):
        ours(tmp_path / "x.pt", model)


@pytest.mark.parametrize(("widths", "match"), [
    ((768, 320), "it is a hypernetwork for sd1, and this model is of tiny;"),
    ((1024, 16), "it is a hypernetwork for sd2, and this model is of tiny;"),
    ((17,), "for another family, and this model is of tiny; it changes contexts 17 wide"),
])  # fmt: skip
def test_one_for_another_family_is_refused_by_its_name(widths, match, model, tmp_path):
    torch.save(theirs.saved(theirs.pairs(widths)), tmp_path / "x.pt")
    with pytest.raises(ValueError, match=match):
        model.resolve(Request(**ASKED, hypernetwork=str(tmp_path / "x.pt")))


@pytest.mark.parametrize(("asked", "match"), [
    (":0.8", "hypernetwork ':0.8': give FILE:0.8"), ("x.pt:1:0.5", "has one strength: give FILE"),
    ("nothing.pt", "cannot be read: No such file"), ("x.pt:1e9", "of -100 to 100"),
])  # fmt: skip
def test_what_is_asked_for_wrongly(model, asked, match):
    with pytest.raises(ValueError, match=match):
        model.resolve(Request(**ASKED, hypernetwork=asked))


def test_a_hostile_pickle_runs_nothing(model, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    width = next(iter(made))
    for content in ({**theirs.saved(made), "name": Runs()}, {width: (Runs(), Runs())}):
        torch.save(content, "x.pt")
        with pytest.raises(UnsafePickle, match="refused, and nothing of it was run"):
            ours(tmp_path / "x.pt", model)
        with pytest.raises(UnsafePickle):
            inspect("x.pt")
    assert not (tmp_path / "ran").exists()


# What is told of it


def test_inspect_says_what_a_file_is(tmp_path):
    torch.save(theirs.saved(theirs.pairs((768, 8)), activation_func="relu"), tmp_path / "x.pt")
    found = inspect(tmp_path / "x.pt")
    assert found.what == "a hypernetwork, which changes contexts 768, 8 wide"
    assert found.families == ("sd1",)
    assert "relu" in str(found)
    assert "--hypernetwork" in str(found)


@pytest.mark.parametrize(("broken", "match"), [
    ("shape", "a layer has weight"), ("missing", "a layer has bias"), ("nan", "NaN"),
    ("activation", "has the activation 'magic'"),
])  # fmt: skip
def test_inspect_says_that_a_broken_one_cannot_be_loaded(broken, match, tmp_path):
    content = theirs.saved(theirs.pairs((16,)))
    if broken == "activation":
        content["activation_func"] = "magic"
    else:
        layers = dict(content[16][0])
        name = next(iter(layers))
        changes = {"shape": lambda x: x[:5], "nan": lambda x: x * float("nan")}
        weight = layers.pop(name)
        changed = {} if broken == "missing" else {name: changes[broken](weight)}
        content[16] = ({**changed, **layers}, content[16][1])
    torch.save(content, tmp_path / "x.pt")
    found = inspect(tmp_path / "x.pt")
    assert found.what == "a hypernetwork, which changes contexts 16 wide"
    assert not found.loadable
    assert match in str(found)


def test_pictures_keep_its_name_and_hash_and_are_drawn_again(run, path, tmp_path):
    flags = "--n_iter 1 --n_samples 1 --skip_grid --steps 2 --outdir"
    code, _, error = run(f"txt2img --prompt 'a cat' --hypernetwork {path}:0.5 {flags} out")
    assert code == 0, error
    (picture,) = (tmp_path / "out").rglob("*.png")
    text = read_text(picture)
    assert str(tmp_path) not in json.dumps(text)
    prompt, _, settings = split(text["parameters"])
    assert prompt == "a cat<hypernet:brush:0.5>"
    assert settings["Hypernet hash"].startswith("brush: ")
    assert len(settings["Hypernet hash"]) == len("brush: ") + 10
    code, _, error = run(f"replay {picture} --outdir again")
    assert code == 2
    assert "it names 'brush:0.5': give --hypernetwork" in error
    code, out, error = run(f"replay {picture} --hypernetwork {path}:0.5 --outdir again")
    assert (code, "not honoured" in out) == (0, False), error
    (again,) = (tmp_path / "again").rglob("*.png")
    assert again.read_bytes() == picture.read_bytes()
