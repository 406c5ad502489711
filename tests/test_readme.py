"""What the README shows runs as it stands, and what it says of itself is so."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ldm
from ldm.cli import parse
from ldm.clip.vocabulary import words
from ldm.samplers import SAMPLERS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_every_line_of_python_runs(tmp_path, monkeypatch, capsys):
    """One block after the other, in an empty folder, with the built-in model."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    assert code.count("\n") > 30
    known = set(SAMPLERS)
    try:
        namespace = {}
        exec(compile(code, "README.md", "exec"), namespace)
    finally:
        for name in set(SAMPLERS) - known:
            del SAMPLERS[name]
    assert namespace["images"][0].size == (64, 64)
    assert namespace["pictures"].shape == namespace["preview"].shape == (1, 3, 64, 64)
    assert "loadable    yes" in capsys.readouterr().out


def test_every_command_is_understood():
    lines = [
        line.partition("  #")[0].strip()
        for block in blocks("sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    commands = [part for line in lines for part in line.split(" && ") if part.startswith("ldm ")]
    assert len(commands) > 10
    for command in commands:
        parse(shlex.split(command)[1:])


def test_the_words_of_the_built_in_model_are_listed():
    listed = re.search(r"knows these words: ([^.]+)\.", README)[1].split(",")
    known = words(ldm.load(device="cpu").tokenizer)
    assert {word.strip() for word in listed} == {
        *known,
        "cyan",
    }  # which is two pieces in CLIP's, too


def test_every_link_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) > 20
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_reading_order_has_as_many_lines_as_it_says():
    table = README.partition("## Reading order")[2].partition("Imports point down")[0]
    rows = [line for line in table.splitlines() if re.match(r"\| \d+ ", line)]
    assert len(rows) == 10
    said = re.findall(r"([\d,]+) lines", table)
    assert [lines_of(rows), lines_of(rows[:7])] == [int(one.replace(",", "")) for one in said]


def lines_of(rows):
    """Of all files that the rows of the table link to, in hundreds."""
    links = {link for row in rows for link in re.findall(r"\]\(([^)]+)\)", row)}
    files = {file for link in links for file in files_of(ROOT / link)}
    return round(sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files), -2)


def files_of(path):
    return path.glob("*.py") if path.is_dir() else [path]


def test_the_minimal_example_makes_the_picture_of_txt2img(tmp_path, monkeypatch):
    """But for a grey level: its weights are not packed, and several threads round otherwise."""
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(ROOT / "examples/minimal.py"))
    (expected,) = ldm.load(device="cpu").txt2img(example["PROMPT"], seed=42)
    drawn = np.asarray(Image.open("minimal.png"), float)
    np.testing.assert_allclose(drawn, np.asarray(expected, float), rtol=0, atol=1)


def test_the_minimal_example_is_short_and_has_no_pipeline():
    text = (ROOT / "examples/minimal.py").read_text(encoding="utf-8")
    program = text.partition("with torch.no_grad():")[2]
    lines = [line for line in program.splitlines() if line.strip()]
    assert len(lines) <= 20
    assert "LatentDiffusion" not in text


@pytest.mark.parametrize("name", ["txt2img", "img2img"])
def test_the_scripts_are_programs_that_can_be_read(name):
    program = (ROOT / f"scripts/{name}.py").read_text(encoding="utf-8").split('"""')[2]
    for word in ("parse", "open_model", "plan", "for job in", "for event in"):
        assert word in program
    assert len(program.splitlines()) <= 40
