"""Training: its losses by hand, its loop, and that a killed run ends as one that was not."""

import json
import math
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
from ldm.clip.tokenizer import Tokenizer
from ldm.training.data import Scenes
from ldm.training.ema import EMA
from ldm.training.encoding import encode_data, latent_scale
from ldm.training.initial import new_text, new_unet, new_vae
from ldm.training.loop import Plan, step_generator, train
from ldm.training.losses import kl_loss, perceptual_loss, reconstruction_loss
from ldm.training.recipes import RECIPES, Recipe, changed
from ldm.training.run import run
from ldm.training.stages import (
    AutoencoderStage,
    DecoderStage,
    TextAndHead,
    TextStage,
    draw_steps,
)

PLAN = Plan(steps=40, batch=8, learning_rate=0.1, warmup=4, weight_decay=0.0, clip=10.0, ema=0.9, seed=3, save_every=10)
STAGES = ("vae", "text", "unet", "reading", "decoder")
TINY = [
    "family.text.width=32",
    "family.text.heads=2",
    "family.text.layers=1",
    "family.unet.context_width=32",
    "family.unet.channels=[32, 64]",
    "family.unet.attention=[false, true]",
    "family.vae.channels=[8, 16]",
    "family.size=32",
    "family.steps=3",
    "scenes=32",
    "crop=16",
    *(f"{stage}.{change}" for stage in STAGES for change in ("steps=6", "batch=4", "save_every=2")),
]


@dataclass
class Line:
    """Fits y = 3 x - 1, from examples with noise."""

    module: nn.Linear

    def loss(self, module: nn.Linear, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        x = torch.randn(batch, 1, generator=generator)
        return {"loss": (module(x) - (3 * x - 1)).square().mean()}

    def sample(self, module: nn.Linear, path: Path) -> None:
        path.write_text(str(module.weight.item()))


def line() -> Line:
    return Line(nn.Linear(1, 1))


def zeroed(module: nn.Linear) -> nn.Linear:
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    return module


def test_losses_by_hand():
    black, grey = torch.full((1, 3, 8, 8), -1.0), torch.zeros(1, 3, 8, 8)
    assert reconstruction_loss(grey, black).item() == pytest.approx(1 + 1)
    assert perceptual_loss(grey, black).item() == 0, "a shade has no edges"
    step = grey.clone()
    step[..., 4:] = 1  # one edge of height 1: in 1 of 7, 1 of 3 and 1 of 1 places across, at three resolutions
    assert perceptual_loss(step, grey).item() == pytest.approx((1 / 7 + 1 / 3 + 1) / 3)
    mean, deviation = torch.tensor([2.0]), torch.tensor([0.5])
    known = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0.0, 1.0)
    )
    assert kl_loss(mean, deviation.square().log()).item() == pytest.approx(known.item())


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


def test_the_rate_rises_then_falls_to_nothing():
    rates = [PLAN.rate(step) for step in range(PLAN.steps)]
    assert rates[0] == pytest.approx(0.1 / 4)
    assert max(rates) <= 0.1
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.001


def test_training_learns_and_writes_what_it_says(tmp_path):
    plan = replace(PLAN, steps=200)
    average = train(line(), plan, tmp_path)
    assert average.weight.item() == pytest.approx(3, abs=0.05)
    assert average.bias.item() == pytest.approx(-1, abs=0.05)
    rows = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [50, 100, 150, 200]
    assert len(list((tmp_path / "samples").iterdir())) == 20
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "log.jsonl", "samples"}


def test_another_plan_does_not_take_over_a_folder(tmp_path):
    train(line(), PLAN, tmp_path)
    with pytest.raises(ValueError, match="another plan"):
        train(line(), replace(PLAN, learning_rate=0.2), tmp_path)


def test_a_loss_that_is_not_a_number_stops_it(tmp_path):
    stage = line()
    nn.init.constant_(stage.module.weight, torch.nan)
    with pytest.raises(FloatingPointError, match="step 0"):
        train(stage, PLAN, tmp_path)


KILLED = """
import sys, torch
from pathlib import Path
sys.path[:0] = {paths!r}
from test_training import PLAN, Line, zeroed
from ldm.training.loop import train
class Slow(Line):
    def loss(self, module, batch, generator):
        import time; time.sleep(0.02)
        return super().loss(module, batch, generator)
train(Slow(zeroed(torch.nn.Linear(1, 1))), PLAN, Path({folder!r}))
"""


def test_a_killed_run_ends_as_one_that_was_not(tmp_path):
    whole = train(Line(zeroed(nn.Linear(1, 1))), PLAN, tmp_path / "whole")
    folder, paths = tmp_path / "killed", [str(Path(__file__).parent), str(Path(ldm.__file__).parents[1])]
    script = KILLED.format(paths=paths, folder=str(folder))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, env=environment)
    while not (folder / "state.pt").exists() and child.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.4))
    child.send_signal(signal.SIGKILL)
    child.wait()
    state = torch.load(folder / "state.pt", weights_only=True)
    assert 10 <= state["step"] <= 40
    resumed = train(Line(zeroed(nn.Linear(1, 1))), PLAN, folder)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def tiny() -> Recipe:
    return changed(RECIPES["shapes64"], TINY)


def test_a_recipe_becomes_a_model_that_draws_and_resumes_to_the_same(tmp_path):
    recipe = tiny()
    data = Scenes(recipe.scenes, recipe.family.size)
    before = torch.get_rng_state()
    path = run(recipe, data, tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before), "training leaves torch's generator alone"
    model = ldm.load(path, device="cpu")
    assert model.family.vae.scale == pytest.approx(latent_scale(model.vae, data), rel=0.02)
    (picture,) = model.txt2img("a red circle", seed=1)
    assert picture.size == (32, 32)

    shorter = replace(recipe, unet=replace(recipe.unet, save_every=4))
    run(shorter, data, tmp_path / "two")
    one, two = (torch.load(tmp_path / name / "unet" / "state.pt", weights_only=True) for name in ("one", "two"))
    assert all(torch.equal(one["average"][name], two["average"][name]) for name in one["average"])


def test_the_text_encoder_learns_what_its_captions_show(tmp_path):
    recipe = tiny()
    data = Scenes(32, 32)
    vae = new_vae(recipe.family.vae, seed=0)
    latents, captions = encode_data(vae, data, batch=20)
    assert latents.shape == (32, 4, 16, 16)
    assert captions == [data[i][1] for i in range(32)]
    tokenizer = Tokenizer.for_words(captions, 32)
    ids = tokenizer(captions)
    latents = latents / latents.float().std()
    text = new_text(replace(recipe.family.text, vocabulary=len(tokenizer)), seed=0)
    stage = TextStage(TextAndHead(text, latents.shape[1:]), vae, latents, ids)
    first = stage.loss(stage.module, 32, step_generator(1, 0))["loss"].item()
    trained = train(stage, replace(recipe.text, steps=60, batch=32, warmup=5, save_every=60), tmp_path)
    assert stage.loss(trained, 32, step_generator(1, 0))["loss"].item() < 0.5 * first


def test_middle_steps_are_drawn_more_often():
    drawn = draw_steps(20_000, 1000, step_generator(0, 0))
    assert set(range(100, 900)) <= set(drawn.tolist()) <= set(range(1000))
    quarters = torch.histc(drawn.float(), bins=4, min=0, max=1000) / 20_000
    outer = 0.5 * math.erfc(math.log(3) / math.sqrt(2))  # a normal variable above the one whose sigmoid is 3/4
    assert quarters.tolist() == pytest.approx([outer, 0.5 - outer, 0.5 - outer, outer], abs=0.015)


def test_the_decoder_stage_leaves_the_latents_alone(tmp_path):
    recipe = tiny()
    data = Scenes(8, 32)
    vae = new_vae(recipe.family.vae, seed=0)
    before = {name: weight.clone() for name, weight in vae.state_dict().items()}
    latents = torch.randn(8, 4, 16, 16)
    after = train(DecoderStage(vae, data, latents, 0.1, 1.0), recipe.decoder, tmp_path).state_dict()
    changed_parts = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed_parts == {"post_quant", "decoder"}


def test_a_vae_learns_to_give_back_its_crops(tmp_path):
    recipe = tiny()
    vae = new_vae(recipe.family.vae, seed=0)
    stage = AutoencoderStage(vae, Scenes(8, 32), crop=16, crops=4, perceptual=1.0, kl=1e-5)
    with torch.no_grad():
        first = stage.loss(vae, 16, step_generator(1, 0))["loss"]
    trained = train(stage, replace(recipe.vae, steps=40, batch=8, warmup=5, save_every=40), tmp_path / "vae")
    with torch.no_grad():
        assert stage.loss(trained, 16, step_generator(1, 0))["loss"] < 0.8 * first


def test_networks_start_as_they_should():
    recipe = tiny()
    unet = new_unet(recipe.family.unet, seed=0)
    x, context = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 32)
    assert torch.equal(unet(x, torch.tensor([1.0, 900.0]), context), torch.zeros(2, 4, 8, 8))
    vae = new_vae(recipe.family.vae, seed=0)
    _, log_variance = vae.moments(torch.zeros(1, 3, 16, 16))
    assert log_variance.mean().item() == pytest.approx(-4, abs=1.5)
    one, two = new_text(recipe.family.text, 1), new_text(recipe.family.text, 1)
    assert torch.equal(one.token.weight, two.token.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("unet.steps", "NAME=VALUE"),
        ("unet.speed=3", "speed"),
        ("unet.steps=many", "must be like"),
        ("family.unet.channels.first=3", "first"),
    ],
)
def test_a_wrong_change_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        changed(RECIPES["shapes64"], [change])


def test_changes():
    recipe = changed(RECIPES["shapes64"], ["unet.steps=7", "gamma=5", "family.unet.channels=[32, 64, 64]"])
    assert (recipe.unet.steps, recipe.gamma, recipe.family.unet.channels) == (7, 5, (32, 64, 64))
