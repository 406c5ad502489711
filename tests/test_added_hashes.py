"""The hashes of LoRAs and embeddings in the metadata of pictures, as AUTOMATIC1111 writes them."""

import doctest
import hashlib

import pytest
import torch
from PIL import Image

import loras
from helpers import build_tiny, normal
from ldm.images.files import read_text
from ldm.metadata import read_metadata
from ldm.metadata.infotext import split
from ldm.pipeline import added_hashes


@pytest.fixture
def folder(tiny_family, tmp_path):
    """Two LoRAs, of safetensors and of a pickle, and an embedding."""
    (folder := tmp_path / "added").mkdir()
    found = loras.tensors(tiny_family, "LoRA")
    loras.write(folder / "fur.safetensors", found, ss_output_name="other")
    torch.save(found, folder / "ink.pt")
    torch.save({"string_to_param": {"*": normal(2, tiny_family.text[0].width)}}, folder / "dog.pt")
    return folder


def digests(folder):
    """By hashlib, of the bytes themselves: without the header, and whole."""
    fur = (folder / "fur.safetensors").read_bytes()
    length = 8 + int.from_bytes(fur[:8], "little")
    found = {"fur": fur[length:]} | {x: (folder / f"{x}.pt").read_bytes() for x in ("ink", "dog")}
    return {name: hashlib.sha256(data).hexdigest()[:12] for name, data in found.items()}


def test_doctests():
    assert doctest.testmod(added_hashes) == (0, 1)


def test_pictures_say_what_was_added(folder):
    model, known = build_tiny(), digests(folder)
    asked = {"lora": str(folder / "ink.pt"), "lora_dir": str(folder), "width": 16, "height": 16}
    asked |= {"embedding_dir": str(folder), "negative": "dog", "steps": 2, "batch": 1}
    images = model.txt2img(["a cat <lora:fur:0.5>", "a cat"], **asked)
    found = [split(image.info["parameters"])[2] for image in images]
    both = f"ink: {known['ink']}, fur: {known['fur']}"
    assert [said["Lora hashes"] for said in found] == [both, f"ink: {known['ink']}"]
    assert [said["TI hashes"] for said in found] == [f"dog: {known['dog']}"] * 2
    (plain,) = model.txt2img("a cat", width=16, height=16, steps=2)
    assert "hashes" not in plain.info["parameters"]


def test_the_hash_that_a_trainer_wrote_goes_first(tiny_family, folder):
    path = folder / "fur.safetensors"
    loras.write(path, loras.tensors(tiny_family, "LoRA"), sshs_model_hash="ab" * 32)
    (image,) = build_tiny().txt2img("a cat", width=16, height=16, steps=2, lora=str(path))
    assert f'Lora hashes: "fur: {"ab" * 6}"' in image.info["parameters"]


def test_replaying_tells_of_another_file_by_that_name(run, folder, tiny_family):
    flags = "--n_iter 1 --n_samples 1 --skip_grid --W 16 --H 16 --steps 2 --outdir"
    line = f"txt2img --prompt 'a cat <lora:fur:1>' --lora_dir {folder} {flags} one"
    code, _, error = run(line)
    assert code == 0, error
    (made,) = folder.parent.rglob("one/samples/*.png")
    first = digests(folder)["fur"]
    assert f'Lora hashes: "fur: {first}"' in read_text(made)["parameters"]
    assert read_metadata(made).request.lora_dir is None
    code, out, _ = run(f"replay {made} --lora_dir {folder} --outdir two")
    assert (code, "not honoured" in out) == (0, False)
    changed = {name: 2 * x for name, x in loras.tensors(tiny_family, "LoRA").items()}
    loras.write(folder / "fur.safetensors", changed)
    code, out, _ = run(f"replay {made} --lora_dir {folder} --outdir three")
    second = digests(folder)["fur"]
    assert f"not honoured: LoRA fur, {first}: the file at hand is {second}" in out
    assert Image.open(next(folder.parent.rglob("three/samples/*.png"))).size == (16, 16)
