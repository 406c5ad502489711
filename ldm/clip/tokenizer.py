"""CLIP's tokenizer: from a text to the numbers that the text encoder reads.

Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) over the bytes of UTF-8, so that every
string has an encoding. A text is cleaned, lower-cased and split into words; a word starts as its
single bytes, the last of them marked `</w>`, and the neighbours whose merge was learnt first are
joined until no learnt merge fits. What a merge makes is an entry of the vocabulary:

    id   0..255       the 256 bytes
    id 256..511       the 256 bytes at the end of a word
    id 512..          one for each merge, in the order in which they were learnt
    the last two      <|startoftext|>, <|endoftext|>            (49406 and 49407 in CLIP)

Texts are cleaned as Stable Diffusion 1 did it, by transformers 4.19.2 with ftfy. OpenAI's own code
also ran `html.unescape` twice; ftfy leaves alone an `&amp` without its semicolon, and every entity
of a text that has a `<`.
"""

import gzip
import re
from collections.abc import Iterable, Sequence
from copy import copy
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_SIZE = 49_408  # of CLIP's vocabulary


def byte_characters() -> dict[int, str]:
    """A printable character for each byte, in the order of their ids: GPT-2's table. A byte that
    Latin-1 prints stands for itself and comes first; the others borrow characters from U+0100
    on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    borrowed = {byte: chr(0x100 + i) for i, byte in enumerate(others)}
    return {byte: chr(byte) for byte in printable} | borrowed


@cache
def clip_merges() -> tuple[tuple[str, str], ...]:
    """CLIP's 48,894 merges, in rank order: the first learnt is the first."""
    data = gzip.decompress((files("ldm.clip") / "merges.txt.gz").read_bytes())
    return parse_merges(data.decode().splitlines())


def parse_merges(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Merges from lines "left right", as in a `merges.txt`; its "#version" heading is skipped."""
    merges = []
    for line in lines:
        if line.startswith("#version"):
            continue
        pair = line.split()
        if len(pair) != 2:
            raise ValueError(f"a merge is two pieces and a space between them, not {line!r}")
        merges.append((pair[0], pair[1]))
    return tuple(merges)


def clean(text: str) -> str:
    """What the words are taken from: repaired, in lower case, white space as single spaces."""
    if text.isascii() and text.isprintable() and "&" not in text:  # nothing in it is repaired
        return " ".join(text.lower().split())
    import ftfy
    import regex

    return str(regex.sub(r"\s+", " ", ftfy.fix_text(text)).strip().lower())


def words_of(text: str) -> list[str]:
    """The words of a text. What is before, between and after special tokens is cleaned by itself:
    the `<` of a token is no HTML, which would keep ftfy from repairing the entities beside it."""
    parts = re.split(r"(<\|startoftext\|>|<\|endoftext\|>)", text)
    return [word for part in parts for word in word_pattern().findall(clean(part))]


@cache
def word_pattern() -> Any:
    """How CLIP splits a clean text: English endings, letters, single digits, runs of the rest."""
    import regex

    first = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    return regex.compile(rf"{first}|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE)


class Tokenizer:
    """Text -> ids, for CLIP or, with fewer merges, for a smaller model.

    merges   pairs of pieces, in rank order; None means CLIP's
    length   of a row of ids, start and end included
    pad      the id after the end; None means the end's own (SD 1; in SD 2 it is 0)

    Its `vocabulary` gives each piece its id, in their order.
    """

    joined: frozenset[int] = frozenset()  # ids that are never parted from the one before them

    def __init__(
        self,
        merges: Sequence[tuple[str, str]] | None = None,
        length: int = 77,
        pad: int | None = None,
    ) -> None:
        self.merges = clip_merges() if merges is None else tuple(merges)
        self._characters = byte_characters()
        letters = list(self._characters.values())
        pieces = letters + [letter + END_OF_WORD for letter in letters]
        pieces += [left + right for left, right in self.merges] + [START, END]
        self.vocabulary = {piece: i for i, piece in enumerate(pieces)}
        if len(self.vocabulary) < len(pieces):
            raise ValueError("two merges make the same piece: each may stand in the list once")
        if not self.vocabulary.keys() >= {piece for pair in self.merges for piece in pair}:
            what = "neither bytes nor made by another merge"
            raise ValueError(f"a merge joins pieces that are {what}")
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.start, self.end = self.vocabulary[START], self.vocabulary[END]
        self.pad = self.end if pad is None else pad
        self.length = length
        if length < 3:
            what = f"length {length} has no room for a token between start and end"
            raise ValueError(f"{what}: give 3 or more")
        if not 0 <= self.pad < len(self):
            raise ValueError(f"pad {pad} is no id of this vocabulary: give 0 to {len(self) - 1}")
        self._known = {START: [self.start], END: [self.end]}  # ids of the words seen so far

    def padded_with(self, pad: int | None) -> "Tokenizer":
        """The same with another id after the end; None: the end's own."""
        other = copy(self)
        other.pad = self.end if pad is None else pad
        return other

    def __len__(self) -> int:
        """The size of the vocabulary."""
        return len(self.vocabulary)

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """A text or B texts -> (B, length) int64, each cut to its first length - 2 tokens."""
        texts = [texts] if isinstance(texts, str) else texts
        rows = [self.row(self.encode(text)[: self.length - 2]) for text in texts]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, self.length)

    def row(self, ids: list[int]) -> list[int]:
        """At most length - 2 ids with start, end and padding around them."""
        return [self.start, *ids, self.end] + [self.pad] * (self.length - 2 - len(ids))

    def encode(self, text: str) -> list[int]:
        """The ids of a text of any length, without start and end."""
        if not isinstance(text, str):
            raise ValueError(f"a text to encode must be a str, not {type(text).__name__}: {text!r}")
        ids: list[int] = []
        for word in words_of(text):
            if word not in self._known:
                self._known[word] = [self.vocabulary[piece] for piece in self.join(word)[0]]
            ids += self._known[word]
        return ids

    def unusual(self, texts: Iterable[str]) -> list[str]:
        """The words of these texts that take several pieces, or are no letters, each once."""
        read = dict.fromkeys(word for text in texts for word in words_of(text))
        return [word for word in read if len(self.join(word)[0]) > 1 or not word.isalpha()]

    def join(self, word: str) -> tuple[list[str], list[tuple[str, str]]]:
        """The pieces of one word, and the merges that made them."""
        pieces = [self._characters[byte] for byte in word.encode()]
        pieces[-1] += END_OF_WORD
        used: list[tuple[str, str]] = []
        while known := [pair for pair in pairwise(pieces) if pair in self._ranks]:
            used.append(min(known, key=self._ranks.__getitem__))
            pieces = merge(pieces, used[-1])
        return pieces, used


def merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """Join every occurrence of the pair, from the left.

    >>> merge(["a", "a", "a", "b"], ("a", "a"))
    ['aa', 'a', 'b']
    """
    joined: list[str] = []
    i = 0
    while i < len(pieces):
        both = tuple(pieces[i : i + 2]) == pair
        joined.append(pair[0] + pair[1] if both else pieces[i])
        i += 2 if both else 1
    return joined
