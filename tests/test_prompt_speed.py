"""Prompts as bad as can be: they are read in time linear in their length."""

import time

import pytest

from ldm.prompts import comfyui
from ldm.prompts.a1111 import extract_loras, parse_attention, split_and
from ldm.prompts.editing import prompt_schedule
from ldm.prompts.wildcards import expand_wildcards

WORST = {
    "open": "(" * 50_000 + "[" * 50_000,
    "deep": "(a" * 33_000 + ")" * 33_000,
    "deep with weights": "(" * 20_000 + "a" + ":1.1)" * 16_000,
    "deep choices": "[" * 33_000 + "a|]" * 22_000,
    "deep changes": "[a:" * 16_000 + ":3]" * 16_000,
    "colons in brackets": "[:" * 33_000 + "]" * 33_000,
    "mismatched": "(]" * 50_000,
    "never closed": "[)" * 50_000,
    "many choices": "[|]" * 33_000,
    "colons": ":" * 100_000,
    "backslashes": "\\" * 100_000,
    "spaces": "a AND b:" + " " * 100_000 + "x",
    "digits": "a AND b [c:d:" + "1" * 100_000 + "x] <lora:e:" + "1" * 100_000 + "x>",
    "loras": "<lora:" * 16_000,
    "digits in braces": "{" + "1" * 50_000 + "|" + "1" * 50_000,
    "braces": "{" + "|" * 100_000,
}


@pytest.mark.parametrize("name", WORST)
@pytest.mark.parametrize(
    "read",
    [
        extract_loras,
        split_and,
        parse_attention,
        comfyui.parse_attention,
        lambda prompt: prompt_schedule(prompt, 20),
        lambda prompt: expand_wildcards(prompt, 0),
    ],
    ids=["loras", "and", "attention", "comfyui", "schedule", "wildcards"],
)
def test_the_worst_prompts_of_100_kB_are_read_at_once(name, read):
    """What is quadratic takes a minute."""
    began = time.process_time()
    read(WORST[name])
    assert time.process_time() - began < 4


@pytest.mark.parametrize("brackets", ["()", "[]", "{}"])
def test_very_deep_brackets_do_not_fail(brackets):
    prompt = brackets[0] * 5000 + "a" + brackets[1] * 5000
    assert "a" in parse_attention(prompt)[0][0][0]
    assert prompt_schedule(prompt, 2) == [(2, prompt)]
    assert "a" in expand_wildcards(prompt, 0)
