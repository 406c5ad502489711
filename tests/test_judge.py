"""The judge of things: what it learns on, what it says, its file; and the evaluation by it."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from ldm.training.loop import TrainConfig, step_generator, train
from ldm.training.things.collection import Collection, save
from ldm.training.things.evaluation import evaluate, failures, prompts, table
from ldm.training.things.judge import (
    FACE,
    Judge,
    load_judge,
    named_things,
    save_judge,
    seen,
    thing_of,
)
from ldm.training.things.judging import (
    SHARP,
    JudgeStage,
    alone,
    codes,
    disturbed,
    new_judge,
    true_pictures,
)
from small_things import INKS, SIDE, collection

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """One that has learnt the three things of the small collection, by their colours."""
    things = collection()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stage = JudgeStage(Judge(named_things(things), (16, 16)), things)
    config = TrainConfig(60, 24, 5e-3, 5, 0.0, 1.0, 0.9, seed=0, save_every=60)
    return stage.settle(train(stage, config, tmp_path_factory.mktemp("run")), 4, 48)


def test_all_faces_are_one_thing():
    assert named_things(collection()) == {name: name for name in INKS} | {FACE: "person"}


def test_a_judge_is_a_residual_network():
    """The same by hand, of one block: fails if a norm, a shortcut or a relu is missed."""
    judge = Judge({"apple": "apple", FACE: "person"}, (4,)).eval()
    x = torch.randn(2, 3, 16, 16)
    block = judge.blocks[0]

    def convolved(layers, x):
        conv, norm = layers
        assert (norm.running_mean == 0).all()
        return F.conv2d(x, conv.weight, padding=1) / (1 + norm.eps) ** 0.5

    cut = x.view(2, 3, 4, 4, 4, 4).permute(0, 1, 3, 5, 2, 4).reshape(2, 48, 4, 4)
    h = F.relu(convolved(judge.patches, cut))
    h = F.relu(h + convolved(block.second, F.relu(convolved(block.first, h)))).mean((2, 3))
    code, logits = judge(x)
    torch.testing.assert_close(code, judge.code(h))
    torch.testing.assert_close(logits, judge.thing(judge.code(h)))


def test_codes_tell_pictures_apart_and_have_their_alike_nearest():
    """Six styles of a disc in one colour are one picture here."""
    things = collection()
    code = codes(things, 8)
    assert code.shape == (len(things), 8)
    torch.testing.assert_close(code.norm(dim=1), torch.ones(len(things)))
    alike = code @ code.T
    assert alike[:6, :6].min() > 0.999
    assert alike[:6, 6:].max() < 0.9


def test_a_disturbed_picture_is_near_to_what_it_was():
    rng = np.random.default_rng(0)
    pictures = seen([alone(collection(), i, True, rng)[1] for i in (0, 6, 12)])
    worn = disturbed(pictures, step_generator(0, 0))
    assert worn.shape == pictures.shape
    assert worn.abs().max() <= 1
    assert torch.equal(worn, disturbed(pictures, step_generator(0, 0)))
    difference = (worn - pictures).abs().mean()
    assert 0.01 < difference < 0.3


def test_things_that_are_judged_are_large():
    rng = np.random.default_rng(0)
    assert {alone(collection(), 0, False, rng)[0].size for _ in range(60)} == {"", "large"}


def test_a_new_judge_begins_with_the_mean_codes():
    things = collection()
    judge = new_judge(things)
    mean = F.normalize(codes(things, judge.widths[-1])[:6].mean(0), dim=0)
    torch.testing.assert_close(judge.thing.weight[0].detach(), mean)
    assert torch.equal(new_judge(things).code.weight, judge.code.weight)  # of one seed


def test_a_judge_learns_the_things(judge):
    """Their colours alone tell them: that is enough to see whether labels and pictures match."""
    entries, images = true_pictures(collection(), 60)
    right = [g == e.thing for e, g in zip(entries, judge.guesses(images), strict=True)]
    assert np.mean(right) > 0.9
    assert len(images[0]) == SIDE


def test_a_judge_is_kept_in_half_precision(judge, tmp_path):
    path = tmp_path / "judge.safetensors"
    save_judge(path, judge)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    again = load_judge(path)
    assert (again.things, again.widths) == (judge.things, judge.widths)
    _, images = true_pictures(collection(), 20)
    assert again.guesses(images) == judge.guesses(images)
    (tmp_path / "other.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(ValueError, match="is no judge: "):
        load_judge(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"there is no judge .* scripts/train_judge\.py makes one"):
        load_judge(tmp_path / "none.safetensors")


def test_pictures_of_several_sizes_are_refused(judge):
    with pytest.raises(ValueError, match="of several sizes"):
        judge.guesses([np.zeros((16, 16, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)])


def nine_times():
    """The small collection with each thing under nine names, so that pairs of it are held out."""
    small = collection()
    entries = [replace(e, thing=f"{e.thing}{i}") for i in range(9) for e in small.entries]
    return Collection(np.concatenate([small.pictures] * 9), entries, "digest")


def test_prompts_name_the_thing_and_the_style_and_are_those_of_one_side():
    small, things = collection(), nine_times()
    assert 0 < sum(things.held_out) < 20
    trained, held = (prompts(things, 999, 0, held_out) for held_out in (False, True))
    pairs = [{(one.entry.thing, one.entry.style) for one in some} for some in (trained, held)]
    assert not pairs[0] & pairs[1]
    assert len(trained) + len(held) == 9 * 18  # every pair once; faces are not asked for
    assert all(one.entry.names[0] in one.prompt for one in trained)
    assert len(prompts(things, 5, 0, True)) == min(5, len(held))
    with pytest.raises(ValueError, match="none is held out"):
        prompts(small, 5, 0, True)
    assert trained[:3] != prompts(things, 3, 1, False)
    assert [one.prompt for one in trained[:3]] == [p.prompt for p in prompts(things, 3, 0, False)]


def test_true_pictures_are_right_and_others_are_told_as_what_they_are(judge):
    asked = prompts(collection(), 12, 0, False)

    def wrong(texts):
        """A leaf for whatever is asked for."""
        rng = np.random.default_rng(0)
        return [alone(collection(), 6, True, rng)[1] for _ in texts]

    true = evaluate(lambda texts: [one.true for one in asked], judge, asked)
    assert np.mean([result.right for result in true]) > 0.9
    found = evaluate(wrong, judge, asked)
    leaves = sum(one.entry.thing == "leaf" for one in asked)
    assert sum(result.right for result in found) == leaves
    rows = dict(
        re.match(r"(\w.*?)  +(.*)", line).groups() for line in table(found, "x").split("\n")
    )
    count, thing, best = rows["all"].split()
    assert (count, thing) == ("12", f"{leaves / 12:.1%}")
    assert float(best[:-1]) > 90
    page = failures(found, judge, columns=4)
    assert page.width == 4 * 140 + 12
    assert failures([result for result in true if result.right], judge) is None


def test_a_part_of_a_batch_has_a_loss_of_its_own():
    """By formula; fails if a thing is another's, or if the rest of the batch counts."""
    things = collection()
    stage = JudgeStage(Judge(named_things(things), (8,)), things)
    drawn = {name: whole[2:5] for name, whole in stage.draw(6, step_generator(0, 0)).items()}
    terms = stage.loss(stage.module.eval(), drawn)
    code, logits = stage.module(drawn["pictures"])
    names = [thing_of(things.entries[i]) for i in drawn["chosen"]]
    answers = torch.tensor([list(stage.module.things).index(name) for name in names])
    expected = F.cross_entropy(logits, answers, label_smoothing=0.05)
    torch.testing.assert_close(terms["thing"], expected)
    alike = F.cosine_similarity(code[:, None], stage.codes[drawn["chosen"]], dim=2)
    same = -(SHARP * alike).log_softmax(1).diagonal().mean()
    torch.testing.assert_close(terms["same"], same)
    torch.testing.assert_close(terms["loss"], expected + same)


def test_the_scripts_train_a_judge_and_ask_it(tmp_path, tiny_file):
    """Fails if what the one writes the other cannot read."""
    things, out = tmp_path / "things.safetensors", tmp_path / "judge.safetensors"
    small = nine_times()
    save(things, list(small.pictures), small.entries)

    def script(name, *flags):
        command = [sys.executable, SCRIPTS / name, "--things", things, *map(str, flags)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    table = script("train_judge.py", "--out", out, "--folder", "run", "--steps", 2, "--count", 9)
    assert table.split()[:2] == ["pictures", "thing"]
    assert load_judge(out).things == named_things(small)
    flags = "--set", "things", "--judge", out, "--ckpt", tiny_file, "--steps", 1, "--count", 1
    told = script("evaluate.py", *flags)
    for title in ("trained pairs", "held-out pairs"):
        assert re.search(rf"^{title} +pictures +thing +true thing$", told, re.M)
