"""Textual inversion: files of every kind, and words that prompts may use."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import loras
from helpers import differ, latents, normal
from ldm.models.embeddings import Embedding, WithVectors, WithWords, read_embedding
from ldm.models.weights import CheckpointError, UnsafePickle
from ldm.prompts.chunks import chunks
from ldm.prompts.conditioner import Tower, encode_prompts
from ldm.request import Request
from small_families import SDXL, build

VECTORS = normal(3, 16)
ASKED = {"seed": 3, "steps": 2}


def a1111(vectors):
    """As its page of training writes them."""
    return {
        "string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "fur",
        "step": 500, "sd_checkpoint": "abcd", "sd_checkpoint_name": "model",
    }  # fmt: skip


def compvis(vectors):
    """As the paper's own code does."""
    param = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    return {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": param}


WRITERS = {
    "a1111": ("pt", a1111), "compvis": ("pt", compvis),
    "diffusers": ("bin", lambda v: {"<fur>": v}), "list": ("pt", lambda v: [{"*": v}]),
    "kohya": ("safetensors", lambda v: {"emb_params": v}),
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file(content, path)
        else:
            torch.save(content, path)
        return path

    return write


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_is_read(write, kind):
    ending, writer = WRITERS[kind]
    found = read_embedding(write(f"fur.{ending}", writer(VECTORS)))
    assert (found.name, len(found), [*found.vectors]) == ("fur", 3, [""])
    assert torch.equal(found.vectors[""], VECTORS)


def test_old_files_of_torch_and_single_vectors(tmp_path):
    path = tmp_path / "old.pt"
    torch.save(a1111(VECTORS.half()), path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_embedding(path).vectors[""], VECTORS.half().float())
    save_file({"<fur>": VECTORS[0].clone()}, tmp_path / "one.safetensors")
    assert read_embedding(tmp_path / "one.safetensors").vectors[""].shape == (1, 16)


class Runs:
    def __reduce__(self):
        return Path("ran").touch, ()


def test_a_hostile_pickle_runs_nothing(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in ({"string_to_param": Runs()}, {**a1111(VECTORS), "name": Runs()}):
        with pytest.raises(UnsafePickle, match="refused, and nothing of it was run"):
            read_embedding(write("x.pt", content))
    assert not Path("ran").exists()


@pytest.mark.parametrize(("content", "match"), [
    ({"a": normal(2, 16), "b": normal(2, 16)}, "is not an embedding of one word: it has a, b"),
    ({"emb_params": normal(2, 3, 4)}, r"emb_params has the shape \(2, 3, 4\)"),
    ({"clip_l": normal(2, 16), "clip_g": normal(3, 24)}, "another number of vectors"),
    ({"emb_params": torch.full((2, 16), torch.nan)}, "32 values that are NaN"),
])  # fmt: skip
def test_damage_is_named(write, content, match):
    with pytest.raises(CheckpointError, match=match):
        read_embedding(write("x.safetensors", content))
    path = write("y.pt", {})
    path.write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="it is a web page"):
        read_embedding(path)


# In prompts


def known(tokenizer, *sizes, plainly=True):
    """The tokenizer with embeddings named fur, ink, … of so many vectors."""
    made = [Embedding(name, {"": normal(n, 16)}) for name, n in zip(("fur", "ink fur"), sizes)]
    return WithWords(tokenizer, made, plainly)


def test_a_name_is_read_as_its_vectors(tiny):
    base = tiny.tokenizer
    size, encode = len(base), known(base, 2, 1).encode
    assert encode("cat fur") == [*base.encode("cat"), size, size + 1]
    assert encode("FUR,fur") == [size, size + 1, *base.encode(","), size, size + 1]
    assert encode("ink fur") == [size + 2]  # the longest name first, as A1111 has it
    assert encode("furs") == base.encode("furs")
    assert encode("embedding:fur") == [size, size + 1]
    only = known(base, 2, plainly=False).encode
    assert only("embedding:fur fur") == [size, size + 1, *base.encode("fur")]


def test_a_name_is_no_word_that_the_model_has_not_learnt(tiny):
    text = ["a fur zebra"]
    assert tiny.tokenizer.unusual(text) == ["fur", "zebra"]
    assert known(tiny.tokenizer, 2).unusual(text) == ["zebra"]


def test_an_embedding_is_not_split_over_the_end_of_a_chunk(tiny):
    """A1111's rule, by its own loop: where its vectors do not fit, the next chunk begins; where the
    chunk is full before it, a comma nearby is where it ends."""
    tokenizer, a, comma = known(tiny.tokenizer, 3), "c", tiny.tokenizer.encode(",")[0]
    room = tokenizer.length - 2  # 10
    for before in range(25):
        for commas in ((), (2,), (5, 8)):
            words = ["," if i in commas else a for i in range(before)]
            text = " ".join([*words, "fur", a, "fur", a])
            tokens = [[token] for word in words for token in tokenizer.encode(word)]
            fur, letter = tokenizer.encode("fur"), tokenizer.encode(a)
            expected, last = [[]], None
            for word in [*tokens, fur, letter, fur, letter]:
                now = expected[-1]
                if word[0] == comma:
                    last = len(now)
                elif len(now) == room and last is not None and room - last <= 20:
                    expected[-1], moved = now[: last + 1], now[last + 1 :]
                    expected.append(moved)
                    last = None
                if len(expected[-1]) == room or len(expected[-1]) + len(word) > room:
                    expected.append([])
                    last = None
                expected[-1] += word
            found = [[token for token, _ in chunk] for chunk in chunks(tokenizer, text)]
            assert found == expected, (before, commas)


def test_vectors_stand_where_the_table_would(tiny):
    """An embedding of the vectors of known tokens is the same as these tokens."""
    base, encoder = tiny.towers[0]
    ids = base.encode("cat do")
    table = encoder.token.weight
    from ldm.models.embeddings import with_vectors

    one = Embedding("fur", {"": table[ids].clone()})
    tower = Tower(WithWords(base, [one], True), with_vectors(encoder, one.vectors[""]))
    for syntax in ("a1111", "off"):
        with_name = encode_prompts([tower], ["a fur (fur:1.2)"], syntax)
        plain = encode_prompts([tiny.towers[0]], ["a cat do (cat do:1.2)"], syntax)
        torch.testing.assert_close(with_name.context, plain.context)
    assert not isinstance(encoder.token, WithVectors)
    assert tower.encoder.token.weight is table


def test_prompts_and_negative_prompts_of_a_request(own_tiny, write, tmp_path):
    write("fur.pt", a1111(VECTORS))
    write("ink.safetensors", {"emb_params": -VECTORS})

    def drawn(prompt, negative="", **options):
        return latents(own_tiny, Request(prompt, negative, **ASKED, **options))

    folder = {"embedding_dir": str(tmp_path)}
    plain, fur = drawn("a fur"), drawn("a fur", **folder)
    assert differ(fur, plain)
    assert differ(drawn("a fur", "ink", **folder), drawn("a fur", "ink"))
    assert torch.equal(drawn("a cat", **folder), drawn("a cat"))
    by_comfy = {"prompt_syntax": "comfyui", **folder}
    assert torch.equal(drawn("a fur", **by_comfy), plain)
    assert torch.equal(drawn("a embedding:fur", **by_comfy), fur)
    assert not torch.equal(drawn("a [fur:ink:1]", **folder), fur)
    assert torch.equal(drawn("a fur"), plain)


def test_what_is_not_there_is_said(own_tiny, write, tmp_path):
    write("fur.safetensors", {"emb_params": normal(2, 768)})
    folder = {"embedding_dir": str(tmp_path)}
    with pytest.warns(
        UserWarning, match="fur is not used, .* 768 wide, as those of sd1 are, and the model's 16"
    ):
        own_tiny.resolve(Request("a fur", **folder))
    with pytest.warns(UserWarning, match="there is no embedding ink: it stays text"):
        own_tiny.resolve(Request("a embedding:ink", **folder))
    write("long.safetensors", {"emb_params": normal(11, 16)})
    with pytest.raises(ValueError, match="long has 11 vectors: 10 can be read at once"):
        own_tiny.resolve(Request("a long", **folder))
    with pytest.raises(ValueError, match="is no folder"):
        own_tiny.resolve(Request("a fur", embedding_dir=str(tmp_path / "x")))


def test_sdxl_takes_a_pair(write, tmp_path):
    model = build(SDXL)
    write("fur.safetensors", {"clip_l": normal(2, 16), "clip_g": normal(2, 24)})
    write("ink.safetensors", {"emb_params": normal(2, 16)})
    folder = {"embedding_dir": str(tmp_path)}
    asked = Request("a fur", **ASKED)
    assert differ(latents(model, Request("a fur", **ASKED, **folder)), latents(model, asked))
    with pytest.warns(
        UserWarning, match="ink is not used, and stays text: its vectors are 16 wide"
    ):
        model.resolve(Request("an ink", **folder))


def test_a_lora_may_bring_embeddings(own_tiny, write, tmp_path):
    found = loras.tensors(own_tiny.family, "LoRA")
    found |= {"bundle_emb.fur.string_to_param.*": VECTORS}
    path = loras.write(tmp_path / "both.safetensors", found)
    write("fur.pt", a1111(VECTORS))
    lora = {"lora": f"{path}:0.5"}
    brought = latents(own_tiny, Request("a fur", **ASKED, **lora))
    beside = Request("a fur", **ASKED, **lora, embedding_dir=str(tmp_path))
    assert torch.equal(brought, latents(own_tiny, beside))
    without = {k: v for k, v in found.items() if "bundle" not in k}
    loras.write(path, without)
    assert differ(brought, latents(own_tiny, Request("a fur", **ASKED, **lora)))
