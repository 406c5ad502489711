"""From prompts to contexts: chunks, emphasis, clip skip, and what is read at which step."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm.clip import conditioning
from ldm.clip.conditioning import Plan, chunks, cut, emphasised, encode_prompts, weigh_comfyui
from ldm.clip.model import TextConfig, TextEncoder
from ldm.clip.tokenizer import Tokenizer

TOKENIZER = Tokenizer.for_words(["a red cat, the blue dog; one two three four five six seven"], length=12)
LONG = "one two three four five six seven one two three four five six"  # 13 tokens: chunks of 10 and 3
CLIP = Tokenizer()


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TextEncoder(TextConfig(len(TOKENIZER), 12, 16, 3, 2, "quick_gelu"))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=0.1, std=0.3)
    return model.eval().requires_grad_(False)


def last(text: TextEncoder, *prompts: str) -> torch.Tensor:
    return text(TOKENIZER(prompts)).last


def test_doctests():
    results = doctest.testmod(conditioning)
    assert results.attempted > 0
    assert results.failed == 0


# chunks


def test_a_plain_prompt_is_read_as_by_the_encoder_itself(text):
    prompts = ["a red cat", "", "one two three four five six seven one two three"]
    assert encode_prompts(TOKENIZER, text, prompts).equal(last(text, *prompts))


@settings(max_examples=50)
@given(prompts=st.lists(st.text(st.sampled_from("abcdot ,;:|.")).filter(lambda t: len(t) < 10), min_size=1, max_size=3))
def test_any_plain_prompts_are_read_as_by_the_encoder_itself(text, prompts):
    assert encode_prompts(TOKENIZER, text, prompts).equal(last(text, *prompts))


def test_a_long_prompt_is_read_in_chunks_and_the_shorter_filled_with_empty_ones(text):
    context = encode_prompts(TOKENIZER, text, [LONG, "a cat"])
    first, second = "one two three four five six seven one two three", "four five six"
    assert context.equal(torch.cat([last(text, first, "a cat"), last(text, second, "")], dim=1))


def counts(prompt: str) -> list[int]:
    return [len(chunk) for chunk in chunks(CLIP, prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [0]),
        ("cat " * 75, [75]),
        ("cat " * 76, [75, 1]),
        ("cat " * 300, [75] * 4),
        ("cat " * 75 + ",", [75, 1]),
        ("cat " * 54 + "," + " dog" * 40, [75, 20]),  # the comma is 21 from the end: too far
        ("cat " * 55 + "," + " dog" * 40, [56, 40]),  # 20: just near enough
        ("cat " * 60 + ", dog dog, " + "cow " * 40, [64, 40]),  # the last comma counts
        ("cat " * 74 + "," + " dog" * 3, [75, 3]),
        ("cat " * 74 + ",," + " dog" * 3, [75, 3]),  # two commas are another token, ",,"
        ("cat " * 60 + ", " + "dog " * 14 + ", " + "cow " * 5, [75, 6]),  # nothing moves for a comma's own sake
        ("cat " * 60 + ", " + "dog " * 80, [61, 75, 5]),
        ("a BREAK b c", [1, 2]),
        ("BREAK a", [0, 1]),
        ("a BREAK", [1]),
        ("a BREAK BREAK b", [1, 0, 1]),
        ("BREAK", [0]),
        ("cat " * 76 + "BREAK dog", [75, 1, 1]),
        ("(cat:1.3) " * 76, [75, 1]),
    ],
)
def test_where_chunks_end(prompt, expected):
    assert counts(prompt) == expected


@given(st.lists(st.sampled_from([0, 1, 2]), max_size=60), st.integers(1, 30))
def test_cutting_keeps_every_token_in_its_place(ids, size):
    tokens = [(token, float(i)) for i, token in enumerate(ids)]
    result = cut(tokens, size, comma=0)
    assert [token for chunk in result for token in chunk] == tokens
    assert all(len(chunk) <= size for chunk in result)
    assert all(result) or result == [[]]


def test_weights_of_tokens():
    (chunk,) = chunks(CLIP, "a (red:1.3) [cat]")
    assert chunk == [(320, 1.0), (736, 1.3), (2368, 1 / 1.1)]
    assert chunks(CLIP, "(a:2) [b]", "off") == [[(i, 1.0) for i in CLIP.encode("(a:2) [b]")]]
    assert chunks(CLIP, "(a:2) BREAK", "comfyui") == [[(320, 2.0), (CLIP.encode("break")[0], 1.0)]]


# emphasis


def test_emphasis_of_a1111_keeps_the_mean_of_each_chunk(text):
    plain = last(text, "a red cat", "the dog")
    context = encode_prompts(TOKENIZER, text, ["a (red:1.5) cat", "the dog"])
    w = torch.ones(12)
    w[2] = 1.5
    expected = plain[0] * w[:, None]
    expected = expected * plain[0].mean() / expected.mean()
    torch.testing.assert_close(context[0], expected)
    torch.testing.assert_close(context[0].mean(), plain[0].mean())
    assert context[1].equal(plain[1])  # another prompt's emphasis does not matter


def test_a_chunk_without_a_mean_is_only_weighted():
    z, weights = torch.tensor([[[1.0, -1.0], [2.0, -2.0]]]), torch.tensor([[1.0, 3.0]])
    assert emphasised(z, weights).tolist() == [[[1, -1], [6, -6]]]


def test_emphasis_in_the_second_chunk_leaves_the_first_alone(text):
    plain = encode_prompts(TOKENIZER, text, [LONG])
    context = encode_prompts(TOKENIZER, text, [LONG + " (dog:2)"])
    assert context[:, :12].equal(plain[:, :12])


def test_emphasis_of_comfyui_leads_away_from_the_empty_prompt(text):
    plain, empty = last(text, "a red cat"), last(text, "")
    context = encode_prompts(TOKENIZER, text, ["a (red:1.5) cat"], "comfyui")
    torch.testing.assert_close(context[:, 2], empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2]))
    assert context[:, [0, 1, *range(3, 12)]].equal(plain[:, [0, 1, *range(3, 12)]])


def test_without_emphasis_brackets_are_text(text):
    assert encode_prompts(TOKENIZER, text, ["a (cat:2)"], "off").equal(last(text, "a (cat:2)"))
    assert encode_prompts(TOKENIZER, text, ["a [cat]"], "comfyui").equal(last(text, "a [cat]"))


def test_emphasis_of_one_changes_nothing(text):
    assert encode_prompts(TOKENIZER, text, ["a (red:1) cat"]).equal(last(text, "a red cat"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_emphasis_keeps_the_number_format(dtype):
    z = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)) + 0.2
    weights = torch.tensor([[1, 1.3, 1, 0.5, 1], [1, 1, 1, 1, 1]])
    got = emphasised(z.to(dtype), weights.to(dtype))
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), emphasised(z, weights), rtol=2e-2, atol=2e-2)
    assert got[1].equal(z.to(dtype)[1])


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("((a))", [("a", 1.1 * 1.1)]),
        ("((a:1.5) b:1.2)", [("a", 1.5), (" b", 1.2)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(:1.3)", [(":1.3", 1.1)]),
        ("(a(:1.3))", [("a", 1.1), (":1.3", 1.1 * 1.1)]),
        (r"\(a:1.3\)", [("(a:1.3)", 1.0)]),
        ("a) (b", [("a) (b", 1.0)]),
        ("()", []),
        ("[a:b:0.5] BREAK", [("[a:b:0.5] BREAK", 1.0)]),
    ],
)
def test_grammar_of_comfyui(prompt, runs):
    assert weigh_comfyui(prompt) == runs


def test_comfyui_divides_no_short_word_and_knows_no_rule_for_commas():
    word = "zqxjk"  # of several tokens
    length = len(CLIP.encode(word))
    assert 1 < length < 8
    prompt = "a " * 60 + ", " + "a " * (75 - 61 - length + 1) + word + " end"
    assert [len(chunk) for chunk in chunks(CLIP, prompt, "comfyui")] == [76 - length, length + 1]
    assert [len(chunk) for chunk in chunks(CLIP, prompt, "a1111")] == [61, 77 - 61]
    assert chunks(CLIP, "", "comfyui") == [[]]


@given(st.text(st.sampled_from("ab()\\: .1[]"), max_size=30))
def test_grammar_of_comfyui_never_loses_text(prompt):
    def letters(text):
        return "".join(char for char in text if char in "ab[]")

    assert letters("".join(run for run, _ in weigh_comfyui(prompt))) == letters(prompt)


# clip skip


def test_clip_skip_counts_from_the_last_layer(text):
    hidden = text(TOKENIZER(["a red cat"])).hidden
    for skip in (1, 2, 3):
        assert encode_prompts(TOKENIZER, text, ["a red cat"], clip_skip=skip).equal(text.norm(hidden[-skip]))
    assert encode_prompts(TOKENIZER, text, ["a red cat"], clip_skip=1).equal(last(text, "a red cat"))


def test_what_cannot_be_read_is_named(text):
    for skip in (0, 4, -1):
        with pytest.raises(ValueError, match=f"clip_skip {skip}: .* 1 .* to 3"):
            encode_prompts(TOKENIZER, text, ["a"], clip_skip=skip)
    with pytest.raises(ValueError, match="emphasis 'strong' is unknown: choose one of a1111, comfyui, off"):
        encode_prompts(TOKENIZER, text, ["a"], "strong")
    with pytest.raises(ValueError, match="2 prompts and 1 negatives"):
        Plan(["a", "b"], [""], 1)


# plans


def test_a_plan_of_plain_prompts(text):
    plan = Plan(["a cat", "a dog", "a cat"], [""] * 3, steps=4)
    assert plan.texts == ["a cat", "a dog", ""]
    contexts = encode_prompts(TOKENIZER, text, plan.texts)
    for step in range(1, 5):
        positive, weights, negative = plan.at(step, contexts)
        assert positive.equal(contexts[[0, 1, 0]][None])
        assert weights.equal(torch.ones(1, 3))
        assert negative.equal(contexts[[2, 2, 2]])


def read_by(plan: Plan, step: int) -> tuple[list[list[str]], list[list[float]], list[str]]:
    """What is read at a step, as texts."""
    positive, weights, negative = plan.at(step, torch.arange(len(plan.texts)))
    return [[plan.texts[i] for i in row] for row in positive], weights.tolist(), [plan.texts[i] for i in negative]


def test_prompts_that_change_are_read_at_their_steps():
    plan = Plan(["a [cat:dog:2]", "[one|two]"], ["x [y:1]", ""], steps=3)
    assert sorted(plan.texts) == sorted(["a cat", "a dog", "one", "two", "x ", "x y", ""])
    assert [read_by(plan, step) for step in (1, 2, 3)] == [
        ([["a cat", "one"]], [[1, 1]], ["x ", ""]),
        ([["a cat", "two"]], [[1, 1]], ["x y", ""]),
        ([["a dog", "one"]], [[1, 1]], ["x y", ""]),
    ]


def test_joined_prompts_and_those_that_join_fewer():
    plan = Plan(["a AND [b:c:1] :0.5", "d"], ["e AND f", "g"], steps=2)
    assert read_by(plan, 2) == ([["a", "d"], ["c", "g"]], [[1, 1], [0.5, 0]], ["e AND f", "g"])


def test_a_second_pass_goes_on_where_the_first_ended():
    plan = Plan(["[a:b:1.5]"], [""], steps=4, earlier=20)
    assert [read_by(plan, step)[0] for step in (1, 2, 3, 4)] == [[["a"]], [["a"]], [["b"]], [["b"]]]


@pytest.mark.parametrize("emphasis", ["comfyui", "off"])
def test_only_one_grammar_knows_changes_and_joins(emphasis):
    assert Plan(["[a:b:1] AND c"], ["[d|e]"], 2, emphasis=emphasis).texts == ["[a:b:1] AND c", "[d|e]"]
