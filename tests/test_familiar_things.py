"""The small recipe of things: its data, and a training that starts from the built-in model."""

import numpy as np
import pytest
import torch

import ldm
from ldm.models.weights import read
from ldm.pipeline.loading import built_in
from ldm.training.known import known_of
from ldm.training.recipe import changed
from ldm.training.run import run
from ldm.training.things.collection import Collection, Entry
from ldm.training.things.familiar import STYLE, WORDS, Familiar
from ldm.training.things.grounds import COLOURS
from ldm.training.things.recipe import THINGS_SMALL
from ldm.training.things.words import SYNONYMS
from small_things import disc

SIDE = 32


def collection(left_out=None):
    """A disc for each of the words, and one in another style."""
    names = [usual for word, usual in WORDS.items() if word != left_out]
    entries = [Entry(name, STYLE, "x", (name, f"my {name}"), ("tag",), ("物",)) for name in names]
    entries.append(Entry("apple", "cartoon", "x", ("red apple",)))
    return Collection(np.stack([disc((150, 120, 90))] * len(entries)), entries, "digest")


@pytest.fixture(scope="module")
def data():
    return Familiar(collection(), 200, SIDE)


def test_every_thing_is_there_once_by_its_everyday_word(data):
    assert sorted(entry.names[0] for entry in data.collection.entries) == sorted(WORDS)
    assert len(set(WORDS.values())) == len(WORDS) > 100


def test_a_collection_without_one_of_them_is_refused():
    with pytest.raises(ValueError, match=r"no cat: scripts/build_pictures\.py"):
        Familiar(collection(left_out="cat"), 1, SIDE)


def test_a_caption_names_the_thing_and_the_true_ground(data):
    colours = sorted((said, name) for name in COLOURS for said in SYNONYMS.get(name, (name,)))
    named = 0
    for i in range(len(data)):
        picture, caption = data[i]
        if not caption.isascii():
            assert "物" in caption
            continue
        assert any(word in caption for word in WORDS), caption
        before, found, _ = caption.replace(",", "").partition(" background")
        if found:
            ground = max((c for c in colours if before.endswith(c[0])), key=lambda c: len(c[0]))
            far = np.abs(picture[0, 0].astype(int) - COLOURS[ground[1]]).max()
            assert far < 60, caption
            named += 1
    assert named > 100


def test_an_example_is_a_function_of_seed_and_index(data):
    again, other = Familiar(collection(), 50, SIDE), Familiar(collection(), 50, SIDE, seed=1)
    assert [again[i][1] for i in range(50)] == [data[i][1] for i in range(50)]
    assert (again[7][0] == data[7][0]).all()
    assert [other[i][1] for i in range(50)] != [data[i][1] for i in range(50)]
    assert other.contents() != again.contents()


def test_samples_show_different_things_in_full_captions(data):
    prompts = data.prompts(32)
    assert len(set(prompts)) == 32
    assert all("background" in prompt for prompt in prompts)


def test_what_it_knows_is_no_more_than_it_saw(data):
    known = known_of(data)
    assert len(known.things["x"]) == len(WORDS)
    assert list(known.things) == ["x"]
    assert "places" not in known.words


def test_it_starts_where_the_built_in_model_is(tmp_path):
    stages = THINGS_SMALL.stages()
    # one step too short to change what half precision can tell
    short = [f"{name}.{what}" for name in stages for what in ("steps=1", "batch=4", "lr=1e-12")]
    recipe = changed(THINGS_SMALL, ["scenes=8", "crops=1", "crop=16", *short])
    start = read(built_in())
    path = run(recipe, Familiar(collection(), 8, 64), tmp_path / "x", "cpu",
        sample_prompts=["a cat"], start=start)  # fmt: skip
    model, first = ldm.load(path, device="cpu"), ldm.load(device="cpu")
    for name in ("vae", "unet"):
        ours, theirs = (getattr(one, name).state_dict() for one in (model, first))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert model.family.name == "x"
    assert not (tmp_path / "x/joint").exists()  # a stage that the recipe has not
    with pytest.warns(UserWarning, match="has not learnt: cat"):  # eight captions are all it saw
        assert model.txt2img("a cat", steps=1)[0].size == (64, 64)


def test_other_networks_than_those_it_starts_from_are_refused(tmp_path):
    wider = changed(THINGS_SMALL, ["family.unet.channels=[64, 128, 192]"])
    with pytest.raises(ValueError, match=r"family\.unet must be that of shapes64"):
        run(wider, Familiar(collection(), 8, 64), tmp_path / "x", start=read(built_in()))
    assert not (tmp_path / "x").exists()


def test_a_recipe_that_starts_from_a_model_needs_one(tmp_path):
    with pytest.raises(ValueError, match="starts with a model's vae and unet: give one"):
        run(THINGS_SMALL, Familiar(collection(), 8, 64), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_only_two_networks_can_start_from_a_model():
    with pytest.raises(ValueError, match="start may name vae and unet, not text"):
        changed(THINGS_SMALL, ['start=["text"]'])
