r"""The prompt grammar: what (round), [square], {curly} and <angle> brackets in a prompt mean.

It is the grammar of AUTOMATIC1111's web UI. A prompt is read in five stages, each a function:

    {cat|dog}  __animal__         draw         a choice, or a line of a word list, drawn from the seed: wildcards.py
    <lora:name:0.8>               take_loras   weights to be added to the model
    a cat AND a dog :0.5          split_and    several prompts that all pull at one picture
    [cat:dog:0.5]  [cat|dog]      schedule     a text that changes from step to step
    (cat) [cat] (cat:1.3) BREAK   weigh        words that count for more or less

What fits no rule is no error but text: a bracket alone, a weight that is no number.

>>> take_loras("a cat <lora:cat:much>")
('a cat <lora:cat:much>', [])
>>> schedule("a [unbalanced", steps=10)
[(10, 'a [unbalanced')]
>>> weigh("(masterpiece:1,2)")
[[('masterpiece:1,2', 1.1)]]
"""

import re
from itertools import groupby
from typing import NamedTuple

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
Weighted = tuple[str, float]  # a text and how much it counts; 1 is normal
Schedule = list[tuple[int, str]]  # (the last step, counted from 1, that reads this text; the text)


class Lora(NamedTuple):
    """A LoRA by name, and how strongly it acts on the text encoder and on the U-Net."""

    name: str
    text: float
    unet: float


def take_loras(prompt: str) -> tuple[str, list[Lora]]:
    """Take every <lora:name:weight> out of the prompt; also <lora:name:text:unet>, and with te= and unet=.

    >>> take_loras("a cat <lora:fur:0.8>, <lora:ink> night")
    ('a cat ,  night', [Lora(name='fur', text=0.8, unet=0.8), Lora(name='ink', text=1.0, unet=1.0)])
    >>> take_loras("<lora:a:1:.5><lora:b:unet=0.2>")
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

    return re.sub(r"<lora:([^<>]+)>", take, prompt), loras


def split_and(prompt: str) -> list[Weighted]:
    """The prompts that AND joins, each with its weight: the picture follows the weighted sum of their guidances.

    denoised = uncond + sum_i weight_i scale (cond_i - uncond), the conjunction of Liu et al. 2022, "Compositional
    visual generation with composable diffusion models". A prompt without AND has no weight: its numbers are text.

    >>> split_and("a cat AND a dog :0.5 AND the SAND: -1")
    [('a cat', 1.0), ('a dog', 0.5), ('the SAND', -1.0)]
    >>> split_and("a screen, 16:9")
    [('a screen, 16:9', 1.0)]
    """
    prompts = re.split(r"\bAND\b", prompt)
    if len(prompts) == 1:
        return [(prompt, 1.0)]
    weights = [re.search(rf":\s*({NUMBER})\s*$", part) for part in prompts]
    return [
        (part.strip(), 1.0) if weight is None else (part[: weight.start()].strip(), float(weight[1]))
        for part, weight in zip(prompts, weights)
    ]


PARTNER = {")": "(", "]": "["}
PIECE = re.compile(r"\\.|[][():|]|[^][():|\\]+|\\", re.DOTALL)


class Mark(str):
    """A bare : or |, which divides the bracket that it stands in; the same character inside a text is plain str."""


def schedule(prompt: str, steps: int, earlier: int = 0) -> Schedule:
    """Which text is read until which step (counted from 1), for a prompt that changes on the way.

    [from:to:when] reads `from` up to step `when`, then `to`; one of the two may be empty, and [to:when] is short for
    [:to:when]. With a point, `when` is a fraction of the steps. [a|b|c] takes turns. All may be nested.

    >>> schedule("a [cat:dog:4]", steps=10)
    [(4, 'a cat'), (10, 'a dog')]
    >>> schedule("a [b:3]", 10)
    [(3, 'a '), (10, 'a b')]
    >>> schedule("a [b:.5] c", 10)
    [(5, 'a  c'), (10, 'a b c')]
    >>> schedule("a [b : c : 1] d", 10)
    [(1, 'a b  d'), (10, 'a  c  d')]
    >>> schedule("a[b:[c:d:2]:1]e", 10)
    [(1, 'abe'), (2, 'ace'), (10, 'ade')]
    >>> schedule("[night::0.3]time", 10)
    [(3, 'nighttime'), (10, 'time')]
    >>> schedule("[fe|]male", 3)
    [(1, 'female'), (2, 'male'), (3, 'female')]

    Round brackets, and square ones with neither a time nor turns, are left to `weigh`; so is what is not balanced.

    >>> schedule("a [[[b]]:2]", 10)
    [(2, 'a '), (10, 'a [[b]]')]
    >>> schedule("[(a:2):3]", 10)
    [(3, ''), (10, '(a:2)')]
    >>> schedule("((a][:b:c [d:3]", 10)
    [(3, '((a][:b:c '), (10, '((a][:b:c d')]
    >>> schedule("\\\\[a:b:3]", 10)
    [(10, '\\\\[a:b:3]')]

    In a second pass after one of `earlier` steps, steps are counted on, and its fractions lie between 1 and 2.

    >>> schedule("a [b:.5] c", 10, earlier=10)
    [(10, 'a b c')]
    >>> schedule("a [b:1.5] [c:13]", 10, earlier=10)
    [(3, 'a  '), (5, 'a  c'), (10, 'a b c')]
    """
    if steps < 1:
        raise ValueError(f"a schedule needs at least 1 step, not {steps}")
    texts = [text_at(prompt, step, steps, earlier) for step in range(1, steps + 1)]
    result: Schedule = []
    for text, same in groupby(texts):
        result.append((len(list(same)) + (result[-1][0] if result else 0), text))
    return result


def text_at(prompt: str, step: int, steps: int, earlier: int = 0) -> str:
    """What `schedule` reads at one step. Brackets are replaced as they close, hence from the innermost outwards."""
    open_brackets: list[tuple[str, list[str]]] = [("", [])]  # each with what has come since; first the whole text
    for piece in PIECE.findall(prompt):
        bracket, inside = open_brackets[-1]
        if piece in PARTNER.values():
            open_brackets.append((piece, []))
        elif bracket and PARTNER.get(piece) == bracket:
            open_brackets.pop()
            text = bracket_at(inside, step, steps, earlier) if piece == "]" else None
            open_brackets[-1][1].append(bracket + "".join(inside) + piece if text is None else text)
        else:
            if bracket and piece in PARTNER:  # no partner of its own: what is open cannot be balanced any more
                open_brackets = [("", [unclosed(open_brackets)])]
            open_brackets[-1][1].append(Mark(piece) if piece in ":|" else piece)
    return unclosed(open_brackets)


def bracket_at(inside: list[str], step: int, steps: int, earlier: int) -> str | None:
    """The text of a square bracket at this step; None if it has neither a time nor turns."""
    *texts, when = divide(inside, ":")
    if len(texts) in (1, 2) and re.fullmatch(rf"\s*{NUMBER}\s*", when):
        last = (float(when) - bool(earlier)) * steps if "." in when else float(when) - earlier
        before, after = texts if len(texts) == 2 else ("", texts[0])
        return before if step <= int(min(max(last, 0), steps)) else after
    turns = divide(inside, "|")
    return turns[(step - 1) % len(turns)] if len(turns) > 1 else None


def divide(pieces: list[str], mark: str) -> list[str]:
    """The texts between the marks of this kind."""
    groups: list[list[str]] = [[]]
    for piece in pieces:
        if isinstance(piece, Mark) and piece == mark:
            groups.append([])
        else:
            groups[-1].append(piece)
    return ["".join(group) for group in groups]


def unclosed(open_brackets: list[tuple[str, list[str]]]) -> str:
    return "".join(bracket + "".join(inside) for bracket, inside in open_brackets)


def text_during(schedule: Schedule, step: int) -> str:
    """The text that is read at a step, counted from 1; steps beyond the last read the last text.

    >>> [text_during([(3, "a"), (10, "b")], step) for step in (1, 3, 4, 11)]
    ['a', 'a', 'b', 'b']
    """
    return next((text for last, text in schedule if step <= last), schedule[-1][1])


ATTENTION = re.compile(rf"\\[][()\\]?|[(\[]|:\s*({NUMBER})\s*\)|[])]|[^][()\\:]+|:")
FACTOR = 1.1


def weigh(prompt: str) -> list[list[Weighted]]:
    r"""The texts and weights of a prompt, one list for each part between BREAKs.

    (x) counts 1.1 times, [x] 1/1.1 times, (x:w) w times; nested brackets multiply, and one that is never closed
    reaches to the end. A backslash makes the bracket or backslash after it a plain character, and is dropped itself.

    >>> weigh("an (important) word")
    [[('an ', 1.0), ('important', 1.1), (' word', 1.0)]]
    >>> weigh("(x:1.3) [y] ((z))")
    [[('x', 1.3), (' ', 1.0), ('y', 0.9090909090909091), (' ', 1.0), ('z', 1.2100000000000002)]]
    >>> weigh(r"(unbalanced \(literal\]")
    [[('unbalanced (literal]', 1.1)]]
    >>> weigh("(unnecessary)(parens)")
    [[('unnecessaryparens', 1.1)]]
    >>> weigh("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).")  # doctest: +NORMALIZE_WHITESPACE
    [[('a ', 1.0), ('house', 1.5730000000000004), (' ', 1.1), ('on', 1.0), (' a ', 1.1), ('hill', 0.55),
      (', sun, ', 1.1), ('sky', 1.4641000000000006), ('.', 1.1)]]
    >>> weigh("a cat BREAK (a dog BREAK at night:1.2)")
    [[('a cat', 1.0)], [('a dog', 1.2)], [('at night', 1.2)]]
    """
    runs: list[tuple[str | None, float]] = []  # None is a BREAK
    begun: dict[str, list[int]] = {"(": [], "[": []}  # where in `runs` the open brackets begin

    def close(bracket: str, factor: float) -> None:
        start = begun[bracket].pop()
        runs[start:] = [(text, weight * factor) for text, weight in runs[start:]]

    for found in ATTENTION.finditer(prompt):
        piece = found[0]
        if piece in begun:
            begun[piece].append(len(runs))
        elif found[1] is not None and begun["("]:
            close("(", float(found[1]))
        elif piece == ")" and begun["("]:
            close("(", FACTOR)
        elif piece == "]" and begun["["]:
            close("[", 1 / FACTOR)
        elif piece.startswith("\\"):
            runs.append((piece[1:], 1.0))
        else:
            first, *others = re.split(r"\s*\bBREAK\b\s*", piece)
            runs.append((first, 1.0))
            for text in others:
                runs += [(None, 1.0), (text, 1.0)]
    for bracket, factor in (("(", FACTOR), ("[", 1 / FACTOR)):
        while begun[bracket]:
            close(bracket, factor)
    return parts_of(runs)


def parts_of(runs: list[tuple[str | None, float]]) -> list[list[Weighted]]:
    """Divide at the BREAKs; within a part, join neighbours of one weight."""
    parts: list[list[Weighted]] = [[]]
    for text, weight in runs:
        if text is None:
            parts.append([])
        elif text:
            parts[-1].append((text, weight))
    return [
        [("".join(text for text, _ in same), weight) for weight, same in groupby(part, key=lambda run: run[1])]
        for part in parts
    ]
