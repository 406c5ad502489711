"""What is told of a model's vocabulary: `ldm vocabulary`, and the line about words it lacks."""

import json
import shutil
import warnings

import pytest

import ldm
from ldm.cli import main
from ldm.pipeline.known import known_by
from ldm.pipeline.loading import built_in
from ldm.prompts.known import Known, Name, beside, read_known, save_known
from ldm.training.known import known_shapes, known_things
from ldm.training.shapes.distances import SHAPES
from ldm.training.shapes.scenes import COLOURS
from small_things import collection

OCTOPUS = Name(("octopus",), ("章鱼",), ("ocean", "sea creature"))
CAT = Name(("cat", "kitty"), ("猫",), ("pet",))
FACE = Name(("cat face", "whiskers"), ("猫脸",))
KNOWN = Known({"animals": (OCTOPUS, FACE, CAT)}, {"colours": (Name(("gray", "grey"), ("灰色",)),)})


@pytest.fixture
def listed(tmp_path):
    """A model with another list beside it."""
    path = shutil.copy(built_in(), tmp_path / "mine.safetensors")
    save_known(path, KNOWN)
    return path


def test_what_is_beside_the_built_in_model_is_what_it_was_trained_on():
    """The file is that of known_shapes: a shape or colour more, and it would have to be new."""
    known = read_known(built_in())
    assert known == known_shapes()
    assert [name.english[0] for name in known.all_things()] == list(SHAPES)
    assert [name.english[0] for name in known.words["colours"]] == list(COLOURS)


def test_a_list_is_read_as_it_was_written(listed, tmp_path):
    assert beside(listed) == tmp_path / "mine.vocabulary.json"
    assert read_known(listed) == KNOWN
    save_known(tmp_path, KNOWN)  # of a folder
    assert read_known(tmp_path) == KNOWN
    assert (tmp_path / "vocabulary.json").is_file()
    assert read_known(tmp_path / "other.safetensors") is None


def rows(said):
    return json.dumps({"things": {"a": [{"english": said}]}, "words": {}})


WRONG = ["", "[]", "{}", rows("cat"), rows([1]), rows([]), '{"things": 1, "words": {}}']


@pytest.mark.parametrize("text", [*WRONG, '{"things": {"a": [{}]}, "words": {}}'])
def test_another_file_in_its_place_is_told(listed, text):
    beside(listed).write_text(text)
    with pytest.raises(ValueError, match=r"mine\.vocabulary\.json' is no vocabulary, remove it: "):
        read_known(listed)


def test_things_have_every_name_and_faces_their_parts():
    known = known_things(collection())
    food = {name.english[0]: name for name in known.things["food"]}
    assert list(food) == ["apple", "leaf", "moon"]  # each once, although in six styles
    assert food["apple"] == Name(("apple", "my apple"), ("苹果",), ("tag",))
    faces = [name.english[0] for name in known.things["faces"]]
    assert faces == ["person", "happy", "a beard", "glasses"]
    assert "卡通" in str(next(n for n in known.words["styles"] if "cartoon" in n.english))
    assert Name(("gray", "grey"), ("灰色",)) in known.words["colours"]


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("cat", ["cat", "cat face"]),  # that name itself comes first
        ("Kitty", ["cat"]),
        ("ocean", ["octopus"]),  # a tag
        ("creature", ["octopus"]),
        ("猫", ["cat", "cat face"]),
        ("grey", ["gray"]),
        ("octopuss", ["octopus"]),  # by its spelling
        ("lighthouse", []),
    ],
)
def test_nearest_is_what_is_called_so_or_has_to_do_with_it_or_is_spelt_alike(word, nearest):
    assert KNOWN.nearest(word) == nearest


def test_the_command_lists_all_that_the_built_in_model_knows(capsys):
    assert main(["vocabulary"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"shapes (8): {', '.join(SHAPES)}\ncolours (12): red, ")
    assert all(len(line) <= 100 for line in told.splitlines())


def test_the_command_tells_of_words_and_of_those_that_are_not_known(listed, capsys):
    assert main(["vocabulary", "--ckpt", str(listed), "ocean", "灰"]) == 0
    assert capsys.readouterr().out == "animals (1): octopus 章鱼\ncolours (1): gray 灰色\n"
    assert main(["vocabulary", "--ckpt", str(listed), "octopuss", "ship"]) == 1
    told = capsys.readouterr().out
    assert told == "octopuss: not known; nearest: octopus\nship: not known\n"


def test_of_a_model_without_a_list_its_tokenizer_tells(tmp_path, capsys):
    """A model of this library's own layout that was moved without its list."""
    alone = shutil.copy(built_in(), tmp_path / "alone.safetensors")
    assert main(["vocabulary", "--ckpt", str(alone)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"there is no {tmp_path}/alone.vocabulary.json; these words ")
    assert "above, an, and" in told
    assert main(["vocabulary", "--ckpt", str(tmp_path / "none.safetensors")]) == 2
    assert "there is no file or folder" in capsys.readouterr().err


def test_the_line_about_words_names_what_is_near_and_what_there_is(tmp_path):
    model = ldm.load(device="cpu")
    assert known_by(model) == known_shapes()
    with pytest.warns(UserWarning, match="has not learnt") as told:
        model.conditioning(["a grey cat"])
    shapes = ", ".join(SHAPES)
    line = f"the model has not learnt: grey, cat; nearest: gray; it knows {shapes}: see ldm voc"
    assert str(told[0].message).startswith(line)
    path = shutil.copy(built_in(), tmp_path / "other.safetensors")
    other = ldm.load(path, device="cpu")
    with pytest.warns(UserWarning, match="^the model has not learnt: grey, cat$"):
        other.conditioning(["a grey cat"])  # nothing is told beside that file
    save_known(path, KNOWN)
    with pytest.warns(UserWarning, match="nearest: gray, cat, cat face; it knows octopus, cat fa"):
        other.conditioning(["a grey cat"])


def test_of_many_things_the_line_names_a_few(tmp_path):
    path = shutil.copy(built_in(), tmp_path / "many.safetensors")
    things = tuple(Name((f"thing{i}",)) for i in range(1363))
    save_known(path, Known({"things": things}, {}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ldm.load(path, device="cpu").conditioning(["a lighthouse"])
    assert "it knows thing0, thing136, " in str(told[0].message)
    assert ", ... (1363 in all): see ldm vocabulary" in str(told[0].message)
    assert len(str(told[0].message)) < 300
