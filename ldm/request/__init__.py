"""Everything that says what picture is wanted, in one frozen value.

A field with its metadata is all that a new flag needs: the command line, the checks and the JSON
are read off the fields, which stand in `fields` and `additions`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from ..runtime.checks import check_fields, kinds, known
from ..runtime.options import documented, names_of
from ..runtime.renamed import json_object, with_new_names
from .additions import Additions
from .fields import (
    PROMPT_SYNTAXES,
    FromPicture,
    Guidance,
    Noise,
    Passes,
    Reading,
    Result,
    Sampling,
    Subject,
    Told,
)

__all__ = ["GROUPS", "PROMPT_SYNTAXES", "FromPicture", "Request", "plain"]

T = TypeVar("T")


@documented
@dataclass(frozen=True)
class Request(
    Result, Additions, Noise, Passes, FromPicture, Reading, Told, Guidance, Sampling, Subject
):
    """What somebody wants, as they said it; what they left open is None, see `pipeline.resolve`.
    Several prompts make several pictures; picture i, in the order of `split`, is of seed + i. Of
    negative prompts there is one for all, or one for each prompt.
    """

    def __new__(cls, *_: Any, **options: Any) -> Request:
        """ValueError for a field that there is not, with the one that may be meant."""
        for name in options:
            known(name, kinds(Request), "option of a request")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_fields(self, kinds(Request))
        negatives, prompts, total = len(self.negatives), len(self.prompts), self.total
        if negatives != prompts:
            raise ValueError(f"{negatives} negatives for {prompts} prompts: give one, or as many")
        if self.seed + total > 2**64:
            raise ValueError(f"seed {self.seed} leaves no room for {total} pictures below 2^64")
        if self.only is not None and self.only >= total:
            what = f"only {self.only} is not among {total} pictures"
            raise ValueError(f"{what}: give 0 to {total - 1}")

    @property
    def prompts(self) -> tuple[str, ...]:
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    @property
    def negatives(self) -> tuple[str, ...]:
        """The negative prompt of each prompt."""
        if isinstance(self.negative, str):
            return (self.negative,) * len(self.prompts)
        return self.negative

    @property
    def total(self) -> int:
        """The number of pictures: `count` for each prompt."""
        return len(self.prompts) * self.count

    def split(self, size: int) -> list[Request]:
        """The same pictures as requests of at most `size` pictures: all prompts once, all again,
        ... `count` times.

        >>> [(part.prompt, part.seed) for part in Request(("a", "b"), seed=5, count=2).split(3)]
        [(('a', 'b', 'a'), 5), ('b', 8)]
        """
        if size < 1:
            raise ValueError(f"{size} pictures at once: give 1 or more")
        prompts, negatives = self.prompts * self.count, self.negatives * self.count

        def part(i: int) -> Request:
            own, against = prompts[i : i + size], plain(negatives[i : i + size])
            seed = self.seed + i
            return replace(self, prompt=own, negative=against, seed=seed, count=1, only=None)

        return [part(i) for i in range(0, len(prompts), size)]

    def filled(self, **defaults: Any) -> Request:
        """Every field that is None takes its default."""
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return replace(self, **missing)

    def kept(self, pictures: Sequence[T]) -> Sequence[T]:
        """Of all its pictures, or of something for each of them, what is wanted: all, or the one
        that is `only`."""
        return pictures if self.only is None else pictures[self.only : self.only + 1]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        """The inverse of `to_json`; absent fields take their defaults, unknown ones are wrong."""
        return cls.of(**json_object(text, "a request"))

    @classmethod
    def of(cls, **options: Any) -> Request:
        """A request of options by name; also by those of flags (cfg_scale, negative_prompt), and
        by the names that version 0.1 had for them."""
        return cls(**with_new_names(options, names_of(Request)))


GROUPS = Request.__mro__[-2:0:-1]  # the classes of its fields, in the order of the fields


def plain(texts: tuple[str, ...]) -> str | tuple[str, ...]:
    """One text, if they are all the same."""
    return texts[0] if len(set(texts)) == 1 else texts
