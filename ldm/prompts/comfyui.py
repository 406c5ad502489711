"""ComfyUI's prompt grammar, and how it fills chunks."""

import re
from collections.abc import Sequence

from .a1111 import FACTOR, Weighted, join_equal, trailing_weight

UNDIVIDED = 7  # tokens of the longest word that is kept in one chunk
Tokens = list[tuple[int, float]]  # each with how much it counts


def parse_attention(text: str) -> list[Weighted]:
    r"""(x:w) counts w, whatever is around it; (x) 1.1 times what is around it; no [x], no BREAK.

    >>> parse_attention(r"a (b (c:0.5) (d):1.2) \(e\) [f] (g")
    [('a ', 1.0), ('b ', 1.2), ('c', 0.5), (' ', 1.2), ('d', 1.32), (' (e) [f] (g', 1.0)]
    """
    pieces: list[str] = re.findall(r"\\[()]|[()]|[^\\()]+|\\", text)
    numbers = take_numbers(pieces)
    runs: list[Weighted] = []
    open_brackets = [(1.0, 1.0)]  # (FACTOR for each bracket within the nearest with w, that w)
    for i, piece in enumerate(pieces):
        factor, number = open_brackets[-1]
        if i in numbers:
            inner = numbers[i]
            open_brackets.append((factor * FACTOR, number) if inner is None else (1.0, inner))
        elif piece == ")" and len(open_brackets) > 1:
            open_brackets.pop()
        else:
            runs.append((piece[-1] if piece in (r"\(", r"\)") else piece, factor * number))
    return join_equal([run for run in runs if run[0]])


def take_numbers(pieces: list[str]) -> dict[int, float | None]:
    """The w of each (x:w), by the bracket's place among the pieces; None for an (x). Each :w is
    taken out of the pieces; a bracket that never closes is text."""
    numbers: dict[int, float | None] = {}
    open_brackets = [(-1, -1, 0)]  # (its place, that of its last text, how many there are in it)
    for i, piece in enumerate(pieces):
        place, last, count = open_brackets[-1]
        if piece == "(":
            open_brackets.append((i, -1, 0))
        elif piece == ")" and len(open_brackets) > 1:
            before, number = trailing_weight(pieces[last]) if last >= 0 else ("", None)
            if number is not None and (before or count > 1):
                pieces[last] = before
            else:
                number = None
            numbers[place] = number
            open_brackets.pop()
            if count:  # the outer bracket's last text is then none of its own
                outer = open_brackets[-1]
                open_brackets[-1] = (outer[0], -1, outer[2] + count)
        else:
            open_brackets[-1] = (place, i, count + 1)
    return numbers


def fill_chunks(words: Sequence[Tokens], size: int) -> list[Tokens]:
    """Chunks of at most `size` tokens: only long words are divided, and commas are like others.

    >>> [len(chunk) for chunk in fill_chunks([[(7, 1.0)] * 4] * 20 + [[(7, 1.0)] * 80], size=75)]
    [72, 75, 13]
    """
    chunks: list[Tokens] = [[]]
    for word in words:
        if len(chunks[-1]) + len(word) > size and len(word) <= min(UNDIVIDED, size):
            chunks.append([])
        for token in word:
            if len(chunks[-1]) == size:
                chunks.append([])
            chunks[-1].append(token)
    return chunks
