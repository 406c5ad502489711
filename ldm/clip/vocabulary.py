"""From a tokenizer's ids back to text, and the smallest tokenizer for given texts."""

from collections.abc import Iterable
from functools import cache

from torch import Tensor

from .tokenizer import END, END_OF_WORD, START, Tokenizer, byte_characters, words_of

BYTES = 512  # a vocabulary begins with the bytes, within words and at their ends


def decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The clean text of these ids, a space after each word; bytes that are no UTF-8 become
    U+FFFD."""
    pieces = list(tokenizer.vocabulary)
    to_byte = {char: byte for byte, char in byte_characters().items()}
    data = bytearray()
    for i in map(int, ids):
        if not 0 <= i < len(pieces):
            raise ValueError(
                f"{i} is no id of this vocabulary: they run from 0 to {len(pieces) - 1}"
            )
        special = i in (tokenizer.start, tokenizer.end)
        letters = pieces[i] if special else pieces[i].removesuffix(END_OF_WORD)
        data += bytes(to_byte[char] for char in letters)
        data += b" " * (special or pieces[i].endswith(END_OF_WORD))
    return data.decode(errors="replace").strip()


def words(tokenizer: Tokenizer) -> list[str]:
    """The words that a tokenizer of few merges has whole: those that its model has learnt, if it
    was made by `tokenizer_for_words`. In alphabetical order; single letters are in all."""
    made = {left + right for left, right in tokenizer.merges if right.endswith(END_OF_WORD)}
    whole = made - {right for _, right in tokenizer.merges}  # the others are endings of words
    return sorted(word for piece in whole if (word := piece.removesuffix(END_OF_WORD)).isalpha())


@cache
def clip_tokenizer() -> Tokenizer:
    """CLIP's own; its tables take a while to build."""
    return Tokenizer()


def unlearnt(
    tokenizer: Tokenizer, texts: Iterable[str], embedding: Tensor | None = None
) -> list[str]:
    """The words of these texts that the model of such a tokenizer has not learnt, each once.

    A word that takes other pieces than CLIP's it has not met: what CLIP's tokenizer has whole (or
    in two, like cyan) it would have as well. Digits, signs and emoji are bytes, which every
    tokenizer has: the model's embedding of tokens (V, D) tells which it has met. (Of single letters
    nothing is said.)
    """
    read = [word for word in tokenizer.unusual(texts) if word not in (START, END)]
    full = clip_tokenizer() if read else tokenizer
    met = None if embedding is None else moved(embedding, tokenizer)

    def learnt(word: str) -> bool:
        pieces = tokenizer.join(word)[0]
        if len(pieces) > 1 and pieces != full.join(word)[0]:
            return False
        return met is None or all(tokenizer.vocabulary[piece] in met for piece in pieces)

    return [word for word in read if not learnt(word)]


def moved(embedding: Tensor, tokenizer: Tokenizer) -> set[int] | None:
    """The ids whose rows training has moved: they are longer than they were at random, as those of
    most bytes still are, which hardly a text has alone. None, if that cannot be told, since the
    start's is not longer, which every text has."""
    lengths = embedding.detach().float().norm(dim=1)
    longer = lengths > 1.5 * lengths[:BYTES].median()
    return {*longer.nonzero().flatten().tolist()} if longer[tokenizer.start] else None


def tokenizer_for_words(
    texts: Iterable[str], length: int = 77, pad: int | None = None
) -> Tokenizer:
    """The smallest tokenizer that splits the words of these texts as CLIP's does.

    It keeps, in CLIP's order, just the merges that happen inside these words. Each of them was, in
    its turn, the first learnt of all that fitted, hence also the first of the kept ones: the splits
    are the same.
    """
    full = clip_tokenizer()
    found = {word for text in texts for word in words_of(text)}
    used = {pair for word in found for pair in full.join(word)[1]}
    return Tokenizer([pair for pair in full.merges if pair in used], length, pad)
