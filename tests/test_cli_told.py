"""What is told before and while pictures are drawn, and what is left unsaid."""

from dataclasses import replace

import pytest
from PIL import Image

from helpers import names, request_in
from ldm.cli.costs import advice, attention_seconds, duration
from ldm.cli.help import PROMPT
from ldm.request import Request

ONE = "--n_iter 1 --n_samples 1 --skip_grid --outdir out"


@pytest.mark.parametrize("line", ["txt2img --W 17", "img2img --init-img none.png", "txt2img --f 8"])
def test_the_device_is_not_told_before_an_error(run, line):
    code, out, error = run(line)
    assert (code, out, error.count("\n")) == (2, "", 1)


def test_a_prompt_that_nobody_gave_is_told(run, tmp_path):
    said = f"no --prompt is given, and CompVis's default is drawn: {PROMPT!r}\n"
    assert said in run(f"txt2img {ONE}")[1]
    assert request_in(tmp_path / "out/samples/00000.png").prompt == PROMPT
    (tmp_path / "lines.txt").write_text("a cat\n")
    for given in ("--prompt cat", "--from-file lines.txt", "--prompt ''"):
        assert "no --prompt" not in run(f"txt2img {given} {ONE}")[1]
    assert "no --prompt" not in run("replay out/samples/00000.png")[1]


@pytest.mark.parametrize(("side", "times"), [(32, None), (34, "5"), (160, "100")])
def test_a_size_far_from_that_of_training_is_told(run, side, times):
    for end in ("--steps 1", "--dry_run"):
        _, out, error = run(f"txt2img --prompt x --W {side} --H {side} {ONE} {end}")
        told = f"{side} x {side} is {times} times the area that the model was trained on, 16 x 16"
        assert (told in error) == (times is not None), error
        factor = -(-side // 16)
        advised = f"; --hires {min(factor, 16)} with --W 16 --H 16 draws 16 x 16 and enlarges it"
        assert (advised in error) == (times is not None)
        assert "--tile" not in error
        assert "1 picture of" in out
    assert "times the area" not in run(f"txt2img --prompt x --W 160 --tile 16 {ONE} --dry_run")[2]


def test_tiles_are_advised_where_one_is_no_whole_scene(tiny):
    job = tiny.resolve(Request("x", width=160, height=160))
    assert advice(job, 512) == "; --tile 512 draws in tiles"
    assert advice(replace(job, request=replace(job.request, hires=4.0)), 16) == ""


def test_hours_are_told_before_they_pass(run, monkeypatch, tiny):
    monkeypatch.setattr("ldm.cli.costs.attention_seconds", lambda unet, height, width: 4500.0)
    error = run(f"txt2img --prompt x --W 160 --H 160 {ONE} --dry_run")[2]
    assert "16 x 16: a step will take about 2.5 hours for its attention alone; --hires" in error
    assert [duration(n) for n in (45, 600, 9000)] == [
        "about 45 seconds",
        "about 10 minutes",
        "about 2.5 hours",
    ]
    small, large = (min(attention_seconds(tiny.unet, n, n) for _ in range(9)) for n in (64, 256))
    assert 64 < large / small < 1024  # 256, the square of the tokens, on a quiet machine


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("img2img --init-img in.png", "a picture of 50 x 37 becomes 48 x 36: "),
        ("img2img --init-img in.png --W 40", "a picture of 50 x 37 becomes 40 x 36: "),
        ("img2img --init-img in.png --W 40 --H 40", None),
        ("img2img --init-img even.png", None),
        ("upscale --init-img in.png --upscale 1.5", "75 x 55.5 becomes 76 x 56: "),
        ("upscale --init-img in.png --upscale 2 --H 76", None),
        ("upscale --init-img even.png --upscale 2", None),
        ("outpaint --init-img in.png --left 7", None),
        ("inpaint --init-img in.png --mask in.png", None),
    ],
)
def test_another_size_than_that_of_the_picture_is_told(run, tmp_path, line, told):
    Image.new("RGB", (50, 37), "white").save("in.png")
    Image.new("RGB", (48, 36), "white").save("even.png")
    code, _, error = run(f"{line} --prompt x --steps 1 --tile 16 {ONE}")
    assert code == 0
    lines = [one for one in error.splitlines() if "becomes" in one]
    if told is None:
        assert lines == []
    else:
        (only,) = lines
        assert told in only
        assert "multiples of 4; give width and height for others" in only
    width, height = Image.open("out/samples/00000.png").size
    assert told is None or f"becomes {width} x {height}: " in told


@pytest.mark.parametrize("kind", ["png", "webp", "jpg"])
def test_a_picture_is_replayed_into_a_file_of_its_kind(run, tmp_path, kind):
    run(f"txt2img --prompt x --steps 1 {ONE} --format {kind}")
    (tmp_path / f"out/samples/00000.{kind}").rename(tmp_path / f"x.{kind.upper()}")
    assert run(f"replay x.{kind.upper()} --outdir again")[0] == 0
    assert names(tmp_path / "again/samples") == [f"00000.{kind}"]
    assert Image.open(f"again/samples/00000.{kind}").format.lower().startswith(kind[0])
    assert run(f"replay x.{kind.upper()} --outdir again --format jpeg")[0] == 0
    assert names(tmp_path / "again/samples")[1:] == ["00001.jpg"]


def test_show_leaves_out_what_no_pass_had(run):
    run(f"txt2img --prompt x --steps 1 {ONE}")
    run(f"txt2img --prompt x --steps 1 --hires 2 --hires_strength 0.3 {ONE}")
    assert "hires" not in run("show out/samples/00000.png", ckpt=False)[1]
    out = run("show out/samples/00001.png", ckpt=False)[1]
    assert "hires: 2.0\n" in out
    assert "hires_strength: 0.3\n" in out


def test_logs_are_free_of_bars(run, monkeypatch):
    assert run(f"txt2img --prompt x --steps 4 {ONE}")[2] == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert "4/4" in run(f"txt2img --prompt x --steps 4 {ONE}")[2]


@pytest.mark.parametrize(
    ("flag", "ours"),
    [
        ("--dtype fp32", "float32: as asked"),
        ("--dtype FP16", "float16: as asked"),
        ("--dtype=half", "float16: as asked"),
        ("--dtype bf16", "bfloat16: as asked"),
        ("--dtype torch.float32", "float32: as asked"),
        ("--format JPEG", ".jpg"),
        ("--format=jpeg", ".jpg"),
        ("--prediction epsilon", "1 picture of"),
        ("--prediction v-prediction", "1 picture of"),
    ],
)
def test_names_as_people_spell_them(run, flag, ours):
    code, out, error = run(f"txt2img --prompt half --dry_run {flag} {ONE}")
    assert (code, ours in out) == (0, True), error
    assert "'half'" in out  # no value of another flag is touched
