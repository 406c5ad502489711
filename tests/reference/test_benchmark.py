"""The benchmark, with a small model: it runs, and the two do the same there."""

import json
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from small_models import both

import ldm
from helpers import TINY
from small_families import SDXL

SCRIPTS = Path(__file__).parents[2] / "scripts"
CPU = torch.device("cpu"), torch.float32


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        spec = spec_from_file_location("benchmark", SCRIPTS / "benchmark.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        for name in ("computing", "growth", "measuring", "vram"):
            setattr(module, name, import_module(f"benchmarking.{name}"))
        yield module


@pytest.fixture(scope="module")
def family():
    """The tiny one, with a text encoder whose words diffusers knows."""
    (text,) = TINY.text
    return replace(TINY, text=(replace(text, vocabulary=49408, length=77),))


def test_every_row(script, family):
    names = [name for name in script.NAMES if name != "import"]
    *rows, lora, applied = script.benchmark(family, names, *CPU, 32, 1, steps=3)
    assert (lora.name, [*lora.values], applied.name) == ("lora", ["ldm", "without"], "applied")
    assert min(*lora.values.values(), *applied.values.values()) > 0
    tasks = ["step", "text", "encode", "decode", "picture", "whole"]
    assert [row.name for row in rows] == ["load", "memory", *tasks]
    for row in rows:
        assert min(row.values.values()) > 0
        assert len(row.lines().split()) >= 6
    for row in rows[2:]:
        pictures = row.name in ("picture", "whole")
        assert row.difference <= (1 if pictures else 1e-4), "pictures of 8 bits"
        assert [*row.memory] == ["ldm", "diffusers"]
        assert all(0 <= gigabytes < 1 for gigabytes in row.memory.values())


def test_peers_do_what_diffusers_does(script, family):
    """channels_last always, OpenVINO where it is installed; compiled takes a compiler and minutes:
    its networks are diffusers'."""
    peers = [name for name in ("channels_last", "openvino") if not script.lacking(name, *CPU)]
    step, decode = script.benchmark(family, ["step", "decode"], *CPU, 32, 1, peers)
    assert [*step.values] == [*decode.values] == ["ldm", "diffusers", *peers]
    assert f"\n  {peers[-1]}" in step.lines()


@pytest.mark.parametrize("peer", ["channels_last", "openvino"])
def test_their_results_are_the_same(script, share_weights, tiny_tokenizer, monkeypatch, peer):
    if script.lacking(peer, *CPU):
        pytest.skip(script.lacking(peer, *CPU))
    monkeypatch.setattr(script.computing, "PROMPT", "cat do")
    pipe, ours = pipeline_and_ours(share_weights, tiny_tokenizer)
    expected = script.computations(ours, pipe, 32)
    found = script.computations(ours, pipe, 32, script.PEERS[peer](pipe, torch.float32, Path()))
    with torch.no_grad():
        for name in ("step", "decode"):
            difference = (found[name][1]() - expected[name][1]()).abs().max()
            assert difference <= 1e-3 * expected[name][1]().abs().max(), name


def test_what_cannot_be_measured_says_why(script):
    assert "on the CPU" in script.lacking("openvino", torch.device("cuda"), torch.float16)
    assert "on the CPU" in script.lacking("sdcpp", torch.device("cuda"), torch.float16)
    assert script.lacking("channels_last", *CPU) is None


def test_medians_leave_out_the_first_run(script):
    ours, theirs = iter([100, 1, 2, 9]), iter([100, 4, 4, 5])
    assert script.by_turns([lambda: next(ours), lambda: next(theirs)], 3).tolist() == [[2], [4]]


def test_memory_is_what_a_run_takes_beyond_what_is_there(script):
    if not script.measuring.STATM.exists():
        pytest.skip("this system does not say")
    kept = torch.ones(25_000_000)
    taken = script.memory(lambda: torch.ones(50_000_000).sum(), CPU[0])
    assert 0.15 < taken < 0.35, "0.2 GB, and not the 0.1 that is there"
    assert script.memory(lambda: kept.sum(), CPU[0]) < 0.05


def test_work_is_counted_as_by_hand(script, family):
    """A network of one convolution more takes as much more; twice the batch twice as much; and four
    times the pixels four times, but for attention and what is of no size."""
    count = script.growth.teraflops
    one, two, large = count(family, 32, 1), count(family, 32, 2), count(family, 64, 1)
    assert two == pytest.approx(2 * one, rel=0.02)
    assert 3.8 < large / one < 6
    assert count(ldm.FAMILIES["sd1"], 512, 1) == pytest.approx(1.6, rel=0.1)


def test_the_whole_report_and_its_files(script, family, tmp_path, monkeypatch, capsys):
    """All that a GPU is asked, small: it writes numbers and figures that can be read."""
    tiny = replace(family, name="sd1"), replace(family, name="sdxl")
    monkeypatch.setattr(ldm, "FAMILIES", {one.name: one for one in tiny})
    monkeypatch.setattr(script, "REPORT", (("sd1", 32), ("sdxl", 48)))
    monkeypatch.setattr(script, "SIZES", (16, 32))
    monkeypatch.setattr(script, "BATCHES", (1, 2))
    monkeypatch.setattr(script, "TARGETS", ())
    monkeypatch.chdir(tmp_path)
    flags = "--report --device cpu --repeats 1 --steps 2 --peers channels_last"
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *flags.split()])
    script.main()
    found = json.loads((tmp_path / "report.json").read_text())
    assert {"device", "cpu", "card", "dtype", "threads", "versions"} <= found["machine"].keys()
    assert found["machine"]["versions"]["torch"] == torch.__version__
    rows = [row["name"] for row in found["rows"]]
    for family, size in (("sd1", 32), ("sdxl", 48)):
        assert {f"{family} {size} {name}" for name in ("step", "decode", "whole")} <= {*rows}
    sides = [(point["size"], point["batch"]) for point in found["growth"]]
    assert sides == [(16, 1), (32, 1), (32, 1), (32, 2)]
    for name in ("report.svg", "report-growth.svg"):
        text = "".join(ElementTree.parse(tmp_path / name).getroot().itertext())
        assert torch.__version__ in text
    assert "TFLOP/s" in capsys.readouterr().out


def test_pictures_within_a_memory_are_drawn_by_the_command(script, monkeypatch, tmp_path, capsys):
    asked, said = [], ["1 picture of 512 x 512 by x: euler; 3.2 s, at most 2.38 GB", ""]

    def command(line, **_):
        asked.append(line[1:])
        return CompletedProcess(line, 0, said.pop(0), "no")

    monkeypatch.setattr(script.vram.subprocess, "run", command)
    (row,) = script.held_down(tmp_path / "x.safetensors", "sd1", 512, 2.8, "cuda")
    assert (row.name, row.unit, row.values) == ("sd1 512 vram", "GB", {"ldm": 2.38, "asked": 2.8})
    flags = " ".join(asked[0])
    assert "-m ldm txt2img" in flags
    assert "--W 512 --H 512 --device cuda" in flags
    assert "--vram 2.8" in flags
    assert not list(script.held_down(tmp_path / "x.safetensors", "sd1", 512, 2.8, "cuda"))
    assert "sd1 in 2.8 GB: no" in capsys.readouterr().err


def test_what_does_not_begin_in_time_is_left_out_and_said(script, family, capsys):
    assert not list(script.report([(family, 32)], *CPU, [], 1, minutes=-1))
    assert f"left out, as the time is over: {family.name}" in capsys.readouterr().err


def pipeline_and_ours(share_weights, tiny_tokenizer):
    models = both(SDXL, tiny_tokenizer, share_weights)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    ddim = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    return models.pipeline(StableDiffusionXLPipeline, DDIMScheduler(**betas, **ddim)), models.ours


def test_sdxl_is_asked_for_the_same(script, share_weights, tiny_tokenizer, monkeypatch):
    monkeypatch.setattr(script.computing, "PROMPT", "cat do")  # as long as theirs reads
    assert script.pipeline_of(SDXL) == "StableDiffusionXLPipeline"
    pipe, model = pipeline_and_ours(share_weights, tiny_tokenizer)
    for name, (ours, theirs) in script.computations(model, pipe, 32, steps=5).items():
        with torch.no_grad():
            difference = (ours().float() - theirs().float()).abs().max()
        assert difference <= (1 if name in ("picture", "whole") else 1e-4), name
