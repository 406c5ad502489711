"""A checkpoint's keys against those of its family: each is mapped, or ignored with a reason, or wrong."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..families import Family
from ..keymaps import Ignored, Naming, Operation, ema_name, ignored, table
from .mapped import CheckpointError, Weight
from .opening import Opened
from .recognise import resembles
from .skeleton import shapes


@dataclass
class Match:
    """unknown     tensors of the file that nothing has claimed
    sources     each parameter of ours -> the name of the file's tensor, and how that becomes ours
    ignored     tensors that are not needed -> why
    absent      what official files have besides, and this one has not
    missing     names that should be there
    misshapen   what is wrong with shapes and types, in words
    averages    whether the U-Net is that of the moving averages
    """

    unknown: dict[str, Weight]
    sources: dict[str, tuple[str, Operation]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    averages: bool = False

    def check(self, opened: Opened) -> None:
        """CheckpointError unless everything is in its place."""
        kinds = ((self.missing, "missing"), (list(self.unknown), "unknown"), (self.misshapen, "of the wrong kind"))
        wrong = [f"{len(names)} {kind} ({first(names)})" for names, kind in kinds if names]
        if wrong:
            raise CheckpointError(f"{opened.path} cannot be loaded: {'; '.join(wrong)}{guess(opened)}")

    def take(self, names: tuple[str, ...], shape: tuple[int, ...], parameter: bool = True) -> str | None:
        """Claim the tensor of one of these names."""
        name = next((name for name in names if name in self.unknown), None)
        if name is not None:
            weight = self.unknown.pop(name)
            if weight.shape != shape:
                self.misshapen.append(f"{name} has shape {weight.shape}, not {shape}")
            elif parameter and not weight.dtype.is_floating_point:
                self.misshapen.append(f"{name} is {weight.dtype}, not floating point")
        return name


def first(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def guess(opened: Opened) -> str:
    found = resembles(opened.weights)
    return f"; it seems to be {found}" if found is not None else ""


def match(opened: Opened, family: Family, naming: Naming, ema: bool | None = None) -> Match:
    """ema: whether to take the moving averages of the U-Net's weights; None takes them if they are there.

    CompVis's training keeps them beside the weights themselves, because they make better pictures. Most published files
    hold one of the two, under the names of the weights.
    """
    sources, expected = table(family, naming), shapes(family, naming)
    chosen = {ours: source.names for ours, source in sources.items()}
    spare: dict[str, tuple[str, ...]] = {}
    why_spare = "moving averages of the U-Net: not asked for"
    official = ignored(family, naming)
    found = Match(dict(opened.weights))

    if naming == "compvis" and has_averages(opened.weights, official):
        spare = {ours: (ema_name(names[0]),) for ours, names in chosen.items() if ours.startswith("unet.")}
        if ema is not False:
            chosen, spare = chosen | spare, {ours: chosen[ours] for ours in spare}
            why_spare = "weights of the U-Net: their moving averages are taken instead"
            found.averages = True
    elif ema:
        raise CheckpointError(f"{opened.path} holds no moving averages (EMA) beside its weights: do not ask for them")

    for ours, names in chosen.items():
        name = found.take(names, expected[ours])
        if name is None:
            found.missing.append(" or ".join(names))
        else:
            found.sources[ours] = name, sources[ours].operation
    unused = {names[0]: found.take(names, expected[ours]) for ours, names in spare.items()}
    found.ignored |= {name: why_spare for name in unused.values() if name is not None}
    if found.ignored:  # the spare set is whole, or not there at all
        found.missing += [wanted for wanted, name in unused.items() if name is None]
    for names, shape, reason in official:
        name = found.take(names, shape, parameter=False)
        if name is None:
            found.absent.append(" or ".join(names))
        else:
            found.ignored[name] = reason
    return found


def has_averages(names: Iterable[str], official: Sequence[Ignored]) -> bool:
    """More of them than the two counters that most files keep."""
    counters = {name for item in official for name in item.names}
    return any(name.startswith("model_ema.") and name not in counters for name in names)
