r"""AUTOMATIC1111's prompt grammar: what (round), [square] and <angle> brackets mean.

A prompt is read in stages, each a function, and each in time linear in its length:

    <lora:name:0.8>               extract_loras     weights to be added to the model
    a cat AND a dog :0.5          split_and         several prompts that all pull at one picture
    [cat:dog:0.5]  [cat|dog]      prompt_schedule   a text that changes on the way: editing.py
    (cat) [cat] (cat:1.3) BREAK   parse_attention   words that count for more or less

What fits no rule is no error but text: a bracket alone, a weight that is no number.

>>> extract_loras("a cat <lora:cat:much>")
('a cat <lora:cat:much>', [])
>>> parse_attention("(masterpiece:1,2)")
[[('masterpiece:1,2', 1.1)]]
"""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
Weighted = tuple[str, float]  # a text and how much it counts; 1 is normal


class Lora(NamedTuple):
    """A LoRA by name, and how strongly it acts on the text encoder and on the U-Net."""

    name: str
    text: float
    unet: float


def extract_loras(prompt: str) -> tuple[str, list[Lora]]:
    """Take every <lora:name:weight> out of the prompt; also <lora:name:text:unet>, and with te= and
    unet=. <lyco:...> is the same.

    >>> extract_loras("a cat <lora:fur:0.8>, <lora:ink> night")
    ('a cat ,  night', [Lora(name='fur', text=0.8, unet=0.8), Lora(name='ink', text=1.0, unet=1.0)])
    >>> extract_loras("<lora:a:1:.5><lora:b:unet=0.2>")
    ('', [Lora(name='a', text=1.0, unet=0.5), Lora(name='b', text=1.0, unet=0.2)])
    """
    loras: list[Lora] = []

    def take(found: re.Match[str]) -> str:
        name, *arguments = found[1].split(":")
        named = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        placed = [argument for argument in arguments if "=" not in argument]
        text = named.get("te", placed[0] if placed else "1")
        unet = named.get("unet", placed[1] if len(placed) > 1 else text)
        if not (name and re.fullmatch(NUMBER, text) and re.fullmatch(NUMBER, unet)):
            return found[0]
        loras.append(Lora(name, float(text), float(unet)))
        return ""

    return re.sub(r"<(?:lora|lyco):([^<>]+)>", take, prompt), loras


def extract_hypernets(prompt: str) -> tuple[str, list[str]]:
    """Take every <hypernet:name:weight> out of the prompt, and give the names.

    >>> extract_hypernets("ink <hypernet:brush:0.8>drawing")
    ('ink drawing', ['brush'])
    """
    names = re.findall(r"<hypernet:([^<>:]+)[^<>]*>", prompt)
    return re.sub(r"<hypernet:[^<>:]+[^<>]*>", "", prompt), names


def split_and(prompt: str) -> list[Weighted]:
    """The prompts that AND joins, each with its weight: the picture follows the weighted sum of
    their guidances, see `samplers.guidance`. A prompt without AND has no weight: its numbers are
    text.

    >>> split_and("a cat AND a dog :0.5 AND the SAND: -1")
    [('a cat', 1.0), ('a dog', 0.5), ('the SAND', -1.0)]
    >>> split_and("a screen, 16:9")
    [('a screen, 16:9', 1.0)]
    """
    prompts = re.split(r"\bAND\b", prompt)
    if len(prompts) == 1:
        return [(prompt, 1.0)]
    weighted = map(trailing_weight, prompts)
    return [(text.strip(), 1.0 if weight is None else weight) for text, weight in weighted]


def trailing_weight(text: str) -> tuple[str, float | None]:
    """What stands before and after the last colon, if that is a number; else the text and None.

    >>> trailing_weight("a 16:9 dog : .5 "), trailing_weight("a:b")
    (('a 16:9 dog ', 0.5), ('a:b', None))
    """
    before, colon, number = text.rpartition(":")
    is_number = colon and re.fullmatch(rf"\s*{NUMBER}\s*", number)
    return (before, float(number)) if is_number else (text, None)


ATTENTION = re.compile(
    rf"\\[][()\\]?|[][(]|:\s*({NUMBER})\s*\)|\)|(?:[^][()\\:]|:(?!\s*{NUMBER}\s*\)))+"
)
FACTOR = 1.1
DEEPEST = 100  # levels of brackets that count, from the outside; it keeps the time linear


def parse_attention(prompt: str) -> list[list[Weighted]]:
    r"""The texts and weights of a prompt, one list for each part between BREAKs.

    (x) counts 1.1 times, [x] 1/1.1 times, (x:w) w times; nested brackets multiply, and one that is
    never closed reaches to the end. A backslash makes the bracket or backslash after it a plain
    character, and is dropped itself.

    >>> parse_attention("an (important) word")
    [[('an ', 1.0), ('important', 1.1), (' word', 1.0)]]
    >>> parse_attention("(x:1.3) [y] ((z))")
    [[('x', 1.3), (' ', 1.0), ('y', 0.9090909090909091), (' ', 1.0), ('z', 1.2100000000000002)]]
    >>> parse_attention(r"(unbalanced \(literal\]")
    [[('unbalanced (literal]', 1.1)]]
    >>> parse_attention("(unnecessary)(parens)")
    [[('unnecessaryparens', 1.1)]]
    >>> parse_attention("a cat BREAK (a dog BREAK at night:1.2)")
    [[('a cat', 1.0)], [('a dog', 1.2)], [('at night', 1.2)]]
    """
    texts: list[str | None] = []  # None is a BREAK
    weights: list[float] = []  # of each
    begun: dict[str, list[int]] = {"(": [], "[": []}  # where in `texts` the open brackets begin

    def close(bracket: str, factor: float) -> None:
        start = begun[bracket].pop()
        if len(begun[bracket]) < DEEPEST:
            weights[start:] = [weight * factor for weight in weights[start:]]

    for found in ATTENTION.finditer(prompt):
        piece = found[0]
        if piece in begun:
            begun[piece].append(len(texts))
        elif found[1] is not None and begun["("]:
            close("(", float(found[1]))
        elif piece == ")" and begun["("]:
            close("(", FACTOR)
        elif piece == "]" and begun["["]:
            close("[", 1 / FACTOR)
        else:
            texts += [piece[1:]] if piece.startswith("\\") else split_break(piece)
            weights += [1.0] * (len(texts) - len(weights))
    for bracket, factor in (("(", FACTOR), ("[", 1 / FACTOR)):
        while begun[bracket]:
            close(bracket, factor)
    parts: list[list[Weighted]] = [[]]
    for text, weight in zip(texts, weights):
        if text is None:
            parts.append([])
        elif text:
            parts[-1].append((text, weight))
    return [join_equal(part) for part in parts]


def split_break(text: str) -> list[str | None]:
    """The texts between the BREAKs of a text, without the spaces around these; None is a BREAK."""
    first, *others = re.split(r"\bBREAK\b", text)
    texts: list[str | None] = [first]
    for other in others:
        texts[-1] = (texts[-1] or "").rstrip()
        texts += [None, other.lstrip()]
    return texts


def join_equal(runs: Sequence[Weighted]) -> list[Weighted]:
    """Neighbours of one weight as one text."""
    return [
        ("".join(text for text, _ in same), weight)
        for weight, same in groupby(runs, key=lambda run: run[1])
    ]
