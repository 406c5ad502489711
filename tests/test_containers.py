"""Zip archives and old files that are not what torch writes: each is refused by what is wrong."""

import io
import struct
import zipfile

import pytest
import torch

from ldm.models.keymaps import ema_name
from ldm.models.weights import CheckpointError, inspect, read
from ldm.models.weights.opening import open_checkpoint


@pytest.fixture
def archive(tiny_compvis, tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(tiny_compvis, path)
    return path


def members(path):
    with zipfile.ZipFile(path) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def rewrite(path, found, twice=None):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in found.items():
            file.writestr(name, data)
        if twice is not None:
            with pytest.warns(UserWarning, match="Duplicate"):
                file.writestr(twice, b"\0" * 8)


def test_a_rewritten_archive_is_read(archive, tiny_checkpoint):
    """The control of the tests below."""
    rewrite(archive, members(archive))
    read(archive, family=tiny_checkpoint.family)


def test_a_member_that_is_there_twice(archive):
    rewrite(archive, members(archive), "a/data/0")
    with pytest.raises(CheckpointError, match="has a/data/0 twice"):
        open_checkpoint(archive)


@pytest.mark.parametrize("order", [b"big", b"middle"])
def test_another_order_of_bytes(archive, order):
    rewrite(archive, members(archive) | {"a/byteorder": order})
    with pytest.raises(CheckpointError, match="not little-endian"):
        open_checkpoint(archive)


def test_a_member_under_another_name_where_it_lies(archive):
    data = archive.read_bytes()
    place = data.index(b"a/data/0")  # the first is in the local header
    archive.write_bytes(data[:place] + b"a/data/X" + data[place + 8 :])
    with pytest.raises(CheckpointError, match="a/data/0 is called b'a/data/X' where it lies"):
        open_checkpoint(archive)


def test_members_that_overlap(archive):
    """A storage in the header of the next, and two that share their bytes."""
    rewrite(archive, members(archive))
    with zipfile.ZipFile(archive) as file:
        infos, start = {info.filename: info for info in file.infolist()}, file.start_dir
    data = bytearray(archive.read_bytes())
    directory = data.index(b"a/data/0", start) - 46
    size = infos["a/data/0"].file_size + 20
    data[directory + 20 : directory + 28] = struct.pack("<II", size, size)
    archive.write_bytes(data)
    with pytest.raises(CheckpointError, match="begins within the bytes of a/data/0"):
        open_checkpoint(archive)


def test_a_file_without_checksums_is_read(tiny_compvis, tiny_checkpoint, tmp_path):
    """torch can be told not to compute them."""
    path = tmp_path / "a.ckpt"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(tiny_compvis, path)
    finally:
        torch.serialization.set_crc32_options(before)
    read(path, family=tiny_checkpoint.family)
    report = inspect(path, family=tiny_checkpoint.family, verified=True)
    assert report.loadable
    assert "it has no checksums" in str(report)


def test_a_flipped_bit_in_a_storage_is_seen_by_its_checksum(archive, tiny_checkpoint):
    family = tiny_checkpoint.family
    assert inspect(archive, family=family, verified=True).loadable
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"a part of it is not what was written .a/data/\d+."):
        read(archive, family=family)
    assert inspect(archive, family=family).loadable
    report = inspect(archive, family=family, verified=True)
    assert not report.loadable
    assert "1 of " in dict(report.lines())["verified"]


def test_what_is_not_read_is_not_checked_unless_it_is_asked_for(
    tmp_path, tiny_compvis, tiny_checkpoint
):
    """Half of a training's file is not drawn with, and would take as long again."""
    family = tiny_checkpoint.family
    prefix = "model.diffusion_model."
    name = f"{prefix}out.2.weight"
    names = [name for name in tiny_compvis if name.startswith(prefix)]
    means = {ema_name(name): tiny_compvis[name] + 1 for name in names}
    path = tmp_path / "a.ckpt"
    for unused, ema in ((name, True), (ema_name(name), False)):
        torch.save(tiny_compvis | means, path)
        offset = open_checkpoint(path).weights[unused].offset
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        path.write_bytes(data)
        read(path, family=family, ema=ema)
        assert not inspect(path, family=family, verified=True).loadable
        with pytest.raises(CheckpointError, match="a part of it is not what was written"):
            read(path, family=family, ema=not ema)


def storage(numel, kind="FloatStorage"):
    return f"((S'storage'\nctorch\n{kind}\nS'0'\nS'cpu'\nI{numel}\ntQ".encode()


@pytest.mark.parametrize("other", [storage(2), storage(4, "HalfStorage")])
def test_two_sizes_for_one_storage(tmp_path, other):
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n%bI0\n(I2\nt(I1\nttR"
    program = b"(S'a'\n" + tensor % storage(4) + b"S'b'\n" + tensor % other + b"d."
    path = tmp_path / "a.ckpt"
    rewrite(path, {"a/data.pkl": program, "a/data/0": bytes(16)})
    with pytest.raises(CheckpointError, match="storage '0' has two sizes or types"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"model": weights},
        lambda weights: {"model": {"state_dict": weights}, "optimizer": {"state": {}}},
        lambda weights: {"module": weights, "step": torch.zeros(())},
        lambda weights: {"state_dict": weights, "step": torch.zeros(())},
    ],
)
def test_weights_inside_of_what_a_trainer_wrote(wrap, tiny_compvis, tiny_checkpoint, tmp_path):
    torch.save(wrap(tiny_compvis), tmp_path / "a.ckpt")
    found = read(tmp_path / "a.ckpt", family=tiny_checkpoint.family)
    assert torch.equal(found.unet.stem.weight, tiny_checkpoint.unet.stem.weight)


def test_texts_of_megabytes_are_refused_at_once(tmp_path):
    """Far more than any checkpoint has beside its tensors."""
    text = io.BytesIO()
    torch.save({"a" * 40_000_000: torch.zeros(2)}, text)
    (tmp_path / "a.ckpt").write_bytes(text.getvalue())
    with pytest.raises(CheckpointError, match="has a pickle of 40 MB, and no checkpoint has more"):
        open_checkpoint(tmp_path / "a.ckpt")
    torch.save(
        {"a" * 40_000_000: torch.zeros(2)}, tmp_path / "a", _use_new_zipfile_serialization=False
    )
    with pytest.raises(CheckpointError, match="more than 16000000 bytes beside its tensors"):
        open_checkpoint(tmp_path / "a")
    header = b'{"__metadata__":{"a":"' + b"x" * 20_000_000 + b'"}}'
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="has a header of 20 MB, and no checkpoint has more"):
        open_checkpoint(tmp_path / "a")
