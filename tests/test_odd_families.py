"""The doors of the families beyond Stable Diffusion 1: headers and folders of each, with odd values
in single fields; the config beside a checkpoint; depth maps.

LDM_FUZZ=20 in the environment tries twenty times as many.
"""

import io
import json
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers import TIMES
from ldm.images.depth import open_depth
from ldm.models.families import FAMILIES, family_named
from ldm.models.weights import CheckpointError, inspect, read, save
from ldm.models.weights.prediction import parameterization
from ldm.models.weights.saving import renamed
from test_odd_configs import ODD_VALUES, places, put
from test_weights_fuzz import Runs
from tiny_families import SMALL, random_model

ODDER = [*ODD_VALUES, ["depth"], ["sizes", "sizes"], ["\x1b"], [True], [[0, 1], [2]], [[-1]], "v"]
OURS = (  # what the families beyond the first have
    "conditioning", "zero_snr", "strength", "upscale_strength", "hires_strength", "prediction",
    "img2img_scale", "text", "classes", "guidance_width", "only_cross_attention", "up_depth",
    "concat_channels", "vector_width", "head_width", "depth", "mid_depth", "projection", "pad",
    "layer", "final_norm",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_odd_values_in_the_headers_of_all_families(door, name):
    checkpoint = random_model(SMALL[name])
    tensors = {key: x.contiguous() for key, x in renamed(checkpoint, "ldm").items()}
    merges = "\n".join(map(" ".join, checkpoint.merges))
    good = json.dumps(checkpoint.family.to_dict())
    everywhere = [p for p in places(json.loads(good)) if any(part in OURS for part in p)]
    path = Path("a.safetensors")
    for seed in range(8 * TIMES):
        draw, values = random.Random(f"{name}{seed}"), json.loads(good)
        put(values, draw.choice(everywhere), draw.choice(ODDER))
        text = json.dumps(values)
        save_file(tensors, path, {"family": text, "merges": merges})
        found = door.ends(read, path, errors=CheckpointError)
        report = door.ends(inspect, path, errors=CheckpointError)
        assert (found is not None) == (report is not None and report.loadable), text
        Path("family.json").write_text(text)
        door.ends(family_named, Path("family.json"))
    assert door.refused > 0


FOLDERS = ["sdxl", "sdxl-refiner", "sd2", "x4-upscaler", "sd2-depth", "instruct-pix2pix"]


@pytest.mark.parametrize("name", [name for name in FAMILIES if name in FOLDERS])
def test_odd_values_in_the_folders_of_all_families(door, name):
    save("good", random_model(SMALL[name]), "diffusers")
    files = sorted(Path("good").rglob("*.json"))
    files = [path.relative_to("good") for path in files if path.name != "vocab.json"]
    shutil.copytree("good", "a")
    for seed in range(10 * TIMES):
        draw = random.Random(f"{name}{seed}")
        file = draw.choice(files)
        values = json.loads(("good" / file).read_text())
        if everywhere := list(places(values)):
            put(values, draw.choice(everywhere), draw.choice(ODDER))
        ("a" / file).write_text(json.dumps(values))
        found = door.ends(read, Path("a"), errors=CheckpointError)
        report = door.ends(inspect, Path("a"), errors=CheckpointError)
        assert (found is not None) == (report is not None and report.loadable), (file, values)
        shutil.copy("good" / file, "a" / file)
    Path("a/unet/config.json").write_text("[]")
    assert door.ends(read, Path("a"), errors=CheckpointError) is None


CONFIG = 'model:\n  params:\n    linear_start: 0.00085\n    parameterization: "v"\n'
NOISE = [
    "", "\0", "\x1b[2J", "!!python/object/apply:os.system ['touch ran']", "&a [*a]", " " * 10**6,
    "\n" * 10**6, "parameterization: " * 9999, "parameterization:\n\n\n", "v" * 10**6,
]  # fmt: skip


def test_odd_configs_beside_a_checkpoint(door):
    """It is searched for one word, and never built."""
    for seed in range(40 * TIMES):
        draw, text = random.Random(seed), CONFIG
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(text) + 1)
            text = text[:place] + draw.choice(NOISE) + text[place + draw.randrange(9) :]
        data = draw.choice([text.encode(), text.encode("utf-16"), text.encode()[:-9] + b"\xff"])
        Path("a.yaml").write_bytes(data)
        said = door.ends(parameterization, Path("a.yaml"))
        assert said is None or isinstance(said, str)
        assert len(said or "") <= 20


def array_file(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def header(text: str, behind: bytes = b"") -> bytes:
    """An array file of this header."""
    data = text.encode("latin-1")
    return b"\x93NUMPY\x02\x00" + len(data).to_bytes(4, "little") + data + behind


def said(descr="'<f4'", shape="(4, 4)", order="False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"


MAPS = [
    array_file(np.arange(12.0).reshape(3, 4)), array_file(np.eye(5, dtype=bool)),
    array_file(np.array([[Runs()]], object)), pickle.dumps(Runs()),
    array_file(np.zeros((2, 2), [("a", "O")])), array_file(np.array([["a", "b"]])),
    array_file(np.eye(3) * 1j), array_file(np.zeros(3)), array_file(np.zeros((0, 4))),
    array_file(np.full((3, 3), np.nan)), array_file(np.eye(3, dtype="M8[s]")),
    array_file(np.eye(3) * 1e300), array_file(np.eye(3, dtype=">u2")),
    header(said(shape="(1000000000, 1000000000)")), header(said(shape="(100000, 100000)")),
    header(said(shape="(-1, 4)"), bytes(64)), header(said("'|O'"), pickle.dumps(Runs())),
    header(said("'<f4'\x1b[2J"), bytes(64)), header(said("'\x1b[2J'"), bytes(64)),
    header("(" * 9000, bytes(64)), header("[" * 10**6), header(" " * 10**7), header("{}" * 9),
    header(said(shape="(" + "1," * 3000 + ")")), b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    header(said("'<f4'", "(True, 4)"), bytes(64)), header(said("'V2000000000'", "(9, 9)")),
    header("__import__('os').system('touch ran')"), b"PK\x03\x04" + bytes(99), b"",
]  # fmt: skip


def grey(mode: str, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(48).reshape(6, 8).astype(mode)).save(stream, kind)
    return stream.getvalue()


def test_damaged_depth_maps(door):
    """Whatever an array or a picture holds, nothing of it is unpickled; what is read is finite."""
    pictures = [grey("uint8"), grey("uint16"), grey("float32", "tiff"), grey("uint16", "tiff")]
    cases = [(data, "npy") for data in MAPS]
    cases += [(data, kind) for data in pictures for kind in ("png", "NPY")]
    for seed in range(60 * TIMES):
        draw = random.Random(seed)
        data, kind = draw.choice([*cases[:2], *cases[2:]])
        changed = bytearray(data or b"x")
        for _ in range(draw.choice([1, 2, 8])):
            changed[draw.randrange(min(len(changed), 200))] ^= 1 << draw.randrange(8)
        cases.append((bytes(changed[: draw.choice([len(changed), draw.randrange(200)])]), kind))
    for data, kind in cases:
        path = Path(f"a.{kind}")
        path.write_bytes(data)
        near = door.ends(open_depth, path)
        assert near is None or (near.ndim == 4 and bool(near.isfinite().all()))
    assert min(door.read, door.refused) > 5
    Path("a.npy").write_bytes(MAPS[0])
    assert torch.equal(open_depth("a.npy"), torch.arange(12.0).view(1, 1, 3, 4))
