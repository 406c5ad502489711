"""From prompts to conditioning: chunks, attention weighting, clip skip, towers, and branches."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm.clip.config import TextConfig
from ldm.clip.model import TextEncoder
from ldm.clip.tokenizer import Tokenizer
from ldm.clip.vocabulary import tokenizer_for_words
from ldm.conditioning import Conditioning
from ldm.prompts.batches import branches
from ldm.prompts.chunks import padded_chunks
from ldm.prompts.conditioner import Tower
from ldm.prompts.conditioner import encode_prompts as encode_towers
from ldm.prompts.schedule import PromptSchedule
from ldm.prompts.weighting import weight_tokens

TOKENIZER = tokenizer_for_words(
    ["a red cat, the blue dog; one two three four five six seven"], length=12
)
LONG = (
    "one two three four five six seven one two three four five six"  # 13 tokens: chunks of 10 and 3
)


CONFIG = TextConfig(
    vocabulary=len(TOKENIZER), length=12, width=16, layers=3, heads=2, mlp_width=64,
    activation="quick_gelu", layer=1, final_norm=True, pad=None, projection=None,
)  # fmt: skip


def tower(seed: int = 0, **options: object) -> TextEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TextEncoder(replace(CONFIG, **options))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=0.1, std=0.3)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return tower()


def encode_prompts(text: TextEncoder, prompts: list[str], *args, **options) -> torch.Tensor:
    """The contexts of one tower."""
    encoded = encode_towers([Tower(TOKENIZER, text)], prompts, *args, **options)
    assert encoded.vector is encoded.concat is None
    return encoded.context


def last(text: TextEncoder, *prompts: str) -> torch.Tensor:
    return text(TOKENIZER(prompts)).last


# plain prompts


def test_a_plain_prompt_is_read_as_by_the_encoder_itself(text):
    prompts = ["a red cat", "", "one two three four five six seven one two three"]
    assert encode_prompts(text, prompts).equal(last(text, *prompts))


@settings(max_examples=50)
@given(
    prompts=st.lists(
        st.text(st.sampled_from("abcdot ,;:|.")).filter(lambda t: len(t) < 10),
        min_size=1,
        max_size=3,
    )
)
def test_any_plain_prompts_are_read_as_by_the_encoder_itself(text, prompts):
    assert encode_prompts(text, prompts).equal(last(text, *prompts))


def test_a_long_prompt_is_read_in_chunks_and_the_shorter_filled_with_empty_ones(text):
    context = encode_prompts(text, [LONG, "a cat"])
    first, second = "one two three four five six seven one two three", "four five six"
    assert context.equal(torch.cat([last(text, first, "a cat"), last(text, second, "")], dim=1))


# attention weighting


def test_weights_of_a1111_keeps_the_mean_of_each_chunk(text):
    plain = last(text, "a red cat", "the dog")
    context = encode_prompts(text, ["a (red:1.5) cat", "the dog"])
    w = torch.ones(12)
    w[2] = 1.5
    expected = plain[0] * w[:, None]
    expected = expected * plain[0].mean() / expected.mean()
    torch.testing.assert_close(context[0], expected)
    torch.testing.assert_close(context[0].mean(), plain[0].mean())
    assert context[1].equal(plain[1])  # another prompt's weights do not matter


def test_a_chunk_without_a_mean_is_only_weighted():
    z, weights = torch.tensor([[[1.0, -1.0], [2.0, -2.0]]]), torch.tensor([[1.0, 3.0]])
    assert weight_tokens(z, weights).tolist() == [[[1, -1], [6, -6]]]


def test_weights_in_the_second_chunk_leaves_the_first_alone(text):
    plain = encode_prompts(text, [LONG])
    context = encode_prompts(text, [LONG + " (dog:2)"])
    assert context[:, :12].equal(plain[:, :12])


def test_weights_of_comfyui_leads_away_from_the_empty_prompt(text):
    plain, empty = last(text, "a red cat"), last(text, "")
    context = encode_prompts(text, ["a (red:1.5) cat"], "comfyui")
    torch.testing.assert_close(context[:, 2], empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2]))
    assert context[:, [0, 1, *range(3, 12)]].equal(plain[:, [0, 1, *range(3, 12)]])


def test_without_weights_brackets_are_text(text):
    assert encode_prompts(text, ["a (cat:2)"], "off").equal(last(text, "a (cat:2)"))
    assert encode_prompts(text, ["a [cat]"], "comfyui").equal(last(text, "a [cat]"))


def test_weights_of_one_changes_nothing(text):
    assert encode_prompts(text, ["a (red:1) cat"]).equal(last(text, "a red cat"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keeps_the_number_format(dtype):
    z = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)) + 0.2
    weights = torch.tensor([[1, 1.3, 1, 0.5, 1], [1, 1, 1, 1, 1]])
    got = weight_tokens(z.to(dtype), weights.to(dtype))
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), weight_tokens(z, weights), rtol=2e-2, atol=2e-2)
    assert got[1].equal(z.to(dtype)[1])


# clip skip


def test_clip_skip_counts_from_the_last_layer(text):
    hidden = text(TOKENIZER(["a red cat"])).hidden
    for skip in (1, 2, 3):
        context = encode_prompts(text, ["a red cat"], clip_skip=skip)
        assert context.equal(text.norm(hidden[-skip]))
    assert encode_prompts(text, ["a red cat"], clip_skip=1).equal(last(text, "a red cat"))


def test_without_clip_skip_a_tower_is_read_at_its_own_layer():
    prompt, second = "a (red:1) cat", tower(layer=2)
    hidden = second(TOKENIZER(["a red cat"])).hidden
    assert encode_prompts(second, [prompt]).equal(second.norm(hidden[-2]))
    assert encode_prompts(second, [prompt], clip_skip=1).equal(second.norm(hidden[-1]))
    bare = tower(layer=2, final_norm=False)
    assert encode_prompts(bare, [prompt]).equal(hidden[-2])
    assert encode_prompts(bare, [prompt], clip_skip=3).equal(hidden[-3])


def test_what_cannot_be_read_is_named(text):
    for skip in (0, 4, -4):
        with pytest.raises(ValueError, match=f"clip_skip {skip}: .* 1 .* to 3"):
            encode_prompts(text, ["a"], clip_skip=skip)
    with pytest.raises(ValueError, match=r"unknown prompt_syntax 'strong'.* a1111, comfyui, off"):
        encode_prompts(text, ["a"], "strong")


# towers


def test_contexts_of_several_towers_lie_side_by_side(text):
    other = tower(1, width=24, layer=2, final_norm=False)
    padded = Tokenizer(TOKENIZER.merges, length=12, pad=0)
    towers = [Tower(TOKENIZER, text), Tower(padded, other)]
    prompts = [LONG, "a (cat:1.2)"]
    for syntax in ("a1111", "comfyui"):
        context = encode_towers(towers, prompts, syntax).context
        alone = [encode_towers([one], prompts, syntax).context for one in towers]
        assert context.shape == (2, 24, 16 + 24)
        assert context.equal(torch.cat(alone, dim=2))
    assert not alone[1].equal(encode_towers([Tower(TOKENIZER, other)], prompts, "comfyui").context)


def test_shorter_prompts_are_repeated_if_asked(text):
    prompts = ["a", "a BREAK cat", "a BREAK cat BREAK dog"]
    context = encode_prompts(text, prompts, repeat_chunks=True)
    assert context.shape[1] == 12 * padded_chunks([1, 2, 3], True) == 72
    assert context[0].unflatten(0, (6, 12)).equal(last(text, *["a"] * 6))
    a, cat, dog = last(text, "a", "cat", "dog")
    torch.testing.assert_close(context[1], torch.cat([a, cat] * 3))
    torch.testing.assert_close(context[2], torch.cat([a, cat, dog] * 2))


# branches


def numbered(schedule: PromptSchedule) -> Conditioning:
    """A conditioning whose rows are their own numbers."""
    rows = torch.arange(len(schedule.texts))
    return Conditioning(rows[:, None, None], rows[:, None])


def rows_of(parts: list[Conditioning]) -> list[list[int]]:
    assert all(part.context.flatten().equal(part.vector.flatten()) for part in parts)
    return [part.vector.flatten().tolist() for part in parts]


def test_the_negatives_are_the_first_branch_where_they_are_read():
    schedule = PromptSchedule(["a", "b", "a"], ["c", "c", "b"], 1)
    parts, weights = branches(schedule.at(1), numbered(schedule), guided=True)
    assert rows_of(parts) == [[2, 2, 1], [0, 1, 0]]
    assert weights.equal(torch.ones(1, 3))
    parts, _ = branches(schedule.at(1), numbered(schedule), guided=False)
    assert rows_of(parts) == [[0, 1, 0]]


@pytest.mark.parametrize("guided", [True, False])
def test_each_joined_prompt_is_a_branch_with_its_weights(guided):
    schedule = PromptSchedule(["a AND b :0.5", "c"], ["d", "e"], 1)
    parts, weights = branches(schedule.at(1), numbered(schedule), guided)
    at = schedule.texts.index
    assert rows_of(parts) == [[at("d"), at("e")], [at("a"), at("c")], [at("b"), at("e")]]
    assert weights.equal(torch.tensor([[1.0, 1.0], [0.5, 0.0]]))
