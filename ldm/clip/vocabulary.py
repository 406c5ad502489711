"""From a tokenizer's ids back to text, and the smallest tokenizer for given texts."""

from collections.abc import Iterable

from .tokenizer import END_OF_WORD, Tokenizer, byte_characters, words_of


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


def tokenizer_for_words(
    texts: Iterable[str], length: int = 77, pad: int | None = None
) -> Tokenizer:
    """The smallest tokenizer that splits the words of these texts as CLIP's does.

    It keeps, in CLIP's order, just the merges that happen inside these words. Each of them was, in
    its turn, the first learnt of all that fitted, hence also the first of the kept ones: the splits
    are the same.
    """
    full = Tokenizer()
    found = {word for text in texts for word in words_of(text)}
    used = {pair for word in found for pair in full.join(word)[1]}
    return Tokenizer([pair for pair in full.merges if pair in used], length, pad)
