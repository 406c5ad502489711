"""Training in two processes: what they learn is what one learns, but for rounding."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ldm.runtime.distributed import Processes, processes
from ldm.training.loop import train
from ldm.training.parallel import SharedLoss
from ldm.training.recipe import STAGES, changed
from ldm.training.run import run
from ldm.training.shapes.scenes import Scenes
from test_scripts import ROOT
from test_training import tiny
from test_training_loop import CONFIG, Line

# A batch that two cannot share equally, in two parts that a checkpoint lies between.
UNEVEN = replace(CONFIG, batch=5, steps=25, lr=0.02)


class Uneven(Line):
    """A Line whose examples are of very different sizes: the mean of two means is another one."""

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        x = super().draw(batch, generator)["x"].double()
        return {"x": x * torch.arange(1, batch + 1)[:, None]}


def uneven() -> Uneven:
    torch.manual_seed(0)
    return Uneven(torch.nn.Linear(1, 1).double())


def both(folder: Path) -> None:
    """A small stage, and all of a recipe's, into a folder."""
    train(uneven(), UNEVEN, folder / "line")
    changes = ["vae.batch=8", *(f"{stage}.save_every=6" for stage in STAGES)]
    saved_once = changed(tiny(), changes)
    run(saved_once, Scenes(32, 32), folder / "recipe", sample_prompts=["a star"])


def rows(path: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: row[name] for name in row if name != "seconds"} for row in found]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What one process wrote, and two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    both(one)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    paths = f"{ROOT}:{Path(__file__).parent}"
    done = subprocess.run(
        [sys.executable, *command, str(two)],
        env={"PYTHONPATH": paths, "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return one, two, done.stderr


def test_two_processes_learn_what_one_does(folders):
    """In float64. Parts that are not weighed by their size, other batches, or gradients that are
    clipped before they are summed end elsewhere."""
    one, two = (torch.load(folder / "line/state.pt", weights_only=True) for folder in folders[:2])
    assert one["step"] == two["step"] == UNEVEN.steps
    for kind in ("module", "average"):
        for name, weight in one[kind].items():
            torch.testing.assert_close(two[kind][name], weight, rtol=1e-9, atol=1e-12)


def test_their_files_have_the_names_and_the_losses_of_one(folders):
    one, two, _ = folders
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in (one, two)]
    assert files[0] == files[1]
    stages = [path.relative_to(one) for path in one.rglob("log.jsonl")]
    assert len(stages) == 1 + 6
    for path in stages:
        for ours, theirs in zip(rows(one / path), rows(two / path), strict=True):
            assert theirs == pytest.approx(ours, rel=0.01, abs=2e-3), path


def test_one_of_them_shows_its_progress(folders):
    titles = [f"stage {i} of 6" for i in range(1, 7)]
    ends = {title: folders[2].count(f"{title}, ") and folders[2].count("6/6") for title in titles}
    assert all(ends.values())
    assert folders[2].count("100%") < 2 * (6 + 2)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_parts_of_a_batch_weigh_as_much_as_their_examples(size):
    """Their mean is that of the whole."""
    stage = uneven()
    drawn = stage.draw(5, torch.Generator().manual_seed(1))
    part, total = SharedLoss(stage.module, stage.loss), 0.0
    for rank in range(size):
        part.team = Processes(rank, size)
        total += part(drawn)["loss"].item() / size
    assert total == pytest.approx(stage.loss(stage.module, drawn)["loss"].item())
    part.team = Processes(0, 6)
    with pytest.raises(ValueError, match="a batch of 5 is too small for 6 processes: start fewer"):
        part(drawn)


if __name__ == "__main__":
    with processes():
        both(Path(sys.argv[1]))
