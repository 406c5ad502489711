"""From a model to one that draws in few steps, see `distillation`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..models.weights import Checkpoint
from .data import Data
from .distillation import DistillationStage, of_few_steps
from .fine_tuning import Learner, Whole, base_of, lesson
from .loop import TrainConfig, train
from .parallel import by_first


@dataclass(frozen=True)
class Distillation:
    """distil           how the student is trained
    guidance_scale   of the teacher; None: its family's
    steps            that the student's family draws with
    scenes           how many examples to learn from, where no folder of pictures is given
    """

    distil: TrainConfig
    guidance_scale: float | None
    steps: int
    scenes: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")


DISTILLATION = Distillation(  # for the built-in model
    TrainConfig(
        steps=200, batch=16, lr=5e-5, warmup=10, weight_decay=0.0, clip=1.0, ema=0.95, seed=0,
        save_every=40,
    ),
    guidance_scale=None, steps=4, scenes=10_000,
)  # fmt: skip


def distil(
    init: Checkpoint,
    data: Data,
    recipe: Distillation,
    folder: Path,
    device: torch.device | str = "cpu",
    autocast: bool = False,
    compile: bool = False,
    sample_prompts: Sequence[str] | None = None,
    learner: Learner | None = None,
) -> Path:
    """Teaches a student of `init` to draw what it does, in few steps. -> the student's file

    Everything else: see `fine_tune`, with "distil" as the only stage. learner: None for a whole
    model; a LoRA becomes what the field calls an LCM-LoRA (Luo et al. 2023, "LCM-LoRA").
    """
    learner = Whole() if learner is None else learner
    family = of_few_steps(init.family, recipe.steps)
    scale = init.family.guidance_scale if recipe.guidance_scale is None else recipe.guidance_scale
    module, encoded, prompts = lesson(
        init, data, {"distilled_scale": scale}, recipe.distil.seed, folder, device, autocast,
        sample_prompts, learner,
    )  # fmt: skip
    teacher = base_of(init, device)
    stage = DistillationStage(module, teacher, family, *encoded, scale, prompts)
    module = train(stage, recipe.distil, folder / "distil", "distillation", autocast, compile)
    return by_first(lambda: learner.write(module, replace(init, family=family), folder))
