"""A checkpoint's keys against those of its family: each is mapped, or ignored with a reason, or
wrong."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...runtime.text import one_line
from ...runtime.warn import warn
from ..family import Family
from ..keymaps import Ignored, KeyFormat, Source, ema_name, ignored, left_over, prefixes, table
from .errors import CheckpointError
from .guess import guess_type
from .mapped import Weight
from .opening import OpenedCheckpoint
from .recognise import shapes


@dataclass
class KeyMatch:
    """unknown     tensors of the file that nothing has claimed: harmless where all else is complete
    wanted      how many parameters there are
    sources     each parameter of ours -> the name of the file's tensor, and how that becomes ours
    ignored     tensors that are not needed -> why
    absent      what official files have besides, and this one has not
    missing     names that should be there
    wrong_shape   what is wrong with shapes and types, in words
    ema         whether the U-Net's weights are the moving averages
    """

    unknown: dict[str, Weight]
    wanted: int = 0
    sources: dict[str, tuple[str, Source]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)
    ema: bool = False

    @property
    def complete(self) -> bool:
        return not (self.missing or self.wrong_shape)

    def check(self, opened: OpenedCheckpoint) -> None:
        """CheckpointError unless every parameter is in its place. A warning of what is besides."""
        kinds = (
            (self.missing, "missing"),
            (self.wrong_shape, "of the wrong kind"),
            (list(self.unknown), "unknown"),
        )
        found = [f"{len(names)} {kind} ({first(names)})" for names, kind in kinds if names]
        if not self.complete:
            meant = seems(opened, bool(self.sources))
            raise CheckpointError(f"{opened.path} cannot be loaded: {'; '.join(found)}{meant}")
        if found:
            what = f"{opened.path}: tensors that are no part of the model are left out"
            warn(one_line(f"{what}: {found[0]}"))

    def claim(
        self, names: tuple[str, ...], shape: tuple[int, ...] | None, parameter: bool = True
    ) -> tuple[str | None, bool]:
        """The name, of these, that is in the file, and whether its tensor is right; nothing else
        can claim it any more. shape None: it may have any."""
        name = next((name for name in names if name in self.unknown), None)
        if name is None:
            return None, False
        weight, wrong = self.unknown.pop(name), len(self.wrong_shape)
        if shape is not None and trimmed(weight.shape) != trimmed(shape):
            self.wrong_shape.append(f"{name} has shape {weight.shape}, not {shape}")
        elif parameter and not weight.dtype.is_floating_point:
            self.wrong_shape.append(f"{name} is {weight.dtype}, not floating point")
        return name, len(self.wrong_shape) == wrong

    def map(
        self,
        chosen: Mapping[str, tuple[str, ...]],
        sources: Mapping[str, Source],
        expected: Mapping[str, tuple[int, ...]],
    ) -> None:
        """Each parameter of ours to the tensor of one of its chosen names. Those that are parts of
        one tensor share its names, and it is claimed once."""
        self.wanted = len(chosen)
        claimed: dict[tuple[str, ...], tuple[str | None, bool]] = {}
        for ours, names in chosen.items():
            if names not in claimed:
                claimed[names] = self.claim(names, expected[ours])
                if claimed[names][0] is None:
                    self.missing.append(" or ".join(names))
            name, right = claimed[names]
            if name is not None and right:
                self.sources[ours] = name, sources[ours]

    def ignore_unused(self, unused: Mapping[tuple[str, ...], tuple[int, ...]]) -> None:
        """The weights of the U-Net where their averages are taken, or the averages where they are
        not. They are whole, or not there at all."""
        reason = "moving averages of the U-Net: not asked for"
        if self.ema:
            reason = "weights of the U-Net: their moving averages are taken instead"
        found = {names: self.claim(names, shape)[0] for names, shape in unused.items()}
        self.ignored |= {name: reason for name in found.values() if name is not None}
        if self.ignored:
            self.missing += [names[0] for names, name in found.items() if name is None]

    def ignore_official(self, official: Sequence[Ignored]) -> None:
        for item in official:
            name, _ = self.claim(item.names, item.shape if item.exact else None, parameter=False)
            if name is None:
                self.absent.append(" or ".join(item.names))
            else:
                self.ignored[name] = item.reason

    def ignore_left_overs(self, twins: Mapping[str, tuple[str, ...]]) -> None:
        """What programs are known to leave in a file, and a tensor whose other name was taken.

        twins   all names of each parameter
        """
        others = {name: taken for ours, (taken, _) in self.sources.items() for name in twins[ours]}
        for name in list(self.unknown):
            reason = left_over(name)
            if reason is None and name in others:
                reason = f"the same under another name: {others[name]} and its like are taken"
            if reason is not None:
                self.ignored[name] = reason
                del self.unknown[name]

    def ignore_others(self, begins: tuple[str, ...] | None) -> None:
        """What begins otherwise belongs to other networks. The file of a VAE alone (None) may hold
        the loss of its training, as A1111 knows."""
        for name in list(self.unknown):
            if name.startswith("loss.") if begins is None else not name.startswith(begins):
                self.ignored[name] = "of other networks: not asked for"
                del self.unknown[name]


def trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without sizes of 1 at the end: a 1x1 convolution is a matrix, and either may be in a file."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def first(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def seems(opened: OpenedCheckpoint, mapped: bool = False) -> str:
    found = guess_type(opened.weights, mapped)
    return f"; it seems to be {found}" if found is not None else ""


def match(
    opened: OpenedCheckpoint,
    family: Family,
    key_format: KeyFormat,
    ema: bool | None = None,
    components: Collection[str] | None = None,
    bare: bool = False,
) -> KeyMatch:
    """ema          whether to take the moving averages of the U-Net's weights; None: if it has any
    components   the networks that are wanted; None: all. Tensors of others are ignored.
    bare         the names are without the beginning that tells the network

    CompVis's training keeps the averages beside the weights themselves, because they make better
    pictures. Most published files hold one of the two, under the names of the weights.
    """
    sources, expected = table(family, key_format, bare), shapes(family, key_format)
    if components is not None:
        sources = {ours: found for ours, found in sources.items() if found.component in components}
    official = ignored(family, key_format)
    chosen = {ours: source.names for ours, source in sources.items()}
    found = KeyMatch(dict(opened.weights))
    unused_ema: dict[str, tuple[str, ...]] = {}
    if key_format == "compvis" and has_ema(opened.weights, sources.values()):
        unet = [ours for ours, source in sources.items() if source.component == "unet"]
        unused_ema = {ours: (ema_name(chosen[ours][0]),) for ours in unet}
        if ema is not False and unet:
            chosen, unused_ema = chosen | unused_ema, {ours: chosen[ours] for ours in unet}
            found.ema = True
    elif ema:
        raise CheckpointError(
            f"{opened.path} holds no moving averages (EMA) beside its weights: do not ask for them"
        )
    found.map(chosen, sources, expected)
    found.ignore_unused({names: expected[ours] for ours, names in unused_ema.items()})
    found.ignore_official(official)
    found.ignore_left_overs({ours: source.names for ours, source in sources.items()})
    if components is not None:
        begins = tuple(prefixes(family, key_format)[name] for name in components)
        found.ignore_others(None if bare else begins)
    return found


def has_ema(weights: Collection[str], sources: Iterable[Source]) -> bool:
    """The counters of the averages alone, which most files keep, are none."""
    return any(ema_name(name) in weights for source in sources for name in source.names[:1])
