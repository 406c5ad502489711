"""A LoRA as it lies in a file."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..weights.errors import CheckpointError
from ..weights.guess import guess_type
from ..weights.loading import check_finite
from ..weights.mapped import Weight
from ..weights.matching import first
from ..weights.opening import OpenedCheckpoint, open_checkpoint
from .kinds import KINDS, Kind
from .spelling import spelt

BUNDLED = "bundle_emb."  # of keys of embeddings that belong to the LoRA: LyCORIS
ADAPTER = "lora_adapter_metadata"  # diffusers' name for PEFT's config, in the header
FOLDERS = "adapter_model.safetensors", "adapter_model.bin", "pytorch_lora_weights.safetensors"


@dataclass(frozen=True, eq=False)
class Layer:
    """What a file says of one layer.

    key             the beginning of its keys
    network, name   unet, text or text2; the layer in it, see `spelling`
    parts           by their names; not read yet
    kind            None: only its bias changes
    alpha           of its scale, see `kinds`
    """

    key: str
    network: str
    name: str
    parts: Mapping[str, Weight]
    kind: Kind | None
    alpha: float | None = None

    def read(self, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        """Its parts as numbers of a type. CheckpointError: some are NaN or infinite."""
        found = {}
        for part, weight in self.parts.items():
            found[part] = weight.read(dtype, device)
            check_finite(found[part], f"{self.key}, {part}, in {weight.file.path}")
        return found

    def shapes(self) -> dict[str, Tensor]:
        """Its parts without numbers, on torch's `meta` device."""
        return {
            part: torch.empty(weight.shape, device="meta") for part, weight in self.parts.items()
        }


@dataclass(frozen=True, eq=False)
class Lora:
    """name        of the file, without its ending
    layers      those that it changes
    metadata    of its header
    unread      keys that mean nothing here
    embeddings  that it brings, by name: the tensors of each
    """

    path: Path
    name: str
    layers: tuple[Layer, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    embeddings: Mapping[str, Mapping[str, Weight]] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, int]:
        """How many layers there are of each kind."""
        names = [layer.kind.name if layer.kind else "bias" for layer in self.layers]
        return {name: names.count(name) for name in dict.fromkeys(names)}


def read_lora(path: str | Path) -> Lora:
    """The LoRA in a file, or in a folder of PEFT's or diffusers'. No tensor but the alphas is read.

    CheckpointError: there is none, or it is damaged. UnsafePickle: it is a pickle that does more.
    """
    path = Path(os.path.expanduser(path))
    opened = open_checkpoint(file_of(path))
    if (lora := lora_in(opened, path)) is None:
        what = guess_type(opened.weights) or ""
        what = "a damaged one" if what.startswith("a LoRA") else what
        told = f": it seems to be {what}" if what else ""
        keys = first(list(opened.weights), 3)
        raise CheckpointError(f"{path} is not a LoRA{told}; it has {keys}")
    return lora


def file_of(path: Path) -> Path:
    """The file itself, or that in a folder of a LoRA."""
    return next((path / name for name in FOLDERS if (path / name).is_file()), path)


def lora_in(opened: OpenedCheckpoint, path: Path) -> Lora | None:
    """The LoRA that was opened, with the alphas of its configs; None: it is something else. path:
    of its folder, if it lies in one."""
    lora = lora_of(opened, path.name if path.is_dir() else path.stem)
    config = opened.path.with_name("adapter_config.json")
    if lora is not None and opened.path != path and config.is_file():
        return with_config(lora, {"": read_config(config.read_text("utf-8", "replace"), config)})
    if lora is not None and ADAPTER in lora.metadata:
        return with_config(lora, by_network(read_config(lora.metadata[ADAPTER], path)))
    return lora


def lora_of(opened: OpenedCheckpoint, name: str) -> Lora | None:
    """The LoRA of these tensors; None: it is something else."""
    grouped: dict[tuple[str, str, str], dict[str, Weight]] = {}
    unread, bundled = [], dict[str, dict[str, Weight]]()
    for key, weight in opened.weights.items():
        if key.startswith(BUNDLED):
            of, _, rest = key.removeprefix(BUNDLED).partition(".")
            bundled.setdefault(of, {})[rest] = weight
        elif (said := spelt(key)) is None:
            unread.append(key)
        else:
            part = "boft_blocks" if said.part == "oft_blocks" and len(weight.shape) == 4 else None
            parts = grouped.setdefault((said.layer, said.network, said.name), {})
            parts[part or said.part] = weight
    layers = []
    for names, parts in grouped.items():
        if (layer := layer_of(*names, parts, opened.path)) is not None:
            layers.append(layer)
        else:
            unread += [f"{names[0]}: {part}" for part in parts]
    if not layers:
        return None
    return Lora(opened.path, name, tuple(layers), opened.metadata, tuple(unread), bundled)


def layer_of(
    key: str, network: str, name: str, parts: dict[str, Weight], path: Path
) -> Layer | None:
    """A layer of these parts; None: they say nothing."""
    on_input = number(parts.get("on_input"), key, path)
    if on_input is not None and "weight" in parts:
        parts["of_inputs" if on_input else "of_outputs"] = parts["weight"]
    kind = next((kind for kind in KINDS if not parts.keys().isdisjoint(kind.signs)), None)
    if kind is None and "bias" not in parts:
        return None
    alpha = number(parts.get("alpha"), key, path)
    left = {part: parts[part] for part in parts if part not in ("alpha", "on_input", "weight")}
    return Layer(key, network, name, left, kind, alpha)


def number(weight: Weight | None, key: str, path: Path) -> float | None:
    """The one number of a tensor."""
    if weight is None:
        return None
    if math.prod(weight.shape) != 1 or not math.isfinite(found := float(weight.read())):
        raise CheckpointError(f"{path} is damaged: alpha of {key} is not a number")
    return found


def read_config(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the config of PEFT in {path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"the config of PEFT in {path} is damaged: it is not a dictionary")
    return found


def by_network(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """diffusers' config, whose names are such as unet.lora_alpha: that of each network."""
    names = {"unet": "unet", "text_encoder": "text", "text_encoder_2": "text2"}
    found: dict[str, dict[str, Any]] = {}
    for name, value in config.items():
        network, _, rest = name.partition(".")
        found.setdefault(names.get(network, ""), {})[rest or network] = value
    return found


def with_config(lora: Lora, configs: Mapping[str, Mapping[str, Any]]) -> Lora:
    """With the alphas of PEFT's configs, by network or "" for all, where the keys give none:
    lora_alpha / r is the scale, with use_rslora lora_alpha / sqrt(r); alpha_pattern gives some
    layers their own."""

    def alpha(layer: Layer) -> Layer:
        config = configs.get(layer.network, configs.get("", {}))
        if layer.alpha is not None or "down" not in layer.parts:
            return layer
        patterns = config.get("alpha_pattern") or {}
        value = config.get("lora_alpha")
        for pattern, own in patterns.items() if isinstance(patterns, dict) else ():
            if layer.name.endswith(pattern.replace(".", "_")):
                value = own
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
            return layer
        rank = (layer.parts["down"].shape or (1,))[0]
        return replace(layer, alpha=value * (math.sqrt(rank) if config.get("use_rslora") else 1.0))

    return replace(lora, layers=tuple(map(alpha, lora.layers)))
