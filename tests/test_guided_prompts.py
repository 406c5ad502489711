"""Prompts in the pipeline: what each picture reads at each step, how guidance combines it, and that
none depends on its neighbours."""

import copy
import warnings
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from helpers import assert_same, differ, latents, network_calls, normal
from ldm.models.families import Family
from ldm.pipeline.denoise import Clock, guided
from ldm.prompts.lengths import chunk_sizes
from ldm.request import Request
from ldm.samplers import ModelDenoiser

LONG = "a cat, a dog, a cat and a dog at night"  # more than one chunk of the tiny model's 10 tokens


def drawn(model, prompt="a cat", **options):
    return latents(model, Request(prompt, seed=3, **options))


def shapes(calls):
    """(rows of the batch, tokens of the context) of each call of the U-Net."""
    return [tuple(call.conditioning.context.shape[:2]) for call in calls]


@pytest.fixture
def biased(own_tiny):
    """A model whose texts have a mean, as trained ones have: emphasis preserves it."""
    torch.nn.init.constant_(own_tiny.text.norm.bias, 0.5)
    return own_tiny


# Which calls are made


def test_a_plain_prompt_is_one_batch_of_two_the_negative_first(tiny):
    with network_calls(tiny) as calls:
        drawn(tiny, "a cat", negative="ugly", steps=2)
    assert shapes(calls) == [(2, 12)] * 2
    for call in calls:
        told = tiny.conditioning(["ugly", "a cat"])
        torch.testing.assert_close(call.conditioning.context, told.context)


def test_no_guidance_no_negative(tiny):
    with network_calls(tiny) as calls:
        drawn(tiny, "a cat", negative=LONG, guidance_scale=1, steps=2)
    assert shapes(calls) == [(1, 12)] * 2


def test_a_long_prompt_is_read_whole_and_the_negative_is_as_long(tiny):
    (long, empty) = chunk_sizes([LONG], [""], tiny.tokenizer).values()
    assert len(long) > len(empty) == 1
    with network_calls(tiny) as calls:
        drawn(tiny, LONG, steps=1)
    assert shapes(calls) == [(2, 12 * len(long))]
    assert differ(drawn(tiny, LONG), drawn(tiny, LONG + " red"))


def test_and_is_one_batch_of_all_prompts(tiny):
    with network_calls(tiny) as calls:
        drawn(tiny, "a cat AND a dog :0.5 AND red", steps=1)
        drawn(tiny, "a cat AND a dog", steps=1, guidance_scale=1)
    assert shapes(calls) == [(4, 12), (3, 12)]


@pytest.mark.parametrize("rescale", [0, 0.7])
def test_guidance_rescale_makes_no_second_call(tiny, rescale):
    """Two rows a step, whatever the combination; outside the interval only one."""
    with network_calls(tiny) as calls:
        drawn(tiny, "a cat", steps=5, guidance_rescale=rescale)
    assert shapes(calls) == [(2, 12)] * 5
    with network_calls(tiny) as calls:
        drawn(tiny, "a cat AND a dog", steps=5, guidance_rescale=rescale)
    assert shapes(calls) == [(3, 12)] * 5
    sigmas = tiny.resolve(Request(steps=5)).passes[0].sigmas
    middle = {"guidance_interval": (sigmas[3], sigmas[1]), "guidance_rescale": rescale}
    with network_calls(tiny) as calls:
        drawn(tiny, "a cat", steps=5, **middle)
    assert [rows for rows, _ in shapes(calls)] == [1, 2, 2, 1, 1]


# What comes out


def simple_network(x, t, conditioning):
    """Noise that is x times the mean of the context's first numbers."""
    return conditioning.context[..., 0].mean(1)[:, None, None, None] * x


def guess(model, request, x, sigma):
    """D of the first step, and D of one text, by the network above."""
    job = model.resolve(request)
    plain = ModelDenoiser(simple_network, job.noise_schedule, model.family.prediction)

    def said(*texts):
        return plain(x, sigma, model.conditioning(texts))

    with patch.object(Family, "denoiser", lambda *_: plain):
        return guided(model, job, job.passes[0], None, Clock())(x, sigma), said


def test_guidance_of_a_plain_prompt_is_the_textbooks(tiny):
    x = normal(2, 4, 8, 8)
    found, said = guess(tiny, Request(["a cat", "a dog"], "ugly"), x, 2.0)
    positive, negative = said("a cat", "a dog"), said("ugly", "ugly")
    torch.testing.assert_close(found, negative + 3 * (positive - negative))
    assert differ(found, positive)


def test_and_is_the_weighted_sum_of_guidances(tiny):
    request = Request("a cat AND a dog :-0.5", negative="ugly", guidance_scale=3)
    found, said = guess(tiny, request, torch.ones(1, 4, 8, 8), 2.0)
    cat, dog, ugly = said("a cat"), said("a dog"), said("ugly")
    torch.testing.assert_close(found, ugly + 3 * ((cat - ugly) - 0.5 * (dog - ugly)))


def test_and_with_itself_by_halves_changes_nothing(tiny):
    twice = "a cat :0.5 AND a cat :0.5"
    assert_same(drawn(tiny, twice), drawn(tiny, "a cat"))
    assert_same(drawn(tiny, twice, guidance_scale=1), drawn(tiny, "a cat", guidance_scale=1))


def test_guidance_in_an_interval_and_rescaled_reach_the_model(tiny):
    plain, strong = drawn(tiny, guidance_scale=1), drawn(tiny)
    assert_same(drawn(tiny, guidance_interval=(100.0, 10**4)), plain, 1e-4)
    assert_same(drawn(tiny, guidance_interval=(0, 0)), plain, 1e-4)
    assert_same(drawn(tiny, guidance_interval=(0, 100.0)), strong, 1e-4)
    part = drawn(tiny, guidance_interval=(0, 10.0))
    assert not torch.allclose(part, plain, atol=1e-3)
    assert not torch.allclose(part, strong, atol=1e-3)
    assert not torch.allclose(drawn(tiny, guidance_rescale=0.7), strong, atol=1e-3)


def test_a_prompt_that_changes_is_each_of_its_texts_in_its_steps(tiny):
    first = list(tiny.steps(Request("[a cat:a dog:2]", seed=3, steps=4)))
    cat = list(tiny.steps(Request("a cat", seed=3, steps=4)))
    for i in range(2):
        assert_same(first[i].x, cat[i].x)
    assert differ(first[2].x, cat[2].x)
    assert_same(drawn(tiny, "[a cat:a dog:0]"), drawn(tiny, "a dog"))
    assert_same(drawn(tiny, "[a cat|a dog]", steps=1), drawn(tiny, "a cat", steps=1))


def test_a_change_comes_at_its_step_whatever_the_sampler_calls(tiny):
    """Heun's method looks at the end of each step, too; what it reads there is this step's."""
    changed = list(tiny.steps(Request("[a cat:a dog:2]", seed=3, steps=4, sampler="heun")))
    cat = list(tiny.steps(Request("a cat", seed=3, steps=4, sampler="heun")))
    assert_same(changed[1].x, cat[1].x)
    assert differ(changed[2].x, cat[2].x)


def test_a_second_pass_goes_on_where_the_prompt_had_come_to(tiny):
    hires = {"hires": 1.5, "hires_strength": 0.5, "steps": 4}
    changed = drawn(tiny, "[a cat:a dog:0.25]", **hires)
    back = drawn(tiny, "[[a cat:a dog:0.25]:a cat:1.0]", **hires)
    assert differ(changed, back)
    assert_same(changed, drawn(tiny, "[[a cat:a dog:0.25]:a dog:1.0]", **hires))


def test_prompt_syntax_is_the_grammar_that_was_asked_for(biased):
    plain = drawn(biased, "a cat dog")
    strong = drawn(biased, "a (cat:2) dog")
    assert differ(strong, plain)
    assert_same(drawn(biased, "a (cat:1) dog"), plain)
    for syntax in ("comfyui", "off"):
        assert differ(drawn(biased, "a (cat:2) dog", prompt_syntax=syntax), strong)
        assert_same(drawn(biased, "a cat dog", prompt_syntax=syntax), plain)


def test_clip_skip(own_tiny):
    what = r"clip_skip 2: this model has layers 1 \(the last\) to 1"
    with pytest.raises(ValueError, match=what):
        own_tiny.steps(Request("a cat", clip_skip=2))
    before = drawn(own_tiny)
    assert torch.equal(drawn(own_tiny, clip_skip=1), before)
    own_tiny.text.layers.append(copy.deepcopy(own_tiny.text.layers[0]))
    (tower,) = own_tiny.family.text
    own_tiny.family = replace(own_tiny.family, text=(replace(tower, layers=2),))
    assert differ(drawn(own_tiny), before)
    assert_same(drawn(own_tiny, clip_skip=2), before)


# No picture depends on another


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_prompts_of_any_kind_can_share_a_batch(biased, scale):
    prompts = [
        "a cat",
        LONG,
        "a cat AND a dog :0.3",
        "[a cat:a dog:1]",
        "a cat",
        "(a cat:1.4)",
        f"[cat|{LONG}]",
    ]
    options = {"guidance_scale": scale, "negative": "ugly"}
    together = drawn(biased, prompts, **options)
    for i, prompt in enumerate(prompts):
        alone = latents(biased, Request(prompt, seed=3 + i, **options))
        assert_same(together[i : i + 1], alone)


def test_each_prompt_may_have_its_own_negative(tiny):
    prompts, negatives = ["a cat", "a dog", LONG], ["ugly", LONG, "ugly"]
    together = drawn(tiny, prompts, negative=negatives)
    for i, (prompt, negative) in enumerate(zip(prompts, negatives)):
        alone = latents(tiny, Request(prompt, negative=negative, seed=3 + i))
        assert_same(together[i : i + 1], alone)


@pytest.mark.parametrize("name", [None, "a1111", "comfyui"])
def test_the_shorter_prompt_is_filled_up_or_as_good_as_read_apart(tiny, name):
    request = Request("a cat " * 12, negative="ugly", compat=name)
    job, x = tiny.resolve(request), normal(1, 4, 8, 8)
    model = ModelDenoiser(tiny.unet, tiny.family.noise_schedule(), "eps")
    with torch.no_grad():
        sigma = model.schedule.sigma(500)
        found = guided(tiny, job, job.passes[0], None, Clock())(x, sigma)
        cat, ugly = (
            model(x, sigma, tiny.conditioning([text])) for text in (*job.prompts, *job.negatives)
        )
    assert torch.allclose(found, ugly + 3 * (cat - ugly), atol=1e-4) is (name is not None)


# What is left to chance, and what cannot be had


def test_choices_are_drawn_from_the_seed_of_each_picture(tiny, tmp_path):
    (tmp_path / "animal.txt").write_text("cat\ndog\n# remark\n{red|blue} cat\n", encoding="utf-8")
    prompt, folder = "a {big|small} __animal__", str(tmp_path)
    request = tiny.resolve(Request(prompt, seed=1, count=20, wildcards=folder)).request
    assert request.wildcards is None
    assert (request.count, request.total) == (1, 20)
    assert len(set(request.prompts)) > 3
    assert not any(mark in prompt for prompt in request.prompts for mark in "{_|")
    again = tiny.resolve(Request(prompt, seed=5, wildcards=folder)).request
    assert again.prompt == request.prompts[4]
    assert tiny.resolve(request).request == request
    two = Request(prompt, seed=3, count=2, wildcards=folder)
    assert_same(latents(tiny, two)[1:], latents(tiny, Request(request.prompts[3], seed=4)))


def test_lora_is_taken_out_with_a_warning(tiny):
    with pytest.warns(UserWarning, match="LoRAs, and there is no --lora_dir"):
        picture = drawn(tiny, "a cat<lora:ink:0.5><lora:fur>")
    assert_same(picture, drawn(tiny, "a cat"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "the model has not learnt")
        off = drawn(tiny, "a cat<lora:ink:0.5>", prompt_syntax="off")
    assert differ(off, picture)
