"""A vocabulary for given captions: CLIP's merges where they do, and more that are learnt from them.

CLIP's merges were learnt from English. A Chinese word, three bytes a character, falls into as many
pieces; byte-pair encoding learns whole characters and words from the captions themselves.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from ..clip.tokenizer import Tokenizer, merge, words_of
from ..clip.vocabulary import tokenizer_for_words

Pair = tuple[str, str]


def tokenizer_for_captions(
    captions: Iterable[str], length: int = 77, least: int = 10, most: int = 4000
) -> Tokenizer:
    """The words of the captions in CLIP's pieces, and then in larger ones: at most `most` merges,
    each of a pair that was met `least` times."""
    words = Counter(word for caption in captions for word in words_of(caption))
    tokenizer = tokenizer_for_words(words, length)
    return Tokenizer([*tokenizer.merges, *learnt(words, tokenizer, least, most)], length)


def learnt(words: Counter[str], tokenizer: Tokenizer, least: int, most: int) -> list[Pair]:
    """The next merges of byte-pair encoding (Sennrich et al. 2016, alg. 1): again and again, the
    pair of neighbours that is met most often. words: with how often each is met."""
    spelt = {word: tokenizer.join(word)[0] for word in words}
    taken = set(tokenizer.vocabulary)
    met: Counter[Pair] = Counter()
    within: dict[Pair, set[str]] = {}

    def count(word: str, sign: int) -> None:
        pieces = spelt[word]
        for pair in pairwise(pieces):
            met[pair] += sign * words[word]
            within.setdefault(pair, set()).add(word)

    for word in spelt:
        count(word, 1)
    merges: list[Pair] = []
    while len(merges) < most:
        free = (pair for pair in met if pair[0] + pair[1] not in taken)
        best = max(free, key=lambda pair: (met[pair], pair), default=None)
        if best is None or met[best] < least:
            break
        merges.append(best)
        taken.add(best[0] + best[1])
        for word in within[best]:
            count(word, -1)
            spelt[word] = merge(spelt[word], best)
            count(word, 1)
    return merges
