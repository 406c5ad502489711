"""Drawing as events, to which the command line is only one listener."""

import argparse

import numpy as np
import pytest

from ldm.cli.output import Output
from ldm.images.files import read_text
from ldm.pipeline.batches import draw, plan
from ldm.pipeline.events import Finished, Preview, Stepped
from ldm.request import Request

REQUEST = Request(("a cat", "do"), seed=5, steps=5)


@pytest.fixture
def events(tiny):
    """What happens while two pictures are drawn with a preview after every second step."""
    (job,) = plan(tiny, [REQUEST], 2)
    return list(draw(tiny, job, preview_every=2))


@pytest.fixture
def options(tmp_path):
    """The least that Output asks for: a folder."""
    return argparse.Namespace(outdir=tmp_path / "out")


def test_steps_previews_and_pictures_come_in_their_order(events):
    previews = [Preview, Preview]
    kinds = [Stepped, Stepped, *previews, Stepped, Stepped, *previews, Stepped, Finished, Finished]
    assert [type(event) for event in events] == kinds
    assert [event.step.index for event in events if isinstance(event, Stepped)] == [0, 1, 2, 3, 4]
    seen = [(event.index, event.steps) for event in events if isinstance(event, Preview)]
    assert seen == [(0, 2), (1, 2), (0, 4), (1, 4)]


def test_a_finished_picture_comes_with_the_request_that_draws_it_alone(events, tiny):
    made = [event for event in events if isinstance(event, Finished)]
    assert [(event.index, event.request.prompt, event.request.seed) for event in made] == [
        (0, "a cat", 5),
        (1, "do", 6),
    ]
    for event in made:
        (again,) = tiny.generate(event.request)
        difference = np.asarray(again).astype(int) - np.asarray(event.image).astype(int)
        assert np.abs(difference).max() <= 1


def test_without_a_wish_for_previews_there_are_none_and_the_pictures_are_the_same(events, tiny):
    (job,) = plan(tiny, [REQUEST], 2)
    bare = list(draw(tiny, job))
    assert [type(event) for event in bare] == [Stepped] * 5 + [Finished] * 2
    for one, other in zip(bare[-2:], events[-2:], strict=True):
        np.testing.assert_array_equal(np.asarray(one.image), np.asarray(other.image))


def test_of_a_picture_that_is_kept_alone_the_events_are_its_own(tiny):
    request = Request(("a cat", "do", "cat"), seed=5, steps=2, compat="comfyui", only=1)
    (job,) = plan(tiny, [request], 9)
    events = list(draw(tiny, job, preview_every=1))
    assert [type(event) for event in events] == [Stepped, Preview, Stepped, Preview, Finished]
    assert {event.index for event in events if not isinstance(event, Stepped)} == {0}
    assert events[-1].request == job.request
    all_of_them = list(draw(tiny, plan(tiny, [Request(**{**vars(request), "only": None})], 9)[0]))
    np.testing.assert_array_equal(np.asarray(events[-1].image), np.asarray(all_of_them[-2].image))


def test_output_only_listens(tiny, options, capsys):
    """It saves what an event brings, as it is, and asks no model for anything."""
    (job,) = plan(tiny, [REQUEST], 2)
    made = [event for event in draw(tiny, job) if isinstance(event, Finished)]
    output = Output(options)
    for _ in output.batches(tiny, [job]):
        assert capsys.readouterr().out == "device cpu, torch.float32, as it was built\n"
        output.take(made[1])
        path = options.outdir / "samples/00001.png"
        assert capsys.readouterr().out == f"{path}\n"
        assert Request.from_json(read_text(path)["ldm"]) == made[1].request
        assert [file.name for file in path.parent.iterdir()] == ["00001.png"]


def test_drawing_asks_for_no_output(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (job,) = plan(tiny, [REQUEST], 2)
    assert len(list(draw(tiny, job, preview_every=1))) == 5 + 10 + 2
    assert (*capsys.readouterr(), list(tmp_path.iterdir())) == ("", "", [])
