"""What a file is, without loading it."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ...clip.tokenizer import Tokenizer, parse_merges
from ...clip.vocabulary import words
from ...runtime.formats import named
from ...runtime.hashes import autov3, computed, legacy
from ...runtime.text import one_line
from ..families import Family, as_family
from .beside import Beside, beside, open_any
from .errors import CheckpointError, gigabytes
from .foreign import other_sizes
from .guess import guess_type
from .loading import merges_of
from .matching import KeyMatch, first, match
from .opening import OpenedCheckpoint
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
    beside    what it is that is used beside a checkpoint, and how; None: no such thing
    hashes    by which it is called elsewhere, in words; None: they were not computed
    """

    opened: OpenedCheckpoint
    kind: Kind
    match: KeyMatch | None
    guess: str | None
    problem: str | None = None
    verified: Verified | None = None
    beside: Beside | None = None
    hashes: str | None = None

    @property
    def loadable(self) -> bool:
        """Whether it is a checkpoint that can be loaded, or something beside one."""
        whole = self.beside is not None or (self.match is not None and self.match.complete)
        damaged = self.verified is not None and self.verified.damaged
        return whole and self.problem is None and not damaged

    @property
    def what(self) -> str | None:
        """What it is, in words; None: nobody knows."""
        if self.beside is not None:
            return self.beside.what
        return self.guess if self.kind.family is None else "a checkpoint"

    @property
    def families(self) -> tuple[str, ...]:
        """The names of those whose models it is, or is used with; (): nothing tells it."""
        if self.beside is not None:
            return self.beside.families or ()
        return () if self.kind.family is None else (self.kind.family.name,)

    @property
    def parameters(self) -> int:
        """The numbers in all its tensors."""
        return sum(prod(weight.shape) for weight in self.opened.weights.values())

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
        counts = Counter(named(weight.dtype) for weight in self.opened.weights.values())
        return dict(counts.most_common())

    @property
    def nbytes(self) -> int:
        """Of the file, or of all files of a folder."""
        return sum(len(file) for file in {weight.file for weight in self.opened.weights.values()})

    def lines(self) -> Iterator[tuple[str, str]]:
        """The report as pairs of a heading and a text."""
        yield "file", str(self.opened.path)
        container = CONTAINERS[self.opened.container]
        if self.beside is not None:
            yield "layout", f"{container}, {gigabytes(self.nbytes)}"
            yield "what it is", self.beside.what
            if self.beside.families is not None:
                yield "family", ", ".join(self.beside.families) or "unknown"
            yield from self.beside.more
        else:
            yield from self._checkpoint(container)
        yield "parameters", f"{self.parameters / 1e6:.6g} million"
        yield "tensors", ", ".join(f"{count} {dtype}" for dtype, count in self.dtypes.items())
        if self.match is not None:
            yield from self._coverage(self.match)
        if (
            self.opened.merges is not None
            and len(known := words_of_merges(self.opened.merges)) < 2000
        ):
            yield "words", f"{len(known)} of one token: {' '.join(known)}"
        if self.verified is not None:
            yield "verified", self._verified(*self.verified)
        if self.hashes is not None:
            yield "hash", self.hashes
        if self.problem is not None:
            yield "problem", self.problem
        how = "" if self.beside is None else f", with {self.beside.flags}"
        yield "loadable", f"yes{how}" if self.loadable else "no"

    def _checkpoint(self, container: str) -> Iterator[tuple[str, str]]:
        family, names = self.kind.family, LAYOUTS[self.kind.key_format]
        yield "layout", f"{container} with {names}, {gigabytes(self.nbytes)}"
        yield "family", "unknown" if family is None else family.name
        if self.guess is not None:
            yield "seems to be", self.guess
        if self.kind.few_steps is not None:
            yield "few steps", self.kind.few_steps
        yield "prediction", self.kind.prediction

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


def hashes_of(opened: OpenedCheckpoint) -> str:
    """See `runtime.hashes`."""
    file = opened.path
    said = f"{computed(file)[:10]} (A1111 and AutoV2)"
    if file.stat().st_size > 2**20:  # where the old one begins
        said += f", {legacy(file)} (A1111 until 2022)"
    return said if opened.container == "torch" else f"{said}, {autov3(file).upper()} (AutoV3)"


def inspect(
    path: str | Path,
    ema: bool | None = None,
    family: Family | str | Path | None = None,
    verified: bool = False,
    prediction: str | None = None,
    hashed: bool = False,
) -> Report:
    """What is at a path, a checkpoint or what is used beside one, told from headers alone: of
    tensors only a LoRA's alphas, an embedding and a hypernetwork are read, and nothing of a pickle
    is run.

    ema, family, prediction: see `read`. verified: the checksums are computed, too, see `verify`;
    hashed: and the hashes by which sites and the web UI call the file.

    Checkpoints that are not ours are reported on as well. CheckpointError: it is no checkpoint at
    all, or damaged.
    """
    given = None if family is None else as_family(family)
    opened = open_any(path)
    kind = recognise(opened, given, prediction)
    sums = verify(opened) if verified else None
    digits = hashes_of(opened) if hashed and opened.path.is_file() else None
    if kind.family is None:
        what = beside(opened, Path(os.path.expanduser(path)))
        guess = None if what else other_sizes(opened) or guess_type(opened.weights)
        return Report(opened, kind, None, guess, what and what.problem, sums, what, digits)
    found, problem = match(opened, kind.family, kind.key_format, ema), None
    guess = None if found.complete else guess_type(opened.weights, bool(found.sources))
    if found.complete:
        try:
            merges_of(opened, kind.family)
        except CheckpointError as error:
            problem = str(error)
    return Report(opened, kind, found, guess, problem, sums, hashes=digits)
