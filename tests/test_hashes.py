"""The hashes by which the files of models are called elsewhere."""

import hashlib
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.runtime import hashes


def test_hashes_are_those_of_the_web_ui_and_computed_once(tmp_path, monkeypatch):
    """Known answers by hashlib on the bytes themselves."""
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.arange(400_000, dtype=torch.float32)}, path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert hashes.computed(path) == digest
    assert hashes.legacy(path) == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    header = 8 + int.from_bytes(content[:8], "little")
    assert hashes.autov3(path) == hashlib.sha256(content[header:]).hexdigest()[:12]
    monkeypatch.setattr(hashes, "sha256", partial(pytest.fail, "computed again"))
    assert hashes.computed(path) == digest
    path.write_bytes(content[:-4] + b"abcd")
    assert hashes.known(path) is None
    hashes.cache_file().write_text('{"' + str(path.resolve()) + '": 5}')
    assert hashes.known(path) is None
    hashes.cache_file().write_text("[[")
    assert hashes.known(path) is None
    assert load_file(path)["x"].shape == (400_000,)
