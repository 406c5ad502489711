"""What a file is, without loading it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...clip.tokenizer import Tokenizer, parse_merges
from ...clip.vocabulary import words
from ...runtime.text import one_line
from ..families import Family, as_family
from .errors import CheckpointError, gigabytes
from .foreign import other_sizes
from .guess import guess_type
from .loading import merges_of
from .matching import KeyMatch, first, match
from .opening import OpenedCheckpoint, open_checkpoint
from .recognise import Kind, recognise
from .sizes import described
from .verify import Verified, verify

LAYOUTS = {"ldm": "own names", "compvis": "CompVis's names", "diffusers": "diffusers' names"}
CONTAINERS = {
    "safetensors": "a safetensors file",
    "torch": "a file of torch.save",
    "folder": "a folder",
}


@dataclass(frozen=True)
class Report:
    """kind    key format, family and prediction; the family is None if it is not one of ours
    match   what has become of each key; None without a family
    guess   what the file seems to be instead of a checkpoint of ours
    problem   why it cannot be loaded though every parameter is there; None: it can
    verified  what its checksums say; None: they were not looked at
    """

    opened: OpenedCheckpoint
    kind: Kind
    match: KeyMatch | None
    guess: str | None
    problem: str | None = None
    verified: Verified | None = None

    @property
    def loadable(self) -> bool:
        whole = self.match is not None and self.match.complete and self.problem is None
        return whole and not (self.verified and self.verified.damaged)

    @property
    def family(self) -> Family:
        """The family, or what the shapes tell of one. ValueError: they tell none."""
        found = self.kind.family or described(self.opened.weights)
        if found is None:
            raise ValueError(f"{self.opened.path} is like no family that is known here")
        return found

    @property
    def dtypes(self) -> dict[str, int]:
        """How many tensors there are of each type, the most frequent first."""
        counts = Counter(
            str(weight.dtype).removeprefix("torch.") for weight in self.opened.weights.values()
        )
        return dict(counts.most_common())

    @property
    def nbytes(self) -> int:
        """Of the file, or of all files of a folder."""
        return sum(len(file) for file in {weight.file for weight in self.opened.weights.values()})

    def lines(self) -> Iterator[tuple[str, str]]:
        """The report as pairs of a heading and a text."""
        family = self.kind.family
        yield "file", str(self.opened.path)
        container = CONTAINERS[self.opened.container]
        names = LAYOUTS[self.kind.key_format]
        yield "layout", f"{container} with {names}, {gigabytes(self.nbytes)}"
        yield "family", "unknown" if family is None else family.name
        if self.guess is not None:
            yield "seems to be", self.guess
        if self.kind.few_steps is not None:
            yield "few steps", self.kind.few_steps
        yield "prediction", self.kind.prediction
        yield "tensors", ", ".join(f"{count} {dtype}" for dtype, count in self.dtypes.items())
        if self.match is not None:
            yield from self._coverage(self.match)
        if (
            self.opened.merges is not None
            and len(known := words_of_merges(self.opened.merges)) < 2000
        ):
            yield "words", f"{len(known)} that it knows: {' '.join(known)}"
        if self.verified is not None:
            yield "verified", self._verified(*self.verified)
        if self.problem is not None:
            yield "problem", self.problem
        yield "loadable", "yes" if self.loadable else "no"

    @staticmethod
    def _verified(count: int, damaged: list[str]) -> str:
        if damaged:
            return f"{len(damaged)} of {count} are damaged: {first(damaged)}; get the file again"
        return f"{count} checksums, all right" if count else "it has no checksums"

    def _coverage(self, match: KeyMatch) -> Iterator[tuple[str, str]]:
        yield ("mapped", f"{len(match.sources)} of {match.wanted} parameters")
        if match.ema:
            yield "averages", "the U-Net is that of the moving averages (EMA)"
        for reason, count in Counter(match.ignored.values()).items():
            yield "ignored", f"{count} {reason}"
        if match.absent:
            yield "not there", f"{len(match.absent)} that are not needed: {first(match.absent)}"
        kinds = (
            ("missing", match.missing),
            ("unknown", list(match.unknown)),
            ("wrong", match.wrong_shape),
        )
        for heading, names in kinds:
            if names:
                yield heading, f"{len(names)}: {first(names, 10)}"

    def __str__(self) -> str:
        """A line may hold what a stranger wrote."""
        return "\n".join(one_line(f"{heading:<12}{text}", 2000) for heading, text in self.lines())


def words_of_merges(merges: str) -> list[str]:
    """The words that a tokenizer has whole; none if its merges are damaged."""
    try:
        return words(Tokenizer(parse_merges(merges.strip("\n").split("\n"))))
    except ValueError:
        return []


def inspect(
    path: str | Path,
    ema: bool | None = None,
    family: Family | str | Path | None = None,
    verified: bool = False,
    prediction: str | None = None,
) -> Report:
    """What is at a path, told from headers alone: no tensor is read, and nothing of a pickle is
    run. ema, family, prediction: see `read`. verified: the checksums are computed, too, see
    `verify`.

    Checkpoints that are not ours are reported on as well. CheckpointError: it is no checkpoint at
    all, or damaged.
    """
    given = None if family is None else as_family(family)
    opened = open_checkpoint(path)
    kind = recognise(opened, given, prediction)
    sums = verify(opened) if verified else None
    if kind.family is None:
        from ..control import what_control  # which reads checkpoints, too

        guess = what_control(opened.weights) or other_sizes(opened) or guess_type(opened.weights)
        return Report(opened, kind, None, guess, verified=sums)
    found, problem = match(opened, kind.family, kind.key_format, ema), None
    guess = None if found.complete else guess_type(opened.weights, bool(found.sources))
    if found.complete:
        try:
            merges_of(opened, kind.family)
        except CheckpointError as error:
            problem = str(error)
    return Report(opened, kind, found, guess, problem, sums)
