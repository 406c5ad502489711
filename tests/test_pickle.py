"""Pickles of strangers: what is in them never runs, and honest ones are read none the less."""

import collections
import copyreg
import functools
import importlib
import io
import operator
import os
import pickle
import pickletools
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from ldm.models.weights import CheckpointError, UnsafePickle, inspect, read, save
from ldm.models.weights.opening import open_checkpoint
from ldm.models.weights.stream import Stream
from ldm.models.weights.unpickle import MAX_INSTRUCTIONS, unpickle


@pytest.fixture
def marker(tmp_path, monkeypatch) -> Path:
    """A file that is there once an attack has run: every attack below writes `ran` where it is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ran"


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TouchesWhenRestored:
    """Its own code is harmless to name, and runs when the pickle gives it its state."""

    def __setstate__(self, state):
        Path("ran").touch()


def restored() -> TouchesWhenRestored:
    made = TouchesWhenRestored()
    made.__dict__["state"] = 1
    return made


TOUCH = "open('ran', 'w').close()"
NESTED = pickle.dumps(Calls(os.system, "touch ran"))


def load_from_bytes(data: bytes) -> Calls:
    return Calls(torch.storage._load_from_bytes, data)


def torch_file_of(payload) -> bytes:
    file = io.BytesIO()
    torch.save(payload, file)
    return file.getvalue()


ATTACKS = {  # what is refused by which name
    "os.system": (Calls(os.system, "touch ran"), "posix.system|nt.system"),
    "eval": (Calls(eval, TOUCH), "eval"),
    "exec": (Calls(exec, TOUCH), "exec"),
    "open": (Calls(open, "ran", "w"), "open"),
    "import": (Calls(__import__, "os"), "__import__"),
    "getattr": (Calls(getattr, Path("ran"), "touch"), "getattr"),
    "subprocess": (Calls(subprocess.Popen, ("touch", "ran")), "(subprocess|commands).Popen"),
    "check_output": (
        Calls(subprocess.check_output, ("touch", "ran")),
        "(subprocess|commands).check_output",
    ),
    "importlib": (Calls(importlib.import_module, "os"), "importlib.import_module"),
    "partial": (Calls(functools.partial, os.system, "touch ran"), "functools.partial"),
    "reduce": (Calls(functools.reduce, max, [1, 2]), "reduce"),
    "methodcaller": (Calls(operator.methodcaller("mkdir"), Path("ran")), "operator.methodcaller"),
    "pickle in a pickle": (Calls(pickle.loads, NESTED), "pickle.loads"),
    "torch.load": (Calls(torch.load, "x.pt"), "torch.serialization.load"),
    "torch's own unpickling": (
        load_from_bytes(torch_file_of(Calls(os.system, "touch ran"))),
        "_load_from_bytes",
    ),
    "torch.hub": (Calls(torch.hub.load_state_dict_from_url, "http://x"), "torch.hub"),
    "torch.jit": (Calls(torch.jit.load, "x.pt"), "torch.jit"),
    "deep inside": ([{"a": ({"b": [Calls(os.system, "touch ran")]},)}], "posix.system|nt.system"),
    "as a key": ({Calls(os.system, "touch ran"): 1}, "posix.system|nt.system"),
    "two calls": (Calls(Calls, Calls(os.system, "touch ran")), "posix.system|nt.system"),
}
CONTROLS = (
    "os.system",
    "eval",
    "exec",
    "open",
    "subprocess",
    "check_output",
    "pickle in a pickle",
    "deep inside",
)

PROGRAMS = {  # written by hand, for the instructions that Python's pickler does not use here
    "INST": (b"(S'touch ran'\nios\nsystem\n.", "os.system"),
    "OBJ": (b"(cos\nsystem\nS'touch ran'\no.", "os.system"),
    "NEWOBJ": (b"csubprocess\nPopen\n(S'touch'\nS'ran'\nt\x85\x81.", "subprocess.Popen"),
    "NEWOBJ_EX": (b"csubprocess\nPopen\n(S'touch'\nS'ran'\nt\x85}\x92.", "subprocess.Popen"),
    "STACK_GLOBAL": (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\ttouch ran\x85R.", "os.system"),
    "a dotted name": (
        b"\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93\x8c\ttouch ran\x85R.",
        "os.system",
    ),
    "a dunder": (b"\x80\x04\x8c\x05torch\x8c\x10Tensor.__class__\x93.", "__class__"),
    "python 2": (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),
}


def archive(path: Path, program: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """A file like torch.save's, with this program as its pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", program)
        for key, data in (storages or {}).items():
            file.writestr(f"model/data/{key}", data)
    return path


@pytest.mark.parametrize("name", CONTROLS)
def test_the_attacks_are_real(marker, name):
    """With Python's own machine they work."""
    pickle.loads(pickle.dumps(ATTACKS[name][0]))
    for _ in range(100):  # a process may take a moment
        if marker.exists():
            return
        subprocess.run(["sleep", "0.05"], check=True)
    pytest.fail("the attack has no effect, so that it proves nothing")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_by_name(marker, name, legacy):
    payload, refused = ATTACKS[name]
    torch.save(
        {"state_dict": {"a": torch.zeros(1)}, "extra": payload},
        "a.ckpt",
        _use_new_zipfile_serialization=not legacy,
    )
    for function in (read, inspect):
        with pytest.raises(UnsafePickle, match=refused) as error:
            function("a.ckpt")
        assert "nothing of it was run" in str(error.value)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_attacks_in_every_protocol(marker, protocol):
    program = pickle.dumps({"state_dict": {}, "extra": Calls(os.system, "touch ran")}, protocol)
    with pytest.raises(UnsafePickle, match="system"):
        read(archive(Path("a.ckpt"), program))
    assert not marker.exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_attacks_with_every_instruction(marker, name):
    program, refused = PROGRAMS[name]
    with pytest.raises(UnsafePickle, match=refused):
        read(archive(Path("a.ckpt"), program))
    assert not marker.exists()


def test_attacks_in_the_other_pickles_of_an_old_file(marker):
    """A file of torch before 1.6 has five pickles; an attack may be in each."""
    for place in range(1, 5):
        torch.save({"a": torch.zeros(1)}, "a.ckpt", _use_new_zipfile_serialization=False)
        pickles, file = [], io.BytesIO(Path("a.ckpt").read_bytes())
        for _ in range(5):
            start = file.tell()
            for _ in pickletools.genops(file):
                pass
            pickles.append(file.getvalue()[start : file.tell()])
        pickles[place] = NESTED
        Path("a.ckpt").write_bytes(b"".join(pickles) + file.read())
        with pytest.raises(UnsafePickle, match="system"):
            read("a.ckpt")
    assert not marker.exists()


def test_attacks_in_a_folder(marker, tiny_checkpoint):
    save("model", tiny_checkpoint, "diffusers")
    Path("model/vae/diffusion_pytorch_model.safetensors").unlink()
    torch.save(Calls(os.system, "touch ran"), "model/vae/diffusion_pytorch_model.bin")
    with pytest.raises(UnsafePickle, match="system"):
        read("model")
    assert not marker.exists()


def test_the_extension_registry_is_not_used(marker):
    """EXT instructions call what other code has registered under a number."""
    copyreg.add_extension("os", "system", 240)
    try:
        with pytest.raises(CheckpointError, match="EXT1"):
            read(archive(Path("a.ckpt"), b"\x82\xf0S'touch ran'\n\x85R."))
    finally:
        copyreg.remove_extension("os", "system", 240)
    assert not marker.exists()


def tensor_program(arguments: str) -> bytes:
    """A call of torch's function that makes a tensor, of a storage "0" of four floats, with these
    arguments."""
    storage = b"((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ"
    return b"(S'a'\nctorch._utils\n_rebuild_tensor_v2\n" + storage + arguments.encode() + b"tRd."


GOOD = "I0\n(I2\nI2\nt(I2\nI1\nt"


def test_honest_tensor_program(marker):
    path = archive(Path("a.ckpt"), tensor_program(GOOD), {"0": torch.arange(4.0).numpy().tobytes()})
    weight = open_checkpoint(path).weights["a"]
    assert torch.equal(weight.read(), torch.tensor([[0.0, 1.0], [2.0, 3.0]]))


@pytest.mark.parametrize(
    "arguments",
    [
        "I1\n(I2\nI2\nt(I2\nI1\nt",  # begins too late
        "I-1\n(I2\nI2\nt(I2\nI1\nt",  # begins before the storage
        "I0\n(I2\nI2\nt(I3\nI1\nt",  # its rows are too far apart
        "I0\n(I2\nI2\nt(I-2\nI1\nt",  # its rows run backwards
        "I0\n(I2\nI-2\nt(I2\nI1\nt",  # a negative size
        "I0\n(I1000000000000\nt(I0\nt",  # one number a million million times
        "I0\n(I5\nt(I1\nt",  # one too many
        "I0\n(I5\nt(I0\nt",  # the same number once too often
        "I9223372036854775807\n(I2\nt(I1\nt",
        "I18446744073709551616\n(I2\nt(I1\nt",  # 2^64: once round the clock
        "I0\n(I2\nI2\nt(I1\nt",  # a stride is missing
        "I0\n(F2.0\nt(I1\nt",
        "I0\n(I01\nt(I1\nt",  # True
        "I0\nS'2'\nS'1'\n",
        "I0\nNN",
        "I0\n(" + "I1\n" * 9 + "t(" + "I1\n" * 9 + "t",  # nine axes
        "I0\n",
    ],
)
def test_misuse_of_torchs_own_function_is_refused(marker, arguments):
    with pytest.raises(UnsafePickle, match=r"misuses torch\._utils._rebuild_tensor_v2"):
        read(archive(Path("a.ckpt"), tensor_program(arguments), {"0": bytes(16)}))


@pytest.mark.parametrize(
    "storage",
    [
        b"S'no storage'\n",
        b"((S'module'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ",
        b"((S'storage'\ncevil\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ",
        b"((S'storage'\nctorch\nload\nS'0'\nS'cpu'\nI4\ntQ",
        b"((S'storage'\nctorch\nFloatStorage\nI0\nS'cpu'\nI4\ntQ",
        b"((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI-4\ntQ",
        b"((S'storage'\nctorch\nFloatStorage\nS'1'\nS'cpu'\nI4\ntQ",
        b"((S'storage'\nctorch\nFloatStorage\nS'../data.pkl'\nS'cpu'\nI4\ntQ",
        b"((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI400\ntQ",
        b"((S'storage'\nctorch\nFloatStorage\nS'0'\ntQ",
    ],
)
def test_storages_that_are_none(marker, storage):
    program = b"(S'a'\nctorch._utils\n_rebuild_tensor_v2\n" + storage + GOOD.encode() + b"tRd."
    with pytest.raises(CheckpointError):
        read(archive(Path("a.ckpt"), program, {"0": bytes(16)}))


def test_unknown_modules_are_not_even_imported(marker, tmp_path, monkeypatch):
    """A module of the attacker's, importable, whose import alone would do harm."""
    (tmp_path / "innocent_looking.py").write_text(TOUCH + "\ndef run(*_): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    program = b"(S'a'\ncinnocent_looking\nrun\n(S'x'\ntRd."
    with pytest.raises(CheckpointError, match="no named tensors"):
        read(archive(Path("a.ckpt"), program))
    assert "innocent_looking" not in sys.modules
    assert not marker.exists()
    pickle.loads(program)  # the control
    assert marker.exists()


class Callback:
    """As trainers leave them in their checkpoints."""

    def __init__(self):
        self.best, self.scores = None, {"loss": 0.1}


def training_state() -> dict:
    return {
        "epoch": 7,
        "callbacks": {Callback: Callback(), "plain": {"best": 0.5, "path": Path("x/y")}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "betas": (0.9, 0.99)}],
        "lr_schedulers": [collections.Counter("abc"), collections.defaultdict(list, a=[1])],
        "numbers": torch.tensor([1.5]).numpy(),
        "number": torch.tensor([1.5]).numpy()[0],
        "set": {1, 2},
        "more": frozenset({"a"}),
        "bytes": b"\x00\x01",
        "complex": 1 + 2j,
        "big": 10**50,
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "size": torch.Size([1, 2]),
        "touch": restored(),
        "range": range(3),
        "nothing": None,
    }


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_honest_training_states_are_read(marker, protocol, legacy):
    """With callbacks, numpy scalars and the state of an optimizer: torch's weights_only would
    refuse them."""
    state = collections.OrderedDict(
        a=torch.arange(6.0).view(2, 3), b=torch.nn.Parameter(torch.ones(2)), c=3
    )
    state._metadata = {"": {"version": 1}}
    torch.save(
        {**training_state(), "state_dict": state}, "a.ckpt", pickle_protocol=protocol,
        _use_new_zipfile_serialization=not legacy,
    )  # fmt: skip
    with pytest.raises(pickle.UnpicklingError):
        torch.load("a.ckpt", weights_only=True)
    weights = open_checkpoint("a.ckpt").weights
    assert weights.keys() == {"a", "b"}
    assert torch.equal(weights["a"].read(), torch.arange(6.0).view(2, 3))
    assert torch.equal(weights["b"].read(), torch.ones(2))
    assert not marker.exists()
    torch.load(
        "a.ckpt", weights_only=False
    )  # the control: to give an object its state runs its code
    assert marker.exists()


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    ],
)
def test_types_of_numbers(marker, dtype):
    for legacy in (False, True):
        tensors = {
            "a": torch.tensor([0, 1, 1]).to(dtype),
            "scalar": torch.tensor(1).to(dtype),
            "none": torch.zeros(0, 3).to(dtype),
        }
        torch.save(tensors, "a.ckpt", _use_new_zipfile_serialization=not legacy)
        weights = open_checkpoint("a.ckpt").weights
        for name, tensor in tensors.items():
            assert weights[name].read().dtype == dtype
            assert torch.equal(weights[name].read(), tensor)


def test_bombs_are_bounded(marker, monkeypatch):
    """A few bytes that ask for a lot: of memory for the memo, for a byte string, for an archive's
    contents."""
    for program in (
        b"Nr\xff\xff\xff\xff.",  # memoize at 2^32 - 1
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # 2^63 bytes
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8b\xff\xff\xff\x7f.",  # a number of 2^31 bytes
        b"L" + b"9" * 100_000 + b"L\n.",
        b"(" * 100_000,
        b")" + b"\x85" * 100_000 + b".",  # a tuple in a tuple in a …
        b"}" + b")" + b"\x85" * 100_000 + b"Ns.",  # as a key, which Python would have to hash
    ):
        with pytest.raises(CheckpointError):
            read(archive(Path("a.ckpt"), program))
    assert MAX_INSTRUCTIONS <= 10**7
    monkeypatch.setattr("ldm.models.weights.unpickle.MAX_INSTRUCTIONS", 1000)
    with pytest.raises(CheckpointError, match="more than 1000 instructions"):
        unpickle(Stream(b"N0" * 501 + b"N."), Path("x"))


def test_compressed_members_are_refused(marker):
    with zipfile.ZipFile("a.ckpt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model/data.pkl", tensor_program(GOOD))
        file.writestr("model/data/0", bytes(10**6))
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        read("a.ckpt")


def test_dictionaries_within_themselves(marker):
    program = b"}\x94S'state_dict'\nh\x00s."
    with pytest.raises(CheckpointError, match="no named tensors, but state_dict"):
        read(archive(Path("a.ckpt"), program))


def test_members_before_the_start_of_the_file(marker):
    """A table of contents that counts from a false beginning, so that a member lies at -50 bytes:
    in a comment."""
    with zipfile.ZipFile("a.ckpt", "w") as file:
        file.writestr("model/data.pkl", tensor_program(GOOD))
        file.comment = b"PK\x03\x04" + bytes(46)
    data = bytearray(Path("a.ckpt").read_bytes())
    place = data.index(b"PK\x05\x06") + 16
    data[place : place + 4] = (int.from_bytes(data[place : place + 4], "little") + 50).to_bytes(
        4, "little"
    )
    Path("a.ckpt").write_bytes(data)
    assert zipfile.ZipFile("a.ckpt").infolist()[0].header_offset == -50
    with pytest.raises(CheckpointError, match=r"data\.pkl is not where"):
        read("a.ckpt")


def test_large_tables_of_contents_are_refused(marker, monkeypatch):
    archive(Path("a.ckpt"), tensor_program(GOOD), {str(i): b"" for i in range(100)})
    monkeypatch.setattr("ldm.models.weights.archive.MAX_CONTENTS", 1000)
    with pytest.raises(CheckpointError, match="table of contents"):
        read("a.ckpt")


def test_torchscript_is_read_for_its_tensors_alone(marker):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 3)))
    torch.jit.script(network).save("a.pt")
    weights = open_checkpoint("a.pt").weights
    assert weights.keys() == network.state_dict().keys()
    assert all(weights[name].read().equal(x) for name, x in network.state_dict().items())
    with pytest.raises(CheckpointError, match="of no family"):
        read("a.pt")


def script(inside, count=1):
    """A module of a TorchScript program, and `count` times its state: what is inside it."""
    state = b"}(X\x01\0\0\0a" + inside + b"u"
    return b"c__torch__.net\nNet\n)\x81q\0" + (state + b"b") * count


def test_modules_within_themselves_end(marker):
    archive(Path("a.pt"), b"\x80\x02" + script(b"h\0") + b".", {})
    assert open_checkpoint("a.pt").weights == {}


def test_modules_of_endless_depth_are_refused(marker):
    deep = b"h\0"
    for _ in range(400):
        deep = script(deep).replace(b"q\0", b"")
    archive(Path("a.pt"), b"\x80\x02" + deep.replace(b"h\0", b"N") + b".", {})
    with pytest.raises(CheckpointError, match="names modules in"):
        read("a.pt")


def test_modules_run_nothing(marker):
    archive(Path("a.pt"), b"\x80\x02" + script(b"cos\nsystem\n(X\x02\0\0\0ls\x85R") + b".", {})
    with pytest.raises(UnsafePickle, match=r"os\.system"):
        read("a.pt")


@pytest.mark.parametrize(
    "content",
    [[1, 2], torch.zeros(2), None, "text", {}, {"string_to_param": {"*": torch.zeros(2)}}],
)
def test_contents_that_are_no_tensors_by_name(marker, content):
    torch.save(content, "a.ckpt")
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: .*tensors"):
        read("a.ckpt")
