"""Prompts in the pipeline: what each picture reads at each step, and that none depends on its neighbours."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch

from ldm.prompts import chunk_sizes, drawn, groups, guidance
from ldm.request import Request
from ldm.samplers import ModelDenoiser, guided

LONG = "a cat, a dog, a cat and a dog at night"  # more than one chunk of the tiny model's 10 tokens


def settled(tiny, prompt="a cat", **options):
    return tiny.settle(Request(prompt, **options))[0]


def latents(tiny, prompt="a cat", **options):
    return [step.x for step in tiny.steps(Request(prompt, seed=3, **options))][-1]


def assert_same(one, other):
    torch.testing.assert_close(one, other, atol=1e-5 * other.abs().max().item(), rtol=0)


def differ(one, other):
    return one.shape == other.shape and (one - other).abs().max() > 2e-5 * other.abs().max()


@pytest.fixture
def biased(own_tiny):
    """A model whose texts have a mean, as trained ones have: emphasis preserves it."""
    torch.nn.init.constant_(own_tiny.text.norm.bias, 0.5)
    return own_tiny


@pytest.fixture
def seen(tiny):
    """(rows of the batch, tokens of the context) of each call of the U-Net."""
    calls = []
    handle = tiny.unet.register_forward_pre_hook(lambda module, inputs: calls.append(tuple(inputs[2].shape[:2])))
    yield calls
    handle.remove()


# Which calls are made


def test_a_plain_prompt_is_one_batch_of_two(tiny, seen):
    latents(tiny, "a cat", negative="ugly", steps=2)
    assert seen == [(2, 12)] * 2


def test_no_guidance_no_negative(tiny, seen):
    latents(tiny, "a cat", negative=LONG, scale=1, steps=2)
    assert seen == [(1, 12)] * 2


def test_a_long_prompt_is_read_whole_and_the_negative_is_as_long(tiny, seen):
    request = settled(tiny, LONG)
    sizes = chunk_sizes(request, tiny.tokenizer)
    assert len(sizes[LONG]) > 1
    latents(tiny, LONG, steps=1)
    assert seen == [(2, 12 * len(sizes[LONG]))]
    assert differ(latents(tiny, LONG), latents(tiny, LONG + " red"))


def test_and_is_one_batch_of_all_prompts(tiny, seen):
    latents(tiny, "a cat AND a dog :0.5 AND red", steps=1)
    latents(tiny, "a cat AND a dog", steps=1, scale=1)
    assert seen == [(4, 12), (3, 12)]


# What comes out


def test_guidance_of_a_plain_prompt_is_the_textbooks(tiny):
    request = settled(tiny, ["a cat", "a dog"], negative="ugly")
    positive, negative = tiny.conditioning(["a cat", "a dog"]), tiny.conditioning(["ugly", "ugly"])

    def model(x, sigma, context):
        return context.mean((1, 2))[:, None, None, None] * x

    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    own = guidance(model, groups(request, tiny.tokenizer, 4), tiny.conditioning, request.scale)(1)
    torch.testing.assert_close(own(x, 2.0), guided(model, positive, negative, request.scale)(x, 2.0))


def test_and_is_the_weighted_sum_of_guidances(tiny):
    request = settled(tiny, "a cat AND a dog :-0.5", negative="ugly", scale=3)

    def model(x, sigma, context):
        return context.mean((1, 2))[:, None, None, None] * x

    x = torch.ones(1, 4, 8, 8)
    own = guidance(model, groups(request, tiny.tokenizer, 4), tiny.conditioning, request.scale)(1)(x, 2.0)
    cat, dog, ugly = (model(x, 2.0, tiny.conditioning([text])) for text in ("a cat", "a dog", "ugly"))
    torch.testing.assert_close(own, ugly + 3 * ((cat - ugly) - 0.5 * (dog - ugly)))


def test_and_with_itself_by_halves_changes_nothing(tiny):
    assert_same(latents(tiny, "a cat :0.5 AND a cat :0.5"), latents(tiny, "a cat"))
    assert_same(latents(tiny, "a cat :0.5 AND a cat :0.5", scale=1), latents(tiny, "a cat", scale=1))


def test_a_prompt_that_changes_is_each_of_its_texts_in_its_steps(tiny):
    first = list(tiny.steps(Request("[a cat:a dog:2]", seed=3, steps=4)))
    cat = list(tiny.steps(Request("a cat", seed=3, steps=4)))
    for i in range(2):
        assert_same(first[i].x, cat[i].x)
    assert differ(first[2].x, cat[2].x)
    assert_same(latents(tiny, "[a cat:a dog:0]"), latents(tiny, "a dog"))
    assert_same(latents(tiny, "[a cat|a dog]", steps=1), latents(tiny, "a cat", steps=1))


def test_a_change_comes_at_its_step_whatever_the_sampler_calls(tiny):
    """Heun's method looks at the end of each step, too; what it reads there is this step's."""
    changed = list(tiny.steps(Request("[a cat:a dog:2]", seed=3, steps=4, sampler="heun")))
    cat = list(tiny.steps(Request("a cat", seed=3, steps=4, sampler="heun")))
    assert_same(changed[1].x, cat[1].x)
    assert differ(changed[2].x, cat[2].x)


def test_a_second_pass_goes_on_where_the_prompt_had_come_to(tiny):
    hires = {"hires": 1.5, "hires_strength": 0.5, "steps": 4}
    changed = latents(tiny, "[a cat:a dog:0.25]", **hires)
    back = latents(tiny, "[[a cat:a dog:0.25]:a cat:1.0]", **hires)
    assert differ(changed, back)
    assert_same(changed, latents(tiny, "[[a cat:a dog:0.25]:a dog:1.0]", **hires))


def test_emphasis_is_the_grammar_that_was_asked_for(biased):
    plain = latents(biased, "a cat dog")
    assert differ(latents(biased, "a (cat:2) dog"), plain)
    assert_same(latents(biased, "a (cat:1) dog"), plain)
    for emphasis in ("comfyui", "off"):
        assert differ(latents(biased, "a (cat:2) dog", emphasis=emphasis), latents(biased, "a (cat:2) dog"))
        assert_same(latents(biased, "a cat dog", emphasis=emphasis), plain)


def test_clip_skip(own_tiny):
    with pytest.raises(ValueError, match=r"clip_skip 2: this model has layers 1 \(the last\) to 1"):
        own_tiny.steps(Request("a cat", clip_skip=2))
    before = latents(own_tiny, "a cat")
    own_tiny.text.layers.append(copy.deepcopy(own_tiny.text.layers[0]))
    own_tiny.family = replace(own_tiny.family, text=replace(own_tiny.family.text, layers=2))
    assert differ(latents(own_tiny, "a cat"), before)
    assert_same(latents(own_tiny, "a cat", clip_skip=2), before)


# No picture depends on another


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_prompts_of_any_kind_can_share_a_batch(biased, scale):
    prompts = ["a cat", LONG, "a cat AND a dog :0.3", "[a cat:a dog:1]", "a cat", "(a cat:1.4)", f"[cat|{LONG}]"]
    together = latents(biased, prompts, scale=scale, negative="ugly")
    for i, prompt in enumerate(prompts):
        alone = [step.x for step in biased.steps(Request(prompt, seed=3 + i, scale=scale, negative="ugly"))][-1]
        assert_same(together[i : i + 1], alone)


def test_pictures_of_one_kind_are_one_group(tiny):
    request = settled(tiny, ["a cat", LONG, "a dog", "a AND b"], count=2)
    assert [group.pictures for group in groups(request, tiny.tokenizer, 4)] == [[0, 2, 4, 6], [1, 5], [3, 7]]


# What is drawn


def test_choices_are_drawn_from_the_seed_of_each_picture(tiny, tmp_path):
    (tmp_path / "animal.txt").write_text("cat\ndog\n# remark\n{red|blue} cat\n", encoding="utf-8")
    request = settled(tiny, "a {big|small} __animal__", seed=1, count=20, wildcards=str(tmp_path))
    assert request.wildcards is None
    assert (request.count, request.total) == (1, 20)
    assert len(set(request.prompts)) > 3
    assert not any(mark in prompt for prompt in request.prompts for mark in "{_|")
    again = settled(tiny, "a {big|small} __animal__", seed=5, wildcards=str(tmp_path))
    assert again.prompt == request.prompts[4]
    assert tiny.settle(request)[0] == request


def test_negative_prompts_are_drawn_too_and_each_picture_has_its_own(tiny):
    request = settled(tiny, "a {red|blue} cat", negative="{blue|red} {a|b|c}", seed=1, count=12)
    assert request.total == len(request.negatives) == 12
    for prompt, negative in zip(request.prompts, request.negatives):
        assert negative.startswith("blue" if "red" in prompt else "red")
    assert len({negative[-1] for negative in request.negatives}) == 3
    again = settled(tiny, "a {red|blue} cat", negative="{blue|red} {a|b|c}", seed=5)
    assert (again.prompt, again.negative) == (request.prompts[4], request.negatives[4])
    assert tiny.settle(request)[0] == request
    fixed = settled(tiny, ["a cat", "a dog"], negative="{red|red}", count=2)
    assert (fixed.total, fixed.negative) == (4, "red")


def test_each_prompt_may_have_its_own_negative(tiny):
    together = latents(tiny, ["a cat", "a dog", LONG], negative=["ugly", LONG, "ugly"])
    for i, (prompt, negative) in enumerate([("a cat", "ugly"), ("a dog", LONG), (LONG, "ugly")]):
        alone = [step.x for step in tiny.steps(Request(prompt, negative=negative, seed=3 + i))][-1]
        assert_same(together[i : i + 1], alone)


@pytest.mark.parametrize("word", [None, "a1111", "comfyui"])
def test_the_shorter_prompt_is_filled_up_or_as_good_as_read_apart(tiny, word):
    request = settled(tiny, "a cat " * 12, negative="ugly", compat=word)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    model = ModelDenoiser(tiny.unet, tiny.family.noise_schedule(), "eps")
    with torch.inference_mode():
        sigma = model.schedule.sigma(500)
        guess = tiny.denoiser(request, 4)(1)(x, sigma)
        cat, ugly = (model(x, sigma, tiny.conditioning([text])) for text in (request.prompt, request.negative))
    assert torch.allclose(guess, ugly + 3 * (cat - ugly), atol=1e-4) is (word is not None)


def test_what_draws_nothing_stays_as_it_was():
    request = Request(["a cat", "{a dog}"], count=3, emphasis="a1111")
    assert drawn(request) == request
    off = Request("{a|b}", emphasis="off")
    assert drawn(off) == off


# LoRA


def test_lora_is_taken_out_with_a_warning(tiny):
    with pytest.warns(UserWarning, match="LoRA, which this version cannot add: fur, ink"):
        picture = latents(tiny, "a cat<lora:ink:0.5><lora:fur>")
    assert_same(picture, latents(tiny, "a cat"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        latents(tiny, "a cat<lora:ink:0.5>", emphasis="off")


def test_chunk_sizes(tiny):
    request = settled(tiny, ["a cat", f"[a cat:{LONG}:2]<lora:x>"], negative="cat " * 12)
    sizes = chunk_sizes(request, tiny.tokenizer)
    assert list(sizes) == ["a cat", LONG, "cat " * 12]
    assert sizes["cat " * 12] == [10, 2]
    assert sizes["a cat"] == [len(tiny.tokenizer.encode("a cat"))]
    assert sum(sizes[LONG]) == len(tiny.tokenizer.encode(LONG))
