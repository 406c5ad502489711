"""Neighbouring pictures as one request."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..request import Request, plain


def merged(pictures: Sequence[Request], size: int) -> list[Request]:
    """The inverse of `Request.split`: neighbours as one request of at most `size` pictures, where
    one can say it.

    That is where they differ in nothing but the prompts, and their seeds follow one another.
    """
    made: list[Request] = []
    for picture in pictures:
        last = made[-1] if made else picture
        own: dict[str, Any] = {
            "prompt": picture.prompt,
            "negative": picture.negative,
            "seed": picture.seed,
        }
        follows = picture.seed == last.seed + last.total and last.total < size
        if made and follows and picture == replace(last, **own, count=1):
            negatives = plain(last.negatives + picture.negatives)
            prompts = last.prompts + picture.prompts
            made[-1] = replace(last, prompt=prompts, negative=negatives)
        else:
            made.append(picture)
    return made
