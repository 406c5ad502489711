"""One plain training loop, for any stage: draw a batch, step, average, save; and after a kill, go on as if nothing was.

Everything random in step k comes from a generator seeded with (seed, k). So the state of a training is its weights,
their average, the optimizer's moments and k; and a run that is resumed takes the steps that it would have taken.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..files import replacing
from .ema import EMA


@dataclass(frozen=True)
class Plan:
    """steps, batch            how many, of how many examples
    learning_rate, warmup   its height, reached after `warmup` steps; then it falls to 0 along a cosine
    weight_decay, clip      of AdamW (Loshchilov & Hutter 2019); the largest norm of a gradient
    ema                     decay of the average of the weights
    seed                    of the weights and of every step's randomness
    save_every              steps between two checkpoints, and two samples
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip: float
    ema: float
    seed: int
    save_every: int

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0 <= step < steps."""
        rising = (step + 1) / self.warmup if step < self.warmup else 1.0
        return self.learning_rate * min(rising, 0.5 + 0.5 * math.cos(math.pi * step / self.steps))


M = TypeVar("M", bound=nn.Module)


class Stage(Protocol[M]):
    """What is trained, and on what. `train` and `sample` are given the module: the one that learns, or its average."""

    module: M

    def loss(self, module: M, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The terms of the loss of a batch, each (), the one to minimise named "loss". `generator` is on the CPU."""

    def sample(self, module: M, path: Path) -> None:
        """Writes a picture that shows how far the training is."""


def step_generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


@contextmanager
def computing(device: torch.device, autocast: bool) -> Iterator[None]:
    """How a stage computes: in bfloat16 where that is safe, if asked; and on a CPU with attention in plain steps.

    The fused attention saves memory on long sequences; on the short ones of small pictures its backward pass on a CPU
    takes twice as long.
    """
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with attention, torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        yield


def train(stage: Stage[M], plan: Plan, folder: Path, autocast: bool = False, compile: bool = False) -> M:
    """Trains stage.module, or goes on with what lies in `folder`; returns the average of its weights.

    Writes into the folder: state.pt (to resume from), log.jsonl (a line for every 50 steps), samples/<step>.png.
    autocast: run the networks in bfloat16; compile: let torch.compile fuse them. Both for speed.
    """
    from tqdm import tqdm

    module: M = stage.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    device = next(module.parameters()).device
    average = EMA(module, plan.ema)
    optimizer = torch.optim.AdamW(module.parameters(), plan.learning_rate, (0.9, 0.99), weight_decay=plan.weight_decay)
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    path = folder / "state.pt"

    start, seconds = 0, 0.0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        if state["plan"] != vars(plan):
            raise ValueError(f"{path} was trained with another plan, {state['plan']}: use it again, or another folder")
        module.load_state_dict(state["module"])
        average.module.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start, seconds = state["step"], state["seconds"]

    if compile:
        for part in module.children():
            part.compile()
    began = time.monotonic() - seconds
    bar = tqdm(range(start, plan.steps), initial=start, total=plan.steps, dynamic_ncols=True)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        with computing(device, autocast):
            terms = stage.loss(module, plan.batch, step_generator(plan.seed, step))
        if not torch.isfinite(terms["loss"]):
            raise FloatingPointError(f"the loss of step {step} is {terms['loss'].item()}: lower the learning rate")
        optimizer.zero_grad()
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), plan.clip)
        optimizer.step()
        average.update(module, step)

        done = step + 1
        if done % 50 == 0 or done == plan.steps:
            values = {name: round(term.item(), 5) for name, term in terms.items()}
            bar.set_postfix(values)
            with open(folder / "log.jsonl", "a") as log:
                log.write(json.dumps({"step": done, "seconds": round(time.monotonic() - began), **values}) + "\n")
        if done % plan.save_every == 0 or done == plan.steps:
            state = {
                "plan": vars(plan),
                "step": done,
                "seconds": time.monotonic() - began,
                "module": module.state_dict(),
                "average": average.module.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            with replacing(path) as temporary:
                torch.save(state, temporary)
            stage.sample(average.module, folder / "samples" / f"{done:06}.png")
    return average.module
