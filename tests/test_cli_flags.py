"""What the flags mean, before anything is drawn."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm.cli import parser
from ldm.cli.draw import requested
from ldm.cli.flags import add_request_flags
from ldm.cli.help import PROMPT
from ldm.cli.lines import LineParser, read_line
from ldm.cli.requests import pictures
from ldm.cli.values import Axis, axis
from ldm.pipeline.batches import merged
from ldm.request import Request


def asked(line):
    return requested(parser().parse_args(shlex.split(line)))


def one(line):
    """The only picture asked for."""
    (picture,) = asked(f"{line} --n_iter 1 --n_samples 1")
    return picture


def test_defaults_are_compviss():
    options = parser().parse_args(["txt2img"])
    assert requested(options) == Request(PROMPT, seed=42, count=6).split(1)
    assert (str(options.outdir), options.n_iter, options.n_samples) == (
        "outputs/txt2img-samples",
        2,
        3,
    )
    options = parser().parse_args(["img2img", "--init-img", "a.png"])
    assert requested(options) == Request(PROMPT, count=2, image="a.png").split(1)
    assert (str(options.outdir), options.n_iter, options.n_samples) == (
        "outputs/img2img-samples",
        1,
        2,
    )
    assert PROMPT == "a painting of a virus monster playing guitar"
    assert one("img2img --init-img a.png --ckpt sd.ckpt").guidance_scale is None  # the model's
    assert one("img2img --init-img a.png --ckpt sd.ckpt --scale 0").guidance_scale == 0


def test_flags_become_fields():
    line = (
        "txt2img --prompt 'a cat' --negative_prompt ugly --ddim_steps 7 --scale 0 --ddim_eta 0.5 "
        "--seed 0 --H 64 --W 128 --sampler ddim --schedule karras --n_iter 2 --n_samples 2"
    )
    request = Request(
        prompt="a cat", negative="ugly", seed=0, width=128, height=64, count=4, steps=7,
        sampler="ddim", schedule="karras", eta=0.5, guidance_scale=0.0,
    )  # fmt: skip
    assert asked(line) == request.split(1)
    assert one("txt2img --steps 9").steps == 9
    assert one("img2img --init-img a.png --strength 0 --exact_steps").full_steps is True


def test_old_names_of_samplers():
    assert one("txt2img --plms").sampler == "plms"
    assert (one("txt2img --dpm_solver").sampler, one("txt2img --dpm_solver").schedule) == (
        "dpm_solver",
        None,
    )
    assert one("txt2img --dpm_solver --schedule karras").schedule == "karras"


# Lines of a file


def test_prompts_from_a_file(tmp_path):
    (tmp_path / "prompts.txt").write_text("one\n\nthrée\n", encoding="utf-8")
    made = asked(f"txt2img --from-file {tmp_path}/prompts.txt --n_iter 2 --n_samples 2")
    assert [picture.prompt for picture in made] == ["one", "thrée"] * 2
    assert [picture.seed for picture in made] == list(range(42, 46))


FLAGS = LineParser(add_help=False, allow_abbrev=False)
add_request_flags(FLAGS, from_image=True)


def line(text):
    return read_line(text, FLAGS)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a red star --steps 30 --seed 7", {"prompt": "a red star", "steps": 30, "seed": 7}),
        ('the cat\'s "toy" --scale=5', {"prompt": 'the cat\'s "toy"', "guidance_scale": 5.0}),
        (
            "rock 'n' roll --negative_prompt \"it's ugly\"",
            {"prompt": "rock 'n' roll", "negative": "it's ugly"},
        ),
        ("  spaces stay  ", {"prompt": "  spaces stay  "}),
        ("a well--known place -- at dusk - 1", {"prompt": "a well--known place -- at dusk - 1"}),
        ('--prompt "one --ar 2" --H 8', {"prompt": "one --ar 2", "height": 8}),
        ("--seed 3", {"seed": 3}),
        (
            "ship --init-img 'my harbour.png' --strength 0.4",
            {"prompt": "ship", "image": "my harbour.png", "strength": 0.4},
        ),
        ("", {"prompt": ""}),
    ],
)
def test_a_line_is_a_prompt_and_its_flags(text, fields):
    assert line(text) == fields


@given(st.text().filter(lambda text: "--" not in text))
def test_any_text_without_flags_is_a_prompt(text):
    assert line(text) == {"prompt": text}


def test_a_line_may_give_the_picture_of_img2img(tmp_path):
    (tmp_path / "p.txt").write_text("one --init-img a.png\ntwo --init-img b.png\n")
    assert [picture.image for picture in asked(f"img2img --from-file {tmp_path}/p.txt")] == [
        "a.png",
        "b.png",
    ]
    (tmp_path / "p.txt").write_text("one --init-img a.png\ntwo\n")
    with pytest.raises(ValueError, match="give the picture to start from: --init-img FILE"):
        asked(f"img2img --from-file {tmp_path}/p.txt")


def test_flags_of_the_whole_run_are_no_flags_of_a_line(tmp_path):
    for flag in ("--ckpt x", "--outdir=x", "--n_iter 3"):
        (tmp_path / "p.txt").write_text(f"one\n\ntwo --steps 3 {flag}\n")
        told = f"line 3: {flag.split()[0]} holds for all lines"
        with pytest.raises(ValueError, match=told):
            asked(f"txt2img --from-file {tmp_path}/p.txt")


# Seeds, grids, batches


def test_seeds_go_on_or_begin_again():
    lines = [{}, {"seed": 9}, {}]

    def seeds(fixed):
        return [picture.seed for picture in pictures({"seed": 1}, lines, 2, fixed)]

    assert seeds(None) == [1, 9, 3, 4, 10, 6]
    assert seeds(3) == [1, 9, 3, 1, 9, 3]
    assert seeds(2) == [1, 9, 1, 1, 9, 1]
    assert [picture.seed for picture in pictures({}, [{}], 2)] == [42, 43]


def test_axes():
    assert axis("ddim_steps=10, 20") == Axis("steps", (10, 20))
    assert axis("negative_prompt=ugly").labels == ["negative ugly"]
    made = pictures({"prompt": "a"}, [{}], 1, None, [axis("steps=1,2"), axis("scale=3,4")])
    assert [(picture.steps, picture.guidance_scale) for picture in made] == [
        (1, 3),
        (2, 3),
        (1, 4),
        (2, 4),
    ]
    assert {picture.seed for picture in made} == {42}


def test_a_grid_has_one_picture_at_each_point_unless_more_are_asked_for():
    assert len(asked("txt2img --vary steps=1,2")) == 2
    assert len(asked("txt2img --vary steps=1,2 --n_samples 3")) == 6


def test_batches_are_the_inverse_of_split():
    request = Request(("a", "b"), "ugly", seed=5, count=3)
    for size in (1, 2, 4, 100):
        made = merged(request.split(1), size)
        assert [part.total for part in made] == [part.total for part in request.split(size)]
        assert [picture for part in made for picture in part.split(1)] == request.split(1)


def test_the_greatest_seed():
    assert one(f"txt2img --seed {2**64 - 1}").seed == 2**64 - 1
    last, first = Request("a", seed=2**64 - 1), Request("a", seed=0)
    assert merged([last, first], 9) == [last, first]


def test_pictures_that_differ_in_more_than_prompt_and_seed_are_apart():
    base = Request("a", seed=1, steps=5)
    others = [
        Request("b", seed=2, steps=5),
        Request("c", seed=3, steps=6),
        Request("d", seed=5, steps=6),
    ]
    assert [part.prompts for part in merged([base, *others], 9)] == [("a", "b"), ("c",), ("d",)]
