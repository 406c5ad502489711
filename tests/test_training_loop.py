"""The training loop: its steps, its files, and that a killed run ends as one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ldm
from ldm.training.ema import EMA
from ldm.training.loop import TrainConfig, train

CONFIG = TrainConfig(
    steps=40, batch=8, lr=0.1, warmup=4, weight_decay=0.0, clip=10.0, ema=0.9, seed=3, save_every=10
)


@dataclass
class Line:
    """Fits y = 3 x - 1, from examples with noise."""

    module: nn.Linear

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        return {"x": torch.randn(batch, 1, generator=generator)}

    def loss(self, module: nn.Linear, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        x = drawn["x"]
        return {"loss": (module(x) - (3 * x - 1)).square().mean()}

    def sample(self, module: nn.Linear, path: Path) -> None:
        path.write_text(str(module.weight.item()))


def line() -> Line:
    return Line(nn.Linear(1, 1))


def zeroed(module: nn.Linear) -> nn.Linear:
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    return module


def test_the_average_is_the_one_of_its_formula():
    module = zeroed(nn.Linear(1, 1))
    average = EMA(module, decay=0.5)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 4.0]):
        nn.init.constant_(module.weight, value)
        average.update(module, step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
    assert average.module.weight.item() == pytest.approx(expected)


def test_the_learning_rate_rises_then_falls_to_nothing():
    rates = [CONFIG.lr_at(step) for step in range(CONFIG.steps)]
    assert rates[0] == pytest.approx(0.1 / 4)
    assert max(rates) <= 0.1
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.001


def test_training_learns_and_writes_what_it_says(tmp_path):
    config = replace(CONFIG, steps=200)
    average = train(line(), config, tmp_path)
    assert average.weight.item() == pytest.approx(3, abs=0.05)
    assert average.bias.item() == pytest.approx(-1, abs=0.05)
    rows = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [50, 100, 150, 200]
    assert len(list((tmp_path / "samples").iterdir())) == 20
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "log.jsonl", "samples"}


def test_another_config_does_not_take_over_a_folder(tmp_path):
    train(line(), CONFIG, tmp_path)
    with pytest.raises(ValueError, match="was trained with"):
        train(line(), replace(CONFIG, lr=0.2), tmp_path)


def test_a_loss_that_is_not_a_number_stops_it(tmp_path):
    stage = line()
    nn.init.constant_(stage.module.weight, torch.nan)
    with pytest.raises(FloatingPointError, match="step 0"):
        train(stage, CONFIG, tmp_path)


def test_ctrl_c_loses_no_step(tmp_path):
    class Stopped(Line):
        left = CONFIG.save_every + 3

        def loss(self, module, drawn):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            return super().loss(module, drawn)

    whole = train(Line(zeroed(nn.Linear(1, 1))), CONFIG, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Stopped(zeroed(nn.Linear(1, 1))), CONFIG, tmp_path / "stopped")
    assert torch.load(tmp_path / "stopped/state.pt")["step"] == CONFIG.save_every + 3
    again = train(Line(zeroed(nn.Linear(1, 1))), CONFIG, tmp_path / "stopped")
    assert torch.equal(again.weight, whole.weight)


KILLED = """
import sys, torch
from pathlib import Path
sys.path[:0] = {paths!r}
from test_training_loop import CONFIG, Line, zeroed
from ldm.training.loop import train
class Slow(Line):
    def loss(self, module, drawn):
        import time; time.sleep(0.02)
        return super().loss(module, drawn)
train(Slow(zeroed(torch.nn.Linear(1, 1))), CONFIG, Path({folder!r}))
"""


def test_a_killed_run_ends_as_one_that_was_not(tmp_path):
    whole = train(Line(zeroed(nn.Linear(1, 1))), CONFIG, tmp_path / "whole")
    folder, paths = (
        tmp_path / "killed",
        [str(Path(__file__).parent), str(Path(ldm.__file__).parents[1])],
    )
    script = KILLED.format(paths=paths, folder=str(folder))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.DEVNULL, env=environment
    )
    while not (folder / "state.pt").exists() and child.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.4))
    child.send_signal(signal.SIGKILL)
    child.wait()
    state = torch.load(folder / "state.pt", weights_only=True)
    assert 10 <= state["step"] <= 40
    resumed = train(Line(zeroed(nn.Linear(1, 1))), CONFIG, folder)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
