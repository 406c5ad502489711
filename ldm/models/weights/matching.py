"""A checkpoint's keys against those of its family: each is mapped, or ignored with a reason, or
wrong."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..family import Family
from ..keymaps import Ignored, KeyFormat, Source, ema_name, ignored, prefixes, table
from .errors import CheckpointError
from .guess import guess_type
from .mapped import Weight
from .opening import OpenedCheckpoint
from .recognise import shapes


@dataclass
class KeyMatch:
    """unknown     tensors of the file that nothing has claimed
    sources     each parameter of ours -> the name of the file's tensor, and how that becomes ours
    ignored     tensors that are not needed -> why
    absent      what official files have besides, and this one has not
    missing     names that should be there
    wrong_shape   what is wrong with shapes and types, in words
    ema         whether the U-Net's weights are the moving averages
    """

    unknown: dict[str, Weight]
    sources: dict[str, tuple[str, Source]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)
    ema: bool = False

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unknown or self.wrong_shape)

    def check(self, opened: OpenedCheckpoint) -> None:
        """CheckpointError unless everything is in its place."""
        kinds = (
            (self.missing, "missing"),
            (list(self.unknown), "unknown"),
            (self.wrong_shape, "of the wrong kind"),
        )
        wrong = [f"{len(names)} {kind} ({first(names)})" for names, kind in kinds if names]
        if wrong:
            reasons = "; ".join(wrong)
            raise CheckpointError(f"{opened.path} cannot be loaded: {reasons}{seems(opened)}")

    def claim(
        self, names: tuple[str, ...], shape: tuple[int, ...], parameter: bool = True
    ) -> str | None:
        """The name, of these, that is in the file; nothing else can claim it any more."""
        name = next((name for name in names if name in self.unknown), None)
        if name is not None:
            weight = self.unknown.pop(name)
            if weight.shape != shape:
                self.wrong_shape.append(f"{name} has shape {weight.shape}, not {shape}")
            elif parameter and not weight.dtype.is_floating_point:
                self.wrong_shape.append(f"{name} is {weight.dtype}, not floating point")
        return name

    def map(
        self,
        chosen: Mapping[str, tuple[str, ...]],
        sources: Mapping[str, Source],
        expected: Mapping[str, tuple[int, ...]],
    ) -> None:
        """Each parameter of ours to the tensor of one of its chosen names. Those that are parts of
        one tensor share its names, and it is claimed once."""
        claimed: dict[tuple[str, ...], str | None] = {}
        for ours, names in chosen.items():
            if names not in claimed:
                claimed[names] = self.claim(names, expected[ours])
                if claimed[names] is None:
                    self.missing.append(" or ".join(names))
            if (name := claimed[names]) is not None:
                self.sources[ours] = name, sources[ours]

    def ignore_unused(self, unused: Mapping[tuple[str, ...], tuple[int, ...]]) -> None:
        """The weights of the U-Net where their averages are taken, or the averages where they are
        not. They are whole, or not there at all."""
        reason = "moving averages of the U-Net: not asked for"
        if self.ema:
            reason = "weights of the U-Net: their moving averages are taken instead"
        found = {names: self.claim(names, shape) for names, shape in unused.items()}
        self.ignored |= {name: reason for name in found.values() if name is not None}
        if self.ignored:
            self.missing += [names[0] for names, name in found.items() if name is None]

    def ignore_official(self, official: Sequence[Ignored]) -> None:
        for names, shape, reason in official:
            name = self.claim(names, shape, parameter=False)
            if name is None:
                self.absent.append(" or ".join(names))
            else:
                self.ignored[name] = reason

    def ignore_others(self, begins: tuple[str, ...] | None) -> None:
        """What begins otherwise belongs to other networks. The file of a VAE alone (None) may hold
        the loss of its training, as A1111 knows."""
        for name in list(self.unknown):
            if name.startswith("loss.") if begins is None else not name.startswith(begins):
                self.ignored[name] = "of other networks: not asked for"
                del self.unknown[name]


def first(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def seems(opened: OpenedCheckpoint) -> str:
    found = guess_type(opened.weights)
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
    if key_format == "compvis" and has_ema(opened.weights, official):
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
    if components is not None:
        begins = tuple(prefixes(family, key_format)[name] for name in components)
        found.ignore_others(None if bare else begins)
    return found


def has_ema(names: Iterable[str], official: Sequence[Ignored]) -> bool:
    """More of them than the two counters that most files keep."""
    counters = {name for item in official for name in item.names}
    return any(name.startswith("model_ema.") and name not in counters for name in names)
