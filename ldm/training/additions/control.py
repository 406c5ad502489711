"""ControlNet: a copy of the U-Net's way down learns to say, by a hint, what to add to its maps.

Zhang et al. 2023, "Adding conditional control to text-to-image diffusion models", sec. 3: the copy
starts as the U-Net is, and its zero convolutions at 0, so that training starts from the model as it
is; half of the captions are left out, so that it learns to read the hint alone (sec. 3.3).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...clip.model import TextOutput
from ...clip.tokenizer import Tokenizer
from ...conditioning import Conditioning
from ...images.hints import HINTS
from ...models.control.loading import names_of
from ...models.control.recognise import WHOLE
from ...models.keymaps.control import controlnet_rows
from ...models.lora.extracting import write_safetensors_whole
from ...models.weights import Checkpoint
from ...samplers import Network
from ...unet.controlnet import HINT_WIDTHS, ControlNet
from ..data import Data, examples
from ..fine_tuning import FineTuning
from ..initial import seeded
from ..loop import TrainConfig
from ..modules import Base, Denoising

CONTROL = FineTuning(  # for some thousands of pictures and the built-in model
    TrainConfig(
        steps=1000, batch=12, lr=1e-3, warmup=50, weight_decay=0.01, clip=1.0, ema=0.99, seed=0,
        save_every=250,
    ),
    cond_drop_prob=0.5, logit_normal=False, gamma=None,
)  # fmt: skip


@dataclass(frozen=True)
class Control:
    """hint   of HINTS: how the hint of a picture is made from it"""

    hint: str

    def __post_init__(self) -> None:
        if self.hint not in HINTS or self.hint == "none":
            known = ", ".join(name for name in HINTS if name != "none")
            raise ValueError(f"there is no hint {self.hint[:80]!r} to train with: {known}")

    def told(self) -> dict[str, object]:
        return {"control": self.hint}

    def tokenizer(self, base: Tokenizer) -> Tokenizer:
        return base

    def module(
        self, base: Base, init: Checkpoint, tokenizer: Tokenizer, data: Data, seed: int
    ) -> "ControlModel":
        return ControlModel(base, copied(base, init.family.vae.factor, seed), data, self.hint)

    def write(self, module: Denoising, init: Checkpoint, folder: Path) -> Path:
        """controlnet.safetensors, in the original's layout, float16"""
        assert isinstance(module, ControlModel)
        network = module.control
        state, blocks = network.state_dict(), len(network.hint.blocks)
        names = names_of(controlnet_rows(network.config, blocks), "compvis")
        tensors = {f"{WHOLE}{name}": state[ours].half().cpu() for ours, name in names.items()}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        header = {"hint": self.hint, "base_model": init.family.name}
        write_safetensors_whole(folder / "controlnet.safetensors", tensors, header)
        return folder / "controlnet.safetensors"


def copied(base: Base, factor: int, seed: int) -> ControlNet:
    """A ControlNet that adds nothing yet: the U-Net's layers, and new ones that read a hint.
    factor: how much larger a picture is than its latent, a power of 2"""
    widths = [HINT_WIDTHS[min(i, len(HINT_WIDTHS) - 1)] for i in range(factor.bit_length())]
    with seeded(seed):
        control = ControlNet(base.unet.config, widths)
    theirs = base.unet.state_dict()
    own = {name: weight.clone() for name, weight in theirs.items() if name in control.state_dict()}
    control.load_state_dict(own, strict=False)
    return control.to(base.device)


class ControlModel(Denoising):
    """data   whose pictures the hints are made from"""

    def __init__(self, base: Base, control: ControlNet, data: Data, hint: str) -> None:
        super().__init__()
        self.base, self.control, self.data, self.hint, self.head = base, control, data, hint, None

    def text(self, ids: Tensor) -> TextOutput:
        return self.base.text(ids)

    def hints(self, chosen: Tensor) -> Tensor:
        """Of these examples, in float32 as when pictures are drawn. (B, 3, H, W) in [0, 1]"""
        images, _ = examples(self.data, chosen.tolist(), self.base.device)
        with torch.autocast(images.device.type, enabled=False):
            return torch.cat([HINTS[self.hint]((image[None] + 1) / 2) for image in images])

    def network(self, chosen: Tensor) -> Network:
        hints = self.hints(chosen)

        def controlled(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
            shown = hints.repeat(len(x) // len(hints), 1, 1, 1)  # of each branch of guidance
            return self.base.unet(x, t, cond, self.control(x, t, cond, shown))

        return controlled
