"""What a checkpoint is: told from its keys and shapes, without reading a tensor or running a pickle."""

from collections import Counter
from pathlib import Path

from ..weights.matching import Match, first, guess, match
from ..weights.opening import open_checkpoint
from ..weights.recognise import recognise


def inspect(path: Path) -> None:
    opened = open_checkpoint(path)
    kind = recognise(opened)
    dtypes = Counter(str(weight.dtype).removeprefix("torch.") for weight in opened.weights.values())
    print(f"file        {opened.path} ({opened.container})")
    print(f"layout      {kind.naming}")
    print(f"family      {kind.family.name if kind.family is not None else 'unknown' + guess(opened)}")
    print(f"prediction  {kind.prediction}")
    print(f"tensors     {len(opened.weights)}: {counted(dtypes)}")
    if kind.family is not None:
        print("\n".join(coverage(match(opened, kind.family, kind.naming))))


def coverage(found: Match) -> list[str]:
    """How the file's tensors and the family's parameters agree, a line for whatever there is to say."""
    wanted = len(found.sources) + len(found.missing)
    averages = ", the U-Net's being the moving averages" if found.averages else ""
    lines = [f"parameters  {len(found.sources)} of {wanted} are there{averages}"]
    if found.ignored:
        lines.append(f"ignored     {len(found.ignored)}: {counted(Counter(found.ignored.values()))}")
    problems = (("missing", found.missing), ("unknown", list(found.unknown)), ("wrong", found.misshapen))
    return lines + [f"{what:12}{len(names)}: {first(names)}" for what, names in problems if names]


def counted(counts: Counter[str]) -> str:
    """
    >>> counted(Counter(["float16", "float16", "int64"]))
    '2 float16, 1 int64'
    """
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
