"""LoRA: of a layer's weight W a change of low rank is learnt, W + s up down, and W stays.

Hu et al. 2021, "LoRA", sec. 4.1: `down` starts at random, `up` at 0, so that training starts from
the model as it is. Convolutions as in LyCORIS' LoCon: `down` has the kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...clip.model import TextOutput
from ...clip.tokenizer import Tokenizer
from ...conditioning import Conditioning
from ...models.family import Family
from ...models.lora.extracting import kohya_names, write_safetensors_whole
from ...models.lora.kinds import lora
from ...models.weights import Checkpoint
from ...samplers import Network
from ..data import Data
from ..fine_tuning import FineTuning
from ..initial import seeded
from ..loop import TrainConfig
from ..modules import Base, Denoising

LOW_RANK = FineTuning(  # for some hundreds of pictures and the built-in model
    TrainConfig(
        steps=400, batch=16, lr=3e-3, warmup=20, weight_decay=0.01, clip=1.0, ema=0.98, seed=0,
        save_every=100,
    ),
    cond_drop_prob=0.1, logit_normal=False, gamma=None,
)  # fmt: skip

Layers = Literal["attention", "unet", "all"]
OF_KOHYA = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}  # its names of models


@dataclass(frozen=True)
class LowRank:
    """rank     of the change of each layer; alpha is the same, so that s = 1
    layers   "attention": the linear layers of the U-Net's transformers; "unet": all of its linear
             layers and convolutions; "all": those of the text encoder, too
    """

    rank: int
    layers: Layers = "attention"

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= 1024:
            raise ValueError(f"the rank of a LoRA must be from 1 to 1024, not {self.rank}")

    def told(self) -> dict[str, object]:
        return {"lora": self.rank, "layers": self.layers}

    def tokenizer(self, base: Tokenizer) -> Tokenizer:
        return base

    def module(
        self, base: Base, init: Checkpoint, tokenizer: Tokenizer, data: Data, seed: int
    ) -> "LowRankModel":
        return LowRankModel(base, chosen_layers(base, self.layers), self.rank, seed)

    def write(self, module: Denoising, init: Checkpoint, folder: Path) -> Path:
        """lora.safetensors, in kohya's layout, float16"""
        assert isinstance(module, LowRankModel)
        tensors = file_tensors(module, init.family)
        name = init.family.name
        header = {
            "ss_network_module": "networks.lora",
            "ss_network_dim": str(self.rank),
            "ss_network_alpha": str(float(self.rank)),
            "ss_base_model_version": OF_KOHYA.get(name, name),
            "ss_output_name": folder.resolve().name,
        }
        write_safetensors_whole(folder / "lora.safetensors", tensors, header)
        return folder / "lora.safetensors"


class LowRankModel(Denoising):
    """names   of the changed layers: unet.… and text.…
    up, down   of each, (O, r) and (r, I, ...)
    """

    def __init__(self, base: Base, names: Sequence[str], rank: int, seed: int) -> None:
        super().__init__()
        self.base, self.names, self.rank, self.head = base, tuple(names), rank, None
        self.up, self.down = nn.ParameterList(), nn.ParameterList()
        with seeded(seed):
            for weight in self.weights().values():
                outputs, *inputs = weight.shape
                down = torch.empty(rank, *inputs)
                nn.init.kaiming_uniform_(down, a=5**0.5)  # as a linear layer is by default
                self.up.append(nn.Parameter(torch.zeros(outputs, rank, device=weight.device)))
                self.down.append(nn.Parameter(down.to(weight.device)))

    def weights(self) -> dict[str, Tensor]:
        """W of each layer."""
        networks: dict[str, nn.Module] = {"unet": self.base.unet, "text": self.base.text}
        parts = (name.partition(".") for name in self.names)
        return {
            name: networks[network].get_parameter(f"{layer}.weight")
            for name, (network, _, layer) in zip(self.names, parts, strict=True)
        }

    def changed(self, network: str) -> dict[str, Tensor]:
        """W + up down of the layers of a network, by the names of its parameters."""
        found = {}
        for (name, w), up, down in zip(self.weights().items(), self.up, self.down, strict=True):
            begin, _, layer = name.partition(".")
            if begin == network:
                change = lora(w, {"up": up, "down": down}, self.rank)
                found[f"{layer}.weight"] = w + change.reshape(w.shape)
        return found

    def text(self, ids: Tensor) -> TextOutput:
        found: TextOutput = functional_call(self.base.text, self.changed("text"), (ids,))
        return found

    def network(self, chosen: Tensor) -> Network:
        weights = self.changed("unet")

        def changed_unet(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
            raw: Tensor = functional_call(self.base.unet, weights, (x, t, cond))
            return raw

        return changed_unet


def chosen_layers(base: Base, layers: Layers) -> list[str]:
    """Names of layers, unet.… and text.…"""
    found = [f"unet.{name}" for name, part in base.unet.named_modules() if has_weight(part)]
    if layers == "attention":
        return [name for name in found if ".attn." in name]
    if layers == "all":
        found += [f"text.{name}" for name, part in base.text.named_modules() if has_weight(part)]
    return found


def has_weight(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear | nn.Conv2d)


def file_tensors(module: LowRankModel, family: Family) -> dict[str, Tensor]:
    """Those of kohya's layout. The up of a convolution is one, too, of 1 x 1."""
    begins, found = kohya_names(family), dict[str, Tensor]()
    for name, up, down in zip(module.names, module.up, module.down, strict=True):
        shape = (*up.shape, *[1] * (down.dim() - 2))
        found[f"{begins[name]}.lora_up.weight"] = up.detach().half().reshape(shape)
        found[f"{begins[name]}.lora_down.weight"] = down.detach().half().contiguous()
        found[f"{begins[name]}.alpha"] = torch.tensor(float(module.rank)).half()
    return {key: tensor.cpu().contiguous() for key, tensor in found.items()}
