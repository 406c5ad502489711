"""The prompt grammar: its doctests, and on random prompts that nothing fails and no text is
lost."""

import doctest
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm.clip import tokenizer
from ldm.prompts import a1111, chunks, comfyui, editing, schedule, wildcards
from ldm.prompts.a1111 import Lora, extract_loras, parse_attention, split_and
from ldm.prompts.editing import prompt_schedule
from ldm.prompts.schedule import text_during
from ldm.prompts.wildcards import expand_wildcards

LONG_NEGATIVE = (
    "(worst quality:1.4), (masterpiece:1,2), (fused fingers:1.61051), (((extra arms and legs))), "
    "((bad anatomy)), [blurry], text, signature"
)

# Every piece of syntax and some words, in any order: mostly wrong, as people's prompts are.
PIECES = (
    r"( ) [ ] { } < > : | \ , . _ __ 1.3 :1.3) :.5] :3] -2 1,2 BREAK AND <lora: __animal__ \( \] a "
    "word ünï"
)
fragments = st.sampled_from([" ", *PIECES.split()])
prompts = st.lists(fragments, max_size=40).map("".join)


def letters(text: str) -> str:
    return "".join(re.findall(r"[^\W\d_]", text))


@pytest.mark.parametrize(
    "module", [a1111, chunks, comfyui, editing, schedule, tokenizer, wildcards]
)
def test_doctests(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


@settings(max_examples=1000, deadline=None)
@given(prompts, st.integers(1, 12), st.integers(0, 12))
def test_random_prompts_never_fail_and_never_lose_text(prompt, steps, earlier):
    assert expand_wildcards(prompt, steps) == prompt or re.search(r"\{.*\|.*\}", prompt)
    assert extract_loras(prompt) == (prompt, []) or re.search("<lora:.*>", prompt)

    subjects = "".join(text for text, _ in split_and(prompt))
    assert letters(subjects) == letters(re.sub(r"\bAND\b", "", prompt))

    changes = prompt_schedule(prompt, steps, earlier)
    assert changes == [(steps, prompt)] or re.search(r"\[.*[:|].*\]", prompt)
    assert [last for last, _ in changes] == sorted({last for last, _ in changes})
    assert changes[-1][0] == steps

    weighed = "".join(text for part in parse_attention(prompt) for text, _ in part)
    # brackets part words, so that _BREAK is none and (BREAK is one
    between_brackets = re.sub(r"[][()\\:]", " ", prompt)
    assert letters(weighed) == letters(re.sub(r"\bBREAK\b", "", between_brackets))


# A prompt together with what it says at each step, built up from words, independently of the
# parser.
words = st.from_regex(r"[a-z]{1,3} ?", fullmatch=True).map(lambda word: (word, lambda step: word))
times = st.integers(0, 11)


def larger(inner):
    def joined(parts):
        return "".join(text for text, _ in parts), lambda step: "".join(at(step) for _, at in parts)

    def wrapped(form, part):
        return form.format(part[0]), lambda step: form.format(part[1](step))

    def edited(before, after, when):
        text = f"[{before[0]}:{after[0]}:{when}]"
        return text, lambda step: before[1](step) if step <= when else after[1](step)

    def in_turns(parts):
        text = "[" + "|".join(text for text, _ in parts) + "]"
        return text, lambda step: parts[(step - 1) % len(parts)][1](step)

    several = st.lists(inner, min_size=2, max_size=3)
    forms = st.sampled_from(["({})", "[{}]", "({}:1.3)", "(({}))"])
    return st.one_of(
        several.map(joined),
        st.builds(wrapped, forms, inner),
        st.builds(edited, inner, inner, times),
        several.map(in_turns),
    )


def worked_out(prompt, steps):
    """The steps at which a text is worked out, as no earlier one says the same."""
    _, kinds = editing.parse_choices(prompt, steps, 0)
    return sorted(set(editing.same_as(kinds, steps)))


def test_a_schedule_is_only_worked_out_where_it_may_change():
    assert len(prompt_schedule("[a:b:5][c:d:9][e:f:0][g:h:2000]", 1000)) == 3
    assert worked_out("[a:b:5][c:d:9][e:f:0][g:h:2000]", 1000) == [1, 6, 10]
    assert len(prompt_schedule("[a|b][c|d|e]", 1000)) == 1000
    assert worked_out("[a|b][c|d|e]", 1000) == [1, 2, 3, 4, 5, 6]
    assert worked_out("[a:b:1.5]" * 100, 1000) == [1]


def test_thousands_of_times_are_each_gone_through_twice():
    """12,000 different times of 1,000 steps: once each text begins, and once it ends."""
    prompt = "".join(f"[a:b:{i / 12_000:.6f}]" for i in range(12_000))
    pieces, kinds = editing.parse_choices(prompt, 1000, 0)
    assert len(kinds) == 1000
    moments = sorted(set(editing.same_as(kinds, 1000)))
    parts = list(editing.flat(pieces, editing.Turns(moments)))
    assert len(parts) <= 2 * 12_000
    whens = {when for _, when in parts}
    changed = editing.comings_and_goings(list(whens), len(moments))
    assert sum(map(len, changed)) <= 2 * len(whens) <= 2 * 2000
    schedule = prompt_schedule(prompt, 1000)
    assert [text.count("a") for _, text in schedule] == [
        sum(int(i / 12_000 * 1000) >= step for i in range(12_000)) for step in range(1, 1001)
    ]


@given(st.recursive(words, larger, max_leaves=12))
def test_a_schedule_says_what_was_meant(built):
    prompt, at = built
    changes = prompt_schedule(prompt, 10)
    assert [text_during(changes, step) for step in range(1, 11)] == [
        at(step) for step in range(1, 11)
    ]
    assert all(one[1] != next_[1] for one, next_ in pairwise(changes))


@given(
    st.text(st.characters(exclude_characters="()[]\\")).filter(
        lambda text: "BREAK" not in text and text
    )
)
def test_text_without_syntax_stays_as_it_is(text):
    assert parse_attention(text) == [[(text, 1.0)]]
    assert prompt_schedule(text, 7) == [(7, text)]


def test_weights_multiply_as_written():
    assert parse_attention("(((x)))") == [[("x", pytest.approx(1.331))]]
    assert parse_attention("(((((x)))))") == [[("x", pytest.approx(1.61051))]]
    assert parse_attention("((x:2):3)") == [[("x", 6.0)]]
    assert parse_attention("([x])")[0][0][1] == pytest.approx(1.0)
    assert parse_attention("(x: -.5 )") == [[("x", -0.5)]]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("(masterpiece:1,2)", [[("masterpiece:1,2", 1.1)]]),
        ("(x:1.2.3)", [[("x:1.2.3", 1.1)]]),
        ("(x:.)", [[("x:.", 1.1)]]),
        ("(x:)", [[("x:", 1.1)]]),
        ("x:1.3)", [[("x:1.3)", 1.0)]]),
        ("[x:1.3]", [[("x:1.3", 1 / 1.1)]]),
        ("a)b]c", [[("a)b]c", 1.0)]]),
        ("(", [[]]),
        ("", [[]]),
    ],
)
def test_malformed_weights_are_text(prompt, parts):
    assert parse_attention(prompt) == parts


def test_a_long_negative_prompt():
    expected = {
        "worst quality": 1.4,
        "masterpiece:1,2": 1.1,
        "fused fingers": 1.61051,
        "extra arms and legs": 1.331,
        "bad anatomy": 1.21,
        "blurry": 1 / 1.1,
        ", text, signature": 1.0,
    }
    weights = dict(parse_attention(LONG_NEGATIVE)[0])
    assert {text: weights[text] for text in expected} == pytest.approx(expected)


def test_only_the_outermost_hundred_brackets_count():
    for depth, power in ((99, 99), (100, 100), (101, 100), (300, 100)):
        ((_, weight),) = parse_attention("(" * depth + "x" + ")" * depth)[0]
        assert weight == pytest.approx(1.1**power)
    ((_, weight),) = parse_attention("[" * 300 + "x")[0]
    assert weight == pytest.approx(1.1**-100)


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a BREAK b", [["a"], ["b"]]),
        ("a BREAK BREAK b", [["a"], [], ["b"]]),
        ("BREAK a BREAK", [[], ["a"], []]),
        ("a\nBREAK\nb", [["a"], ["b"]]),
        ("a : BREAK :  b", [["a :"], [":  b"]]),
        ("BREAKFAST outBREAK break", [["BREAKFAST outBREAK break"]]),
    ],
)
def test_break(prompt, parts):
    assert [[text for text, _ in part] for part in parse_attention(prompt)] == parts


def test_alternation_takes_turns():
    turns = [text_during(prompt_schedule("[a|b|c]d", 7), step) for step in range(1, 8)]
    assert turns == ["ad", "bd", "cd", "ad", "bd", "cd", "ad"]
    assert prompt_schedule("[fe|||]male", 5) == [(1, "female"), (4, "male"), (5, "female")]
    assert prompt_schedule("[a|[b|c]]", 4) == [(1, "a"), (2, "c"), (3, "a"), (4, "c")]
    assert prompt_schedule("[(a|b:1.2)|c]", 2) == [(1, "(a|b:1.2)"), (2, "c")]
    assert prompt_schedule("a | b [c:1]", 2) == [(1, "a | b "), (2, "a | b c")]


@pytest.mark.parametrize(
    ("when", "last"),
    [("0", 0), ("-3", 0), ("3", 3), ("30", 10), ("0.25", 2), (".99", 9), ("9" * 5000, 10)],
)
def test_when_an_edit_happens(when, last):
    texts = [text_during(prompt_schedule(f"[a:b:{when}]", 10), step) for step in range(1, 11)]
    assert texts == ["a"] * last + ["b"] * (10 - last)


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("[a:b:[3|4]]", ["[a:b:3]", "[a:b:4]", "[a:b:3]", "[a:b:4]"]),
        ("[a:[3|4]]", ["[a:3]", "[a:4]", "[a:3]", "[a:4]"]),
        ("x [a:b:[3:4:2]] y", ["x [a:b:3] y"] * 2 + ["x [a:b:4] y"] * 2),
        ("[a:b:(3)]", ["[a:b:(3)]"] * 4),
        ("[a:b:3[|]]", ["[a:b:3]"] * 4),
    ],
)
def test_a_time_that_is_no_number_is_text(prompt, texts):
    """What AUTOMATIC1111's parser makes of these, at 4 steps. Its grammar has

        scheduled: "[" [prompt ":"] prompt ":" [WHITESPACE] NUMBER [WHITESPACE] "]"

    and a choice is no NUMBER: the outer brackets stay as text, and what the choice says at a step
    is not read again. (Version 0.1 of this library did read it, and drew another picture.)"""
    schedule = prompt_schedule(prompt, 4)
    assert [text_during(schedule, step) for step in (1, 2, 3, 4)] == texts


def test_edits_with_other_than_three_parts_are_text():
    for prompt in ("[a:b:c:3]", "[3]", "[a:b]", "[a:b:3", "a:b:3]", "[a:b:1e3]", "[a:b:x]"):
        assert prompt_schedule(prompt, 10) == [(10, prompt)]


def test_a_schedule_needs_a_step():
    with pytest.raises(ValueError, match="at least 1 step, not 0"):
        prompt_schedule("a", 0)


def test_and():
    assert split_and("a AND b:1,2 AND c: 2") == [("a", 1.0), ("b:1,2", 1.0), ("c", 2.0)]
    assert split_and("(a AND b:1.5)") == [("(a", 1.0), ("b:1.5)", 1.0)]
    assert split_and("a\nAND\nb :-.5 ") == [("a", 1.0), ("b", -0.5)]
    assert split_and("hand AND") == [("hand", 1.0), ("", 1.0)]


def test_loras():
    assert extract_loras("<lora:a b-v1.2:0.5:0.25>x") == ("x", [Lora("a b-v1.2", 0.5, 0.25)])
    assert extract_loras("<lora:a:te=0.5:unet=0>") == ("", [Lora("a", 0.5, 0.0)])
    assert extract_loras("<lora:a:-1:dyn=8>") == ("", [Lora("a", -1.0, -1.0)])
    for prompt in ("<lora:>", "<lora::1>", "<lora:a:>", "<lora:a:b>", "<lora:a", "<b>"):
        assert extract_loras(prompt) == (prompt, [])
