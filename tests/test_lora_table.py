"""Which kinds of LoRA are read for which families; and the page that says it.

    python tests/test_lora_table.py

writes the page, ldm/models/lora/README.md.
"""

import argparse
import tempfile
from pathlib import Path

import pytest
import torch

import loras
from ldm.models.families import FAMILIES
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.models.lora.kinds import KINDS
from tiny_families import SMALL, random_model

README = Path(__file__).parent.parent / "ldm/models/lora/README.md"
NAMES = "sd1", "sd1-inpainting", "sd2", "sdxl", "sdxl-refiner"
BASE = {"sd1-inpainting": "sd1"}  # what a file for it is also for
PAGE = """# Which kinds of LoRA are read, for which families

Computed by `tests/test_lora_table.py`, which writes this page, and as a test compares it. For each
kind and each family there is a file of attention with and without the text, projections, a
convolution, and layers of the text encoders.

- *recognised*: of the family's full sizes, the file is told to be of the kind; so is the family.
- *applied*: on a small model of the family, every layer of it changes the weights, and taken back
  they are the same bits.
- *refused by*: the models of the other families for which it is an error, which names the family
  that the file is for.

| kind | recognised | applied | refused by |
|---|---|---|---|
{rows}

What each computes stands in [`kinds.py`](kinds.py), [`rotation.py`](rotation.py) and
[`dora.py`](dora.py), each formula with its paper; the [tests](../../../tests/test_lora_kinds.py)
evaluate it once more by hand, and compare it with lycoris-lora and with diffusers and peft. The
strength multiplies the change of a weight, whatever the kind; only DoRA's, which programs
understand differently, follows `--compat`.
"""


def recognised(name, kind, path):
    family = FAMILIES[name]
    loras.write(path, loras.tensors(family, kind))
    found = read_lora(path)
    assert [*found.kinds] == [sort(kind)]
    return len(match_lora(found, family).changed) == len(found.layers)


def sort(kind):
    """What a kind is called in the package, of which these are several forms."""
    sorts = [known.name for known in KINDS]
    return next((name for name in sorts if kind.split(",")[0] == name), "LoRA")


def applied(name, kind, path):
    family = SMALL[name]
    checkpoint = random_model(family)
    text = {f"text{i + 1 if i else ''}": tower for i, tower in enumerate(checkpoint.text)}
    networks = {"unet": checkpoint.unet, **text}
    matched = match_lora(read_lora(loras.write(path, loras.tensors(family, kind))), family)
    touched = {f"{layer}.weight" for _, ours in matched.changed for layer in ours}
    weights = {f"{n}.{k}": p for n, net in networks.items() for k, p in net.named_parameters()}
    before = {key: weight.clone() for key, weight in weights.items()}
    state = Applied(networks)
    state.use([Use(matched, 0.8, 0.6)])
    changed = {key for key in touched if not torch.equal(weights[key], before[key])}
    state.use([])
    same = all(torch.equal(weights[key], before[key]) for key in weights)
    return changed == touched and same


def refusal(found, other):
    """The error of a file on a family; None: it is taken."""
    try:
        match_lora(found, FAMILIES[other])
    except ValueError as error:
        return str(error)
    return None


def refusing(name, kind, path):
    """The other families that refuse a file and say what it is for."""
    loras.write(path, loras.tensors(FAMILIES[name], kind))
    found, refused = read_lora(path), []
    for other in NAMES:
        told = refusal(found, other)
        assert told is None or f" is for {BASE.get(name, name)}, and the model is {other}: " in told
        refused += [other] * (told is not None)
    return refused


def row(kind, folder):
    path = folder / "x.safetensors"
    of = {name: recognised(name, kind, path) for name in NAMES}
    on = {name: applied(name, kind, path) for name in NAMES}
    by = {name: refusing(name, kind, path) for name in NAMES}
    kin = {"sd1", "sd1-inpainting"}
    for name, refused in by.items():
        assert set(refused) == set(NAMES) - (kin if name in kin else {name}), (kind, name)
    return f"| {kind} | {said(of)} | {said(on)} | all others |"


def said(cells):
    lacking = [name for name, cell in cells.items() if not cell]
    return f"not for {', '.join(lacking)}" if lacking else "all five"


@pytest.fixture(scope="module")
def rows():
    return {}


@pytest.mark.parametrize("kind", loras.KINDS)
def test_every_kind_is_read_for_every_family_and_for_it_alone(kind, rows, tmp_path):
    rows[kind] = row(kind, tmp_path)
    assert rows[kind] == f"| {kind} | all five | all five | all others |"


def page(rows):
    families = ", ".join(NAMES)
    return PAGE.format(rows="\n".join(rows.values())).replace(
        "| kind |", f"The five families: {families}.\n\n| kind |"
    )


def test_the_page_is_true(rows):
    assert [*rows] == [*loras.KINDS], "run the whole file"
    assert README.read_text(encoding="utf-8") == page(rows), f"run python {__file__}"


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        README.write_text(page({kind: row(kind, Path(temporary)) for kind in loras.KINDS}), "utf-8")
    print(README)
