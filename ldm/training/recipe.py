"""A recipe: everything that decides how a model is trained, as data."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..models.families import Family
from .loop import TrainConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

STAGES = {  # in their order: a recipe's fields and a training's folders, and their titles
    "vae": "VAE",
    "text": "text encoder",
    "unet": "U-Net",
    "joint": "joint fine-tuning",
    "decoder": "decoder",
    "distil": "distillation",
}


@dataclass(frozen=True)
class Recipe:
    """family                      what is trained; its VAE's scale and its vocabulary are found on
                                the way
    scenes                      how many examples to train on, where no folder of pictures is given
    merges                      how many may be learnt from the captions, beside CLIP's
    crop, crops                 see AutoencoderStage, as gradient_difference and kl
    noise                       see DecoderStage
    vae, text, unet, joint, decoder, distil     how each of the STAGES is trained; joint may be
                                                None, and without a distil there is no student of
                                                few steps beside the model
    cond_drop_prob, logit_normal, gamma         see DiffusionStage
    start                       "vae", "unet": what starts as that of another model, not from
                                nothing
    """

    family: Family
    scenes: int
    merges: int
    crop: int
    crops: int
    gradient_difference: float
    kl: float
    noise: float
    vae: TrainConfig
    text: TrainConfig
    unet: TrainConfig
    joint: TrainConfig | None
    decoder: TrainConfig
    cond_drop_prob: float
    logit_normal: bool
    gamma: float | None
    distil: TrainConfig | None = None
    start: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.crops < 1 or self.vae.batch % self.crops:
            raise ValueError(
                f"vae.batch, {self.vae.batch}, must be a multiple of crops, {self.crops}"
            )
        check_dropped(self.cond_drop_prob)
        if unknown := set(self.start) - {"vae", "unet"}:
            raise ValueError(f"start may name vae and unet, not {', '.join(map(str, unknown))}")
        factor = 2 ** (len(self.family.vae.channels) - 1)
        if not 0 < self.crop <= self.family.size or self.crop % factor:
            raise ValueError(
                f"crop must be a multiple of {factor}, up to {self.family.size}, not {self.crop}"
            )

    def stages(self) -> list[str]:
        """Those of STAGES that it has."""
        return [name for name in STAGES if getattr(self, name) is not None]

    def smallest_batch(self) -> int:
        """Of all stages, in examples."""
        batches: list[int] = [getattr(self, name).batch for name in self.stages() if name != "vae"]
        return min(self.vae.batch // self.crops, *batches)

    def beside_stages(self) -> dict[str, Any]:
        """Every value but those of the stages' own TrainConfig."""
        return {name: value for name, value in asdict(self).items() if name not in STAGES}


def check_dropped(part: float) -> None:
    """ValueError for a cond_drop_prob that is no probability."""
    if not 0 <= part <= 1:
        raise ValueError(f"cond_drop_prob must be from 0 to 1, not {part}")


KINDS = {  # of values, in words
    int: "a whole number", float: "a number", bool: "true or false", str: "a word", tuple: "a list",
}  # fmt: skip
R = TypeVar("R", bound="DataclassInstance")


def changed(recipe: R, changes: Iterable[str]) -> R:
    """A recipe, this or another, changed: "unet.steps=500", "family.unet.channels=[32, 64]".

    Values are JSON, or words. ValueError for a name that a recipe has not, and for a value of
    another type.
    """
    tree = asdict(recipe)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"{change!r} changes nothing: give NAME=VALUE")
        *path, last = name.split(".")
        part: Any = tree
        for step in path:
            part = _part(part, step)
        if not isinstance(part, dict) or last not in part:
            known = f": there are {', '.join(part)}" if isinstance(part, dict) else ""
            raise ValueError(f"a recipe has no {name!r}{known}")
        part[last] = _like(part[last], text, name)
    configs = {name: tree[name] for name in STAGES if tree.get(name) is not None}
    built: dict[str, Any] = {name: _config(name, values) for name, values in configs.items()}
    if "family" in tree:
        built["family"] = Family.from_dict(tree["family"])
    return type(recipe)(**{**tree, **built})


def _config(stage: str, values: dict[str, Any]) -> TrainConfig:
    try:
        return TrainConfig(**values)
    except ValueError as error:
        raise ValueError(f"{stage}.{error}") from None


def _part(whole: Any, name: str) -> Any:
    """A value of a dictionary or an item of a tuple; None if there is none of that name."""
    if isinstance(whole, tuple):
        return whole[int(name)] if name.isdecimal() and int(name) < len(whole) else None
    return whole.get(name) if isinstance(whole, dict) else None


def _like(old: Any, text: str, name: str) -> Any:
    """A value of the same type as the old one, and a finite one; a whole number will do for a
    fraction."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    value = tuple(value) if isinstance(value, list) else value
    fraction = isinstance(old, float | None) and type(value) in (float, int, type(None))
    finite = not isinstance(value, float) or math.isfinite(value)
    if (type(value) is not type(old) and not fraction) or not finite:
        kind = KINDS.get(type(old), "of the same kind")
        raise ValueError(f"{name} must be {kind}, such as {json.dumps(old)}, not {text}")
    return value
