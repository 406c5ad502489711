"""`ldm inspect` of files that are added to a model."""

import pytest
import torch
from safetensors.torch import save_file

import loras
from ldm.models.families import FAMILIES


def lines(text):
    return {line[:12].strip(): line[12:] for line in text.splitlines()}


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_a_lora_says_what_it_is(run, tmp_path, name):
    family = FAMILIES[name]
    layers = [x for x in loras.some_layers(family) if "mlp" not in x]
    path, found = tmp_path / "a_4step_lightning.safetensors", loras.tensors(family, "LoRA", layers)
    loras.write(path, found, ss_output_name="fur", ss_base_model_version="sd_v1")
    code, out, _ = run(f"inspect {path}", ckpt=False)
    assert code == 0
    found = lines(out)
    assert found["what it is"].startswith(f"a LoRA, {len(layers)} layers ({len(layers)} LoRA) of ")
    assert (found["rank"], found["family"], found["title"]) == ("4", name, "fur")
    assert ("its header" in out) == (name != "sd1")
    assert "few steps   a Lightning LoRA, made for 4 steps of euler on trailing, no guidance" in out


def test_an_embedding_says_what_it_is(run, tmp_path):
    torch.save({"string_to_param": {"*": torch.ones(3, 768)}}, tmp_path / "fur.pt")
    save_file(
        {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}, tmp_path / "x.safetensors"
    )
    code, out, _ = run("inspect fur.pt", ckpt=False)
    assert code == 0
    assert "what it is  an embedding of 3 vectors, 768 wide\nfamily      sd1\n" in out
    code, out, _ = run("inspect x.safetensors", ckpt=False)
    assert "embedding of 2 vectors, 768 and 1280 wide\nfamily      sdxl\n" in out


def test_other_files_are_reported_as_before(run, tiny_file, tmp_path):
    code, out, _ = run(f"inspect {tiny_file}", ckpt=False)
    assert (code, "layout" in out) == (0, True)
    (tmp_path / "x.safetensors").write_bytes(b"<html>")
    code, _, error = run("inspect x.safetensors", ckpt=False)
    assert (code, "it is a web page" in error) == (2, True)
