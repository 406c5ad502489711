"""Which key format and which family a checkpoint has, told by its keys and shapes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from ..families import FAMILIES, Family
from ..family import parameter_shapes
from ..few_steps import few_steps
from ..keymaps import KeyFormat, Source, prefixes, table
from ..keymaps.rows import GUIDANCE, unet_rows
from ..unread import without_unread_layers
from .edm import with_edm
from .folder import family_of
from .mapped import Weight
from .opening import OpenedCheckpoint, buildable, stated_family
from .prediction import told_by_file, with_prediction


@dataclass(frozen=True)
class Kind:
    """family       None if no family of ours has such keys and shapes
    prediction   what the U-Net predicts, and the reason why that is believed
    undecided    whether only a call of the U-Net can tell: the family is a guess in that
    few_steps    why it is taken for a model of few steps, and what that changes; None: it is not
    """

    key_format: KeyFormat
    family: Family | None
    prediction: str
    undecided: bool = False
    few_steps: str | None = None


BY_HEADER = "as the header of the file says"


def recognise(
    opened: OpenedCheckpoint, family: Family | None = None, prediction: str | None = None
) -> Kind:
    """A given family is believed, then a header or a folder that states its own, then the shapes;
    and a given prediction, before all."""
    kind = recognised(opened, key_format_of(opened), family)
    if kind.family is not None:
        kind = replace(kind, family=as_it_is(opened, kind.family, kind.key_format))
    if prediction is None or kind.family is None:
        return kind
    family = with_prediction(kind.family, prediction)
    return replace(
        kind, family=family, prediction=f"{family.prediction}, as asked for", undecided=False
    )


def recognised(opened: OpenedCheckpoint, key_format: KeyFormat, family: Family | None) -> Kind:
    if family is not None:
        return Kind(key_format, family, f"{family.prediction}, as the given family says")
    if "family" in opened.metadata:
        family = stated_family(opened)
        return Kind(key_format, family, f"{family.prediction}, {BY_HEADER}")
    if opened.configs:
        family = buildable(family_of(opened), opened)
        kind = Kind(key_format, family, f"{family.prediction}, as scheduler_config.json says")
    else:
        kind = by_shapes(opened, key_format)
    return kind if kind.family is None else of_few_steps(kind, opened)


def by_shapes(opened: OpenedCheckpoint, key_format: KeyFormat) -> Kind:
    """The known family that a single file has the keys and shapes of."""
    weights = opened.weights
    if (edm := with_edm(weights)) is not None:
        family, why = edm
        fitting = has_widths(weights, family, key_format) and fits(weights, family, key_format)
        return Kind(key_format, family if fitting else None, why)
    for family in FAMILIES.values():
        if has_widths(weights, family, key_format) and fits(weights, family, key_format):
            if (told := told_by_file(opened, family)) is not None:
                return Kind(key_format, *told)
            reason = "eps or v: the file does not say it; a call of the U-Net will"
            return Kind(key_format, family, f"{reason} (or --prediction)", undecided=True)
    return Kind(key_format, None, "unknown, as the family is")


def as_it_is(opened: OpenedCheckpoint, family: Family, key_format: KeyFormat) -> Family:
    """The family without its unread layers of text, where none of these is in the file."""
    less = without_unread_layers(family)
    if less == family:
        return family
    kept = table(less, key_format)
    unread = [
        name
        for ours, source in table(family, key_format).items()
        for name in source.names
        if ours not in kept
    ]
    return family if any(name in opened.weights for name in unread) else less


def of_few_steps(kind: Kind, opened: OpenedCheckpoint) -> Kind:
    """The same, or what a title in the header or the name of the file or folder tells it to be."""
    assert kind.family is not None
    header = [opened.metadata.get(f"modelspec.{name}", "") for name in ("title", "architecture")]
    title = " ".join([*header, str(opened.configs.get("model_index", {}).get("_name_or_path", ""))])
    found = few_steps(kind.family, title, opened.path.stem)
    if found is None:
        return kind
    family, why = found
    prediction = kind.prediction
    if family.prediction != kind.family.prediction:
        prediction = f"{family.prediction}, as models of {family.name} with a single step"
    return replace(kind, family=family, prediction=prediction, few_steps=why)


def key_format_of(opened: OpenedCheckpoint) -> KeyFormat:
    if opened.container == "folder":
        return "diffusers"
    return "ldm" if has_own_names(opened) else "compvis"


def has_own_names(opened: OpenedCheckpoint) -> bool:
    """Whether a tensor has the name of the parameter it is, as in the files of this library."""
    return any(name.startswith("unet.stem.") for name in opened.weights)


def has_widths(weights: Mapping[str, Weight], family: Family, key_format: KeyFormat) -> bool:
    """Whether two tensors of the U-Net are as wide as the family's: most families differ there, and
    it is quicker to tell than all that `fits` looks at."""
    unet = family.unet
    stem = (unet.channels[0], unet.in_channels + unet.concat_channels, 3, 3)
    deepest = max((level for level, depth in enumerate(unet.depth) if depth), default=0)
    key = f"down.{deepest}.attn.0.blocks.0.cross_attn.k"
    widths = {"stem": stem, key: (unet.channels[deepest], unet.context_width)}
    widths["vector.linear1"] = 4 * unet.channels[0], unet.vector_width or 0
    prefix = prefixes(family, key_format)["unet"]
    if unet.vector_width is None and f"{prefix}label_emb.0.0.weight" in weights:
        return False
    for layer in unet_rows(unet):
        if layer.ours in widths:
            names = [f"{prefix}{name}.weight" for name in layer.names(key_format)]
            found = [weights[name].shape for name in names if name in weights]
            if found and found[0] != widths[layer.ours]:
                return False
    (guidance,) = GUIDANCE.names(key_format)
    return (f"{prefix}{guidance}.weight" in weights) == (unet.guidance_width is not None)


def fits(weights: Mapping[str, Weight], family: Family, key_format: KeyFormat) -> bool:
    """Nine in ten parameters of the family are here in their shapes; if others are not, it is they
    that are wrong."""
    sources = table(family, key_format)
    there = sum(any(name in weights for name in source.names) for source in sources.values())
    if there < 0.9 * len(sources):
        return False  # which names alone tell, much sooner than shapes
    expected, found = shapes(family, key_format), 0
    for ours, source in sources.items():
        found += any(
            name in weights and weights[name].shape == expected[ours] for name in source.names
        )
    return found >= 0.9 * len(expected)


@lru_cache(maxsize=16)
def shapes(family: Family, key_format: KeyFormat) -> dict[str, tuple[int, ...]]:
    """The shape of the tensor that each parameter comes from, by our name."""
    return shapes_of(table(family, key_format), parameter_shapes(family))


def shapes_of(
    sources: Mapping[str, Source], parameters: Mapping[str, torch.Size]
) -> dict[str, tuple[int, ...]]:
    """The same of any parameters, of these shapes."""
    expected = {}
    for name, source in sources.items():
        operation = source.operation
        tensor = torch.empty(parameters[name], device="meta")
        first, *rest = (tensor if operation is None else operation.theirs(tensor)).shape or (1,)
        expected[name] = (first * source.part[1], *rest)
    return expected
