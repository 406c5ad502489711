"""The estimator in a checkpoint: found at once, by names and shapes, and read when it is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...runtime.text import one_line
from ...runtime.warn import warn
from ..family import NoInitialisation
from ..keymaps import KeyFormat, Source, sources
from ..weights.folder_files import snapshot, weights_in, weights_of
from ..weights.loading import check_finite
from ..weights.mapped import Weight
from ..weights.matching import KeyMatch
from ..weights.opening import OpenedCheckpoint
from ..weights.recognise import key_format_of, shapes_of
from ..weights.saving import joined, theirs
from ..weights.write_safetensors import Planned
from .dpt import DPT, DPTConfig
from .names import BEGIN, config_of, dpt_rows

FOLD = 32  # of what the sides of a picture are multiples before it is seen


@dataclass(frozen=True)
class Estimator:
    """path       of the checkpoint
    weights    by the names there
    sources    each parameter of ours -> the name of its tensor, and how that becomes ours
    shapes     of the parameters of ours
    """

    path: Path
    config: DPTConfig
    weights: Mapping[str, Weight]
    sources: Mapping[str, tuple[str, Source]]
    shapes: Mapping[str, torch.Size]

    @torch.no_grad()
    def __call__(self, image: Tensor, device: torch.device) -> Tensor:
        """How near each pixel of a picture is, in no particular unit: greater is nearer.

        image (1, 3, H, W) in [-1, 1] -> (1, 1, h, w) float32, of the size that the network sees
        """
        size = seen(image.shape[-2], image.shape[-1], self.config.size)
        x = F.interpolate(image.float().to(device), size, mode="bicubic")  # as OpenCV, by a = -0.75
        return self.network(device)(x).cpu()

    def network(self, device: torch.device) -> DPT:
        """In float32. Its memory is the file's, and is given back when it is no longer used."""
        network = meta(self.config)
        state = {name: self.read(name, torch.float32).to(device) for name in self.shapes}
        network.load_state_dict(state, assign=True)
        return network.eval().requires_grad_(False)

    def read(self, ours: str, dtype: torch.dtype) -> Tensor:
        name, source = self.sources[ours]
        tensor = self.weights[name].part(*source.part).read(dtype)
        check_finite(tensor, f"{name} in {self.path}")
        tensor = tensor if source.operation is None else source.operation.ours(tensor)
        return tensor.reshape(self.shapes[ours]).contiguous()

    def planned(self, layout: KeyFormat, dtype: torch.dtype | None = None) -> dict[str, Planned]:
        """Its tensors as a layout holds them, to be written; dtype None: as they are here."""
        where = sources("", dpt_rows(self.config), layout, BEGIN[layout])
        files, found = (
            shapes_of(where, {f".{name}": size for name, size in self.shapes.items()}),
            {},
        )
        grouped: dict[str, list[tuple[str, Source]]] = {}
        for ours, source in where.items():
            for name in source.names:  # transformers has no classifier
                grouped.setdefault(name, []).append((ours[1:], source))

        def plan(parts: list[tuple[str, Source]]) -> Planned:
            ours = parts[0][0]
            as_is = self.weights[self.sources[ours][0]].dtype if dtype is None else dtype
            return Planned(
                as_is,
                files[f".{ours}"],
                lambda: joined([theirs(source, self.read(name, as_is)) for name, source in parts]),
            )

        for name, parts in grouped.items():
            found[name] = plan(sorted(parts, key=lambda part: part[1].part))
        return found


def seen(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width at which a picture is seen: scaled as little as makes one of its sides that
    of training, and both multiples of FOLD. MiDaS's transforms.py, `Resize`, "minimal"."""
    scale = min((size / height, size / width), key=lambda scale: abs(1 - scale))
    high, wide = (max(round(scale * side / FOLD), 1) * FOLD for side in (height, width))
    return high, wide


def meta(config: DPTConfig) -> DPT:
    with torch.device("meta"), NoInitialisation():
        return DPT(config)


def estimator_in(opened: OpenedCheckpoint) -> Estimator | None:
    """That of a checkpoint, if it has one of this kind. One that is not whole is left out, with a
    warning."""
    key_format, weights = key_format_of(opened), opened.weights
    if opened.container == "folder":
        files = weights_in(snapshot(opened.path) / "depth_estimator")
        weights = {f"{BEGIN['diffusers']}{name}": one for name, one in weights_of(files).items()}
    begin = BEGIN[key_format]
    own = {name: one for name, one in weights.items() if name.startswith(begin)}
    try:
        config = config_of(
            {name.removeprefix(begin): one.shape for name, one in own.items()}, key_format
        )
    except LookupError:
        return None
    parameters = {f".{name}": one.shape for name, one in meta(config).state_dict().items()}
    where = sources("", dpt_rows(config), key_format, begin)
    found = KeyMatch(dict(own))
    found.map({ours: one.names for ours, one in where.items()}, where, shapes_of(where, parameters))
    if not found.complete:
        wrong = [*found.missing, *found.wrong_shape]
        what = f"{opened.path}: its estimator of depth is not whole, and left out"
        warn(one_line(f"{what} ({wrong[0]} is missing or wrong)"))
        return None
    return Estimator(
        opened.path,
        config,
        own,
        {ours[1:]: source for ours, source in found.sources.items()},
        {ours[1:]: shape for ours, shape in parameters.items()},
    )
