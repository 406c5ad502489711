"""What CLIP says of pictures and texts: the command score, and the command describe."""

import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import ldm
from clip_files import inputs, reads_words
from helpers import random_picture
from ldm.cli.score import sorted_out
from ldm.clip.contrastive import CLIP
from ldm.clip.pictures import prepared
from ldm.clip.tokenizer import Tokenizer
from ldm.clip.vision import VisionConfig
from ldm.models.families import SD1
from ldm.pipeline.describing import chain, phrases
from ldm.pipeline.scoring import Scorer

TEXTS = ["a cat", "a dog", "the sea at night"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file(reads_words().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def scorer(file):
    return ldm.load_clip(file, "cpu")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "some"
    place.mkdir()
    for i, name in enumerate(("b.png", "a.png", "c.webp")):
        random_picture(40 + 7 * i, 50 - 9 * i).save(place / name)
    (place / "notes.txt").write_text("no picture")
    return place


def test_scores_are_cosines_and_their_softmax(scorer):
    theirs, pictures = reads_words(), [random_picture(50, 40), random_picture(36, 61)]
    images, texts = theirs(prepared(pictures, 35), Tokenizer()(TEXTS))
    expected = torch.cosine_similarity(images[:, None], texts, dim=2)
    torch.testing.assert_close(scorer.similarity(pictures, TEXTS), expected, atol=1e-5, rtol=0)
    scale = float(theirs.logit_scale.exp())
    torch.testing.assert_close(
        scorer.score(pictures, TEXTS), (scale * expected).softmax(1), atol=1e-4, rtol=0
    )


def test_many_are_read_in_parts(scorer, monkeypatch):
    pictures, whole = [random_picture(35, 35 + i) for i in range(5)], scorer
    expected = whole.similarity(pictures, TEXTS)
    monkeypatch.setattr("ldm.pipeline.scoring.TEXTS", 2)
    monkeypatch.setattr("ldm.pipeline.scoring.PICTURES", 2)
    torch.testing.assert_close(whole.similarity(pictures, TEXTS), expected, atol=1e-5, rtol=0)


def test_a_tokenizer_of_other_tokens_is_refused():
    text = replace(SD1.text[0], vocabulary=517, width=8, heads=1, layers=1, projection=10)
    vision = VisionConfig(28, 14, 8, 1, 1, 8, "gelu", 10)
    with pytest.raises(ValueError, match="knows 517 tokens"):
        Scorer(CLIP(text, vision))
    with pytest.raises(ValueError, match="vectors of 10 numbers, and pictures of 11"):
        CLIP(text, replace(vision, projection=11))


def lines(out):
    return [line.split(maxsplit=2) for line in out.splitlines() if line.startswith("  ")]


def test_texts_of_a_picture_are_ranked(run, folder, file, scorer):
    picture = folder / "a.png"
    code, out, _ = run(f"score {picture} 'a cat' 'a dog' --clip {file}", ckpt=False)
    assert code == 0
    shares = scorer.score([picture], TEXTS[:2])[0]
    found = {name: float(share.rstrip("%")) / 100 for share, _, name in lines(out)}
    for name, share in zip(TEXTS, shares.tolist()):
        assert found[name] == pytest.approx(share, abs=1e-3)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_a_folder_is_searched_by_a_text(run, folder, file, scorer):
    (folder / "d.png").write_bytes(b"broken")
    code, out, err = run(f"score {folder} 'a cat' --top 2 --clip {file}", ckpt=False)
    assert code == 1
    assert "d.png" in err
    assert out.splitlines()[0] == "'a cat':"
    names = [folder / name for name in ("a.png", "b.png", "c.webp")]
    values = scorer.similarity(names, ["a cat"])[:, 0]
    best = values.argsort(descending=True)[:2]
    printed = [line.split() for line in out.splitlines()[1:]]
    assert [name for _, name in printed] == [str(names[i]) for i in best]
    assert [float(value) for value, _ in printed] == [round(float(values[i]), 4) for i in best]


def test_what_is_wrong_is_said_before_work(run, folder, file):
    for line, told in (
        (f"score {folder} 'a cat'", "no CLIP comes with this library"),
        (f"describe {folder}/a.png", "no CLIP comes with this library"),
        (f"score {folder} --clip {file}", "give a text, too"),
        (f"score 'a cat' --clip {file}", "give a picture"),
        (f"score nowhere.png 'a cat' --clip {file}", "there is no picture 'nowhere.png'"),
        (f"score {folder} 'a cat' --clip nowhere.pt", "there is no file or folder nowhere.pt"),
        (f"score {folder} 'a cat' --clip {folder}/a.png", "is a picture"),
    ):
        code, out, err = run(line, ckpt=False)
        assert (code, out) == (2, ""), line
        assert told in err
        assert err.count("\n") == 1


def test_long_texts_are_no_paths():
    text = "a cat " * 1000
    assert sorted_out([__file__, text, "nul\0"])[1] == [text, "nul\0"]


def test_describe_prints_a_prompt_of_the_lists(run, folder, file, scorer):
    code, out, _ = run(f"describe {folder}/a.png --phrases 3 --clip {file}", ckpt=False)
    assert code == 0
    first, *rest = out.splitlines()
    found = scorer.describe(folder / "a.png", 3)
    assert first == f"{folder}/a.png: {found.prompt}"
    assert [line.split(":")[0].strip() for line in rest] == [*phrases()]
    assert found.similarity == pytest.approx(
        float(scorer.similarity([folder / "a.png"], [found.prompt])), abs=1e-5
    )
    assert found.prompt.split(", ")[0] in phrases()["subject"]
    for name, best in found.best.items():
        values = scorer.similarity([folder / "a.png"], phrases()[name])[0]
        assert best[0][0] == phrases()[name][int(values.argmax())]


def test_the_lists_hold_each_phrase_once():
    lists = phrases()
    assert [*lists] == ["subject", "medium", "style", "colour", "mood"]
    for those in lists.values():
        assert len(set(those)) == len(those) >= 40
        assert all(re.fullmatch(r"[A-Za-z0-9' -]+", phrase) for phrase in those)


WORTH = {"x": 5, "y": 4, "a": 3, "b": 2, "c": 1, "d": -1, "e": 2.5}


def worth(texts):
    """Phrases are worth something each; the second of a kind only what it adds to the first."""
    return torch.tensor([sum(WORTH[word] for word in text.split(", ")) for text in texts])


@pytest.mark.parametrize(
    ("count", "prompt"), [(1, "x"), (2, "x, a"), (3, "x, a, e"), (9, "x, a, e, b")]
)
def test_the_chain_takes_what_adds_most_until_nothing_does(count, prompt):
    """c would add something, too, but is the third of its list; d takes something away."""
    found, value = chain(worth, ["y", "x"], [["c", "b", "a"], ["d", "e"]], count)
    assert (found, value) == (prompt, float(worth([prompt])))


def test_a_description_has_at_least_a_phrase(scorer):
    with pytest.raises(ValueError, match="at least 1"):
        scorer.describe(inputs(torch.float32)[0][:1].clamp(-1, 1), 0)
