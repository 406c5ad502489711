"""What is left to chance beside other brackets, and word lists as people write them."""

import time
import warnings

import pytest

from ldm.prompts.wildcards import divided, expand_wildcards, expanded, read_lists
from ldm.request import Request


def drawn(prompt, lists=None):
    return {expand_wildcards(prompt, seed, lists) for seed in range(40)}


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("{[dog]|[cat|fox]}", {"[dog]", "[cat|fox]"}),
        ("a {red|blue [big|small]} star", {"a red star", "a blue [big|small] star"}),
        ("{(a|b)|c}", {"(a|b)", "c"}),
        ("{[(a|b)|c]|d}", {"[(a|b)|c]", "d"}),
        ("{[a|b]}", {"{[a|b]}"}),
        ("{a)|(b}", {"a)", "(b"}),
        ("{[a|b}", {"[a", "b"}),
        ("[{a|b}|c]", {"[a|c]", "[b|c]"}),
        ("{a (b|c]|d) e|f}", {"a (b|c]|d) e", "f"}),
        ("{a|{b|[c|d]}}", {"a", "b", "[c|d]"}),
    ],
)
def test_a_bar_within_other_brackets_does_not_divide_braces(prompt, found):
    assert drawn(prompt) == found


def test_choices_are_divided_in_linear_time():
    for worst in ("[|" * 50_000, "[" * 50_000 + "|]" * 50_000, "([|" * 33_000 + ")" * 33_000):
        began = time.process_time()
        divided(worst)
        expand_wildcards("{" + worst + "|a}", 0)
        assert time.process_time() - began < 2


def test_a_list_that_names_itself_many_times_is_refused():
    began = time.process_time()
    with pytest.raises(ValueError, match="names itself"):
        expand_wildcards("__x__", 0, {"x": ["__x__ " * 1000]})
    assert time.process_time() - began < 2


@pytest.mark.parametrize("prompt", ["{2$$a|b}", "{1-2$$a|b}", "{0.9::a|b}", "{a|3::b}"])
def test_what_another_program_would_read_is_told(prompt):
    with pytest.warns(UserWarning, match="is not read"):
        expanded(Request(f"a {prompt} cat"))


def test_plain_choices_are_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expanded(Request("a {red|blue} cat at 4::3, $$ {16:9|4:3} __cat__"))


# Word lists


def write(folder, name, data):
    (folder / name).write_bytes(data)
    return str(folder)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    for prompt in ("a __cat__", "a cat"):
        with pytest.raises(ValueError, match="nowhere is no folder: give one with word lists"):
            expanded(Request(prompt, wildcards=str(tmp_path / "nowhere")))


def test_a_list_that_is_not_there_is_told(tmp_path):
    folder = write(tmp_path, "animal.txt", b"cat\ndog\n")
    with pytest.warns(UserWarning, match="no word list for __anmal__.* There are animal"):
        found = expanded(Request("__anmal__ and __animal__", wildcards=folder))
    assert str(found.prompt).startswith("__anmal__ and ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expanded(Request("a __cat__"))  # who gives no folder may mean the text
        expanded(Request("a __animal__", wildcards=folder))


def test_notepads_mark_is_no_word(tmp_path):
    write(tmp_path, "a.txt", "\ufeffone\r\ntwo\r\n".encode())
    write(tmp_path, "b.txt", "\ufeff# remark\nthree".encode())
    assert read_lists(tmp_path) == {"a": ["one", "two"], "b": ["three"]}


@pytest.mark.parametrize(
    ("data", "line"),
    [("a\ncafé\n".encode("latin-1"), 2), ("a\nb\n".encode("utf-16"), 1), (b"a\nb\n\xff", 3)],
)
def test_another_encoding_is_an_error_with_file_and_line(tmp_path, data, line):
    write(tmp_path, "words.txt", data)
    with pytest.raises(ValueError, match=rf"words.txt, line {line}, is not UTF-8 text"):
        read_lists(tmp_path)


def test_a_list_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(ValueError, match=r"folder\.txt cannot be read"):
        read_lists(tmp_path)
