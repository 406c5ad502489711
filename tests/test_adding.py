"""The way from a request to a picture knows nothing of what may be added to a model but what
`Addition` says: a kind is a file of its own and a row of a table."""

import ast
import inspect
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from helpers import build_tiny, latents
from ldm.pipeline import additions
from ldm.pipeline.additions import KINDS, Addition
from ldm.request import Request

PIPELINE = Path(additions.__file__).parent
WAY = ("denoise", "run", "job", "model", "passes", "regions", "batches", "makers/__init__")
KNOWN = "|".join(("lora", "control", "adapter", "embedding", "hypernet"))
ASKED = {"prompt": "a cat", "steps": 3, "seed": 3, "width": 16, "height": 16, "sampler": "euler"}


@pytest.mark.parametrize("name", WAY)
def test_the_way_names_no_addition(name):
    """Neither a module nor a field nor a word of one; but a model has the method `lora`."""
    text = (PIPELINE / f"{name}.py").read_text(encoding="utf-8")
    text = text.replace("generate, steps, lora = drawing.generate, drawing.steps, drawing.lora", "")
    text = text.replace("image_embedding", "unclip")  # a family's own
    found = re.findall(rf"\w*(?:{KNOWN})\w*", text, re.IGNORECASE)
    assert not found
    modules = {row.removeprefix(".") for row in KINDS}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
            assert not names & modules


@pytest.mark.parametrize("module", KINDS)
def test_each_row_is_a_module_that_opens_additions_and_fields_that_there_are(module):
    opened = import_module(module, additions.__package__)
    assert [*inspect.signature(opened.added).parameters] == ["model", "job"]
    kinds = [x for x in vars(opened).values() if isinstance(x, type) and issubclass(x, Addition)]
    assert [
        kind for kind in kinds if hasattr(kind, "called") and kind.__module__ == opened.__name__
    ]
    known = {field.name: field.default for field in fields(Request)}
    assert all(known[name] is None for name in KINDS[module])


def test_a_plain_picture_imports_none(tmp_path):
    code = """
import sys, ldm.cli
ldm.cli.main("txt2img --prompt x --n_iter 1 --n_samples 1 --steps 1 --outdir out".split())
from ldm.pipeline.additions import KINDS
print([name for name in sys.modules if name in ["ldm.pipeline" + row for row in KINDS]
       or name.startswith(("ldm.models.control", "ldm.models.embeddings", "ldm.unet.controlnet",
                           "ldm.models.hypernetworks", "ldm.unet.hypernetwork"))])
"""
    environment = {"PYTHONPATH": str(PIPELINE.parent.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done


class Toy(Addition):
    """An addition that takes part in all that there is."""

    called, setting = "toys", "Toy hashes"

    def __init__(self):
        self.seen = []

    def mixed(self, job):
        return True

    @contextmanager
    def lent(self, job):
        self.seen.append("lent")
        yield
        self.seen.append("given back")

    def reading(self, model):
        self.seen.append("reading")
        return model

    def completing(self, model, job, part, noise):
        def complete(branches, pictures):
            self.seen.append(f"completed {len(branches)}")
            return branches

        return complete

    def around(self, network, model, job, part, clock):
        def halved(x, t, conditioning):
            self.seen.append(f"step {clock.step}")
            return network(x, t, conditioning) / 2

        return halved

    def files(self, model, request):
        return {"bear": "0123"}


@pytest.fixture
def toy(monkeypatch):
    """A kind that a row registers; a field of no other effect asks for it."""
    made = ModuleType("toys")
    made.toys = []
    made.added = lambda model, job: made.toys.append(Toy()) or made.toys[-1]
    monkeypatch.setitem(sys.modules, "toys", made)
    monkeypatch.setitem(KINDS, "toys", ("s_tmin",))
    return made.toys


def test_a_row_takes_an_addition_through_a_whole_drawing(toy):
    """Fails if any place that additions have passes this one over."""
    model = build_tiny()
    plain = latents(model, Request(**ASKED))
    assert not toy
    job = model.resolve(Request(**ASKED, s_tmin=0.0))
    assert job.additions == (toy[0],)
    found = latents(model, job)
    seen = toy[0].seen
    assert (seen[0], seen[-1]) == ("lent", "given back")
    assert seen[1:-1] == ["reading", "completed 2", "step 1", "step 2", "step 3"]
    assert not torch.equal(found, plain)
    assert torch.equal(latents(model, Request(**ASKED)), plain)


def test_it_has_a_say_in_the_split_and_in_what_pictures_keep(toy):
    model = build_tiny()
    images = model.txt2img(["a cat", "a dog"], steps=1, width=16, height=16, s_tmin=0.0, batch=2)
    assert toy[0].seen.count("lent") == 2
    assert all('Toy hashes: "bear: 0123"' in image.info["parameters"] for image in images)
    job = model.resolve(Request(("a cat", "a dog"), s_tmin=0.0, width=16, height=16))
    assert [len(part.prompts) for part in job.split(2)] == [1, 1]


def test_a_refiner_draws_with_it_too(toy):
    model = build_tiny()
    model.refiners["other"] = build_tiny()
    asked = Request(**ASKED, s_tmin=0.0, refiner="other", refiner_start=0.5)
    alone = latents(model, Request(**ASKED, s_tmin=0.0))
    assert torch.equal(latents(model, asked), alone)
