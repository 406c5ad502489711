"""What may be asked for in keywords: the names of fields, and those of their flags."""

import copy
import dataclasses
import pickle

import pytest

from ldm.request import Request
from ldm.runtime.checks import kinds
from ldm.runtime.foreign import FOREIGN
from ldm.runtime.options import names_of

FLAGS = {
    (flag.lstrip("-").replace("-", "_"), f.name)
    for f in dataclasses.fields(Request)
    for flag in f.metadata["flags"]
}


def test_every_flag_is_a_keyword_of_its_field_and_of_no_other():
    names = names_of(Request)
    assert {*names.items()} >= FLAGS
    assert len(FLAGS) == len({name for name, _ in FLAGS})
    assert all(names[name] == name for name in kinds(Request))
    assert ("cfg_scale", "guidance_scale") in FLAGS


def test_a_picture_asked_for_by_the_names_of_flags_is_the_same(tiny):
    flags = {"cfg_scale": 2, "negative_prompt": "cat", "W": 24, "ddim_steps": 2, "seed": 5}
    fields = {"guidance_scale": 2, "negative": "cat", "width": 24, "steps": 2, "seed": 5}
    (one,), (other,) = tiny.txt2img("a cat", **flags), tiny.txt2img("a cat", **fields)
    assert one.tobytes() == other.tobytes()
    assert one.info == other.info


def test_an_option_is_given_once():
    for twice in ({"scale": 2, "guidance_scale": 2}, {"cfg_scale": 2, "scale": 3}):
        with pytest.raises(ValueError, match=f"^{' and '.join(twice)} are one option: give it"):
            Request.of(**twice)


@pytest.mark.parametrize("make", [Request, Request.of], ids=["Request", "Request.of"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("stepz", "steps"),
        ("num_inference_steps", "steps"),
        ("denoising_strength", "strength"),
        ("negative_prompts", "negative"),
        ("guidance", "guidance_scale"),
        ("sampler_name", "sampler"),
        ("num_images_per_prompt", "count"),
        ("batch_size", "count"),
        ("generator", "seed"),
    ],
)
def test_another_name_is_told_the_one_that_is_meant(make, name, meant):
    with pytest.raises(ValueError, match=f"^unknown option of a request '{name}'; did you mean"):
        make("x", **{name: 1}) if make is Request else make(prompt="x", **{name: 1})
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        dataclasses.replace(Request("x"), **{name: 1})


def test_every_foreign_name_leads_to_a_field_or_to_a_flag():
    """Those that are no field's are of the commands alone."""
    of_commands = {"ckpt", "outdir", "dtype", "n_samples", "n_iter"}
    found = {word for words in FOREIGN.values() for word in words.split()}
    assert found <= {*kinds(Request), *of_commands}


def test_a_request_is_copied_as_it_is():
    request = Request("a cat", seed=3)
    assert copy.copy(request) == copy.deepcopy(request) == request
    assert pickle.loads(pickle.dumps(request)) == request


def test_a_seed_of_minus_1_is_a_random_one_that_the_picture_knows(tiny):
    asked = {"steps": 1, "seed": -1}
    first, second = tiny.txt2img("a cat", count=2, **asked)
    seed = Request.from_json(first.info["ldm"]).seed
    assert Request.from_json(second.info["ldm"]).seed == seed + 1
    assert first.tobytes() == tiny.txt2img("a cat", steps=1, seed=seed)[0].tobytes()
    (other,) = tiny.img2img("a cat", first, 0.5, **asked)
    assert len({seed, seed + 1, Request.from_json(other.info["ldm"]).seed, 42}) == 4
    with pytest.raises(ValueError, match="seed must be a whole number from 0"):
        tiny.txt2img("a cat", seed=-2)


@pytest.mark.parametrize("prompts", [(p for p in ("a", "b")), {"a", "b"}, {"a": 1}, iter("ab"), 3])
def test_prompts_are_a_text_or_a_list_or_a_tuple(tiny, prompts):
    with pytest.raises(ValueError, match=r"^prompt must be text, or a list of texts or a tuple"):
        tiny.txt2img(prompts)
