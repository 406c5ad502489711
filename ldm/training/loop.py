"""One training loop for every stage: draw a batch, step, average, save; and resume after a kill.

Everything random in step k comes from a generator seeded with (seed, k). So the state of a training
is its weights, their average, the optimizer's moments and k; and a run that is resumed takes the
steps that it would have taken.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..runtime.files import replacing
from .ema import EMA
from .parallel import mean, shared, team
from .record import as_lines, difference


@dataclass(frozen=True)
class TrainConfig:
    """steps, batch         how many, of how many examples
    lr, warmup           the learning rate's height, reached after `warmup` steps; then it falls to
                         0 along a cosine
    weight_decay, clip   of AdamW (Loshchilov & Hutter 2019); the largest norm of a gradient
    ema                  decay of the average of the weights
    seed                 of the weights and of every step's randomness
    save_every           steps between two checkpoints, and two samples
    """

    steps: int
    batch: int
    lr: float
    warmup: int
    weight_decay: float
    clip: float
    ema: float
    seed: int
    save_every: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be more than 0, not {self.lr}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to {2**32 - 1}, not {self.seed}")
        if not 0 <= self.ema <= 1:
            raise ValueError(f"ema must be from 0 to 1, not {self.ema}")
        for name in ("warmup", "weight_decay", "clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, but it is {getattr(self, name)}")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, 0 <= step < steps."""
        rising = (step + 1) / self.warmup if step < self.warmup else 1.0
        return self.lr * min(rising, 0.5 + 0.5 * math.cos(math.pi * step / self.steps))


M = TypeVar("M", bound=nn.Module)


class Stage(Protocol[M]):
    """What is trained, and on what. `loss` and `sample` are given a module: `module`, which learns,
    or its average."""

    module: M

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """All that is random in a batch: its examples along the first dimension of each tensor, on
        the CPU, as `generator` is."""

    def loss(self, module: M, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The terms of the loss of what was drawn, each () and a mean over the examples, the one to
        minimise named "loss"."""

    def sample(self, module: M, path: Path) -> None:
        """Writes a picture that shows how far the training is."""


def step_generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


@contextmanager
def compute_context(device: torch.device, autocast: bool) -> Iterator[None]:
    """How a stage computes: in bfloat16 where that is safe, if asked; unfused attention on a CPU.

    The fused attention saves memory on long sequences; on the short ones of small pictures its
    backward pass on a CPU takes twice as long.
    """
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with attention, torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        yield


class Training(Generic[M]):
    """The state of a training, after `step` steps that took `seconds`.

    Its weights are channels_last, with which a CPU, and a GPU's tensor cores, convolve faster.
    """

    def __init__(self, module: M, config: TrainConfig) -> None:
        for weight in module.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.to(weight.dtype, memory_format=torch.channels_last)
        self.module, self.config = module, config
        self.average = EMA(module, config.ema)
        # fused, all weights are stepped in one pass: a third of the time on a CPU
        fused = next(module.parameters()).device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(
            module.parameters(), config.lr, (0.9, 0.99), 1e-8, config.weight_decay, fused=fused
        )
        self.step, self.seconds = 0, 0.0
        self.whole = True  # no update is half done

    def update(self, loss: Tensor) -> None:
        """Takes a step down the gradient of a loss (). FloatingPointError if that is NaN or inf."""
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss of step {self.step} is {loss.item()}: lower the learning rate"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr_at(self.step)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip)
        self.whole = False
        self.optimizer.step()
        self.average.update(self.module, self.step)
        self.step += 1
        self.whole = True

    def log(self, path: Path, values: Mapping[str, float]) -> None:
        row = {"step": self.step, "seconds": round(self.seconds), **values}
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")

    def save(self, path: Path) -> None:
        state = {
            "config": vars(self.config),
            "step": self.step,
            "seconds": self.seconds,
            "module": self.module.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """ValueError if the file is of a training with another config."""
        device = next(self.module.parameters()).device
        try:
            state = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # a damaged file may raise anything
            what = str(error).partition("\n")[0][:200]
            raise ValueError(f"{path} is damaged, remove it and train on: {what}") from None
        then, now = as_lines(state.get("config", {})), as_lines(vars(self.config))
        if changes := difference(then, now):
            raise ValueError(f"{path} was trained {changes}: use the same again, or another folder")
        self.module.load_state_dict(state["module"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]


def train(
    stage: Stage[M],
    config: TrainConfig,
    folder: Path,
    title: str = "",
    autocast: bool = False,
    compile: bool = False,
) -> M:
    """Trains stage.module, or resumes what lies in `folder`. -> the average of its weights

    Writes state.pt (to resume from), log.jsonl (a line for every 50 steps), samples/<step>.png; of
    several processes, see `parallel`, the first does.
    title: of the progress bar. For speed, autocast: run the networks in bfloat16; compile: let
    torch.compile fuse them.
    """
    from tqdm import tqdm

    state, path = Training(stage.module, config), folder / "state.pt"
    device = next(state.module.parameters()).device
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    if path.exists():
        state.load(path)
    if compile:
        for part in state.module.children():
            part.compile()
    began, first = time.monotonic() - state.seconds, team().rank == 0
    loss = shared(state.module, stage.loss)
    steps, bar_of = range(state.step, config.steps), {"dynamic_ncols": True, "disable": not first}
    bar = tqdm(steps, title, config.steps, initial=state.step, **bar_of)
    with saved_when_stopped(state, path) if first else nullcontext():
        for step in bar:
            with compute_context(device, autocast):
                terms = loss(stage.draw(config.batch, step_generator(config.seed, step)))
            state.update(terms["loss"])
            state.seconds = time.monotonic() - began
            last = state.step == config.steps
            if state.step % 50 == 0 or last:
                values = {name: round(value, 5) for name, value in mean(terms).items()}
                bar.set_postfix(values)
                if first:
                    state.log(folder / "log.jsonl", values)
            if first and (state.step % config.save_every == 0 or last):
                state.save(path)
                stage.sample(state.average.module, folder / "samples" / f"{state.step:06}.png")
    return state.average.module


@contextmanager
def saved_when_stopped(state: Training[Any], path: Path) -> Iterator[None]:
    """Ctrl-C loses no step that is done; one that stops half an update loses those since the last
    checkpoint."""
    try:
        yield
    except KeyboardInterrupt:
        if state.whole and state.step:
            state.save(path)
        raise
