"""The prompts of several pictures: what is left to chance, what each reads when, and which of them
can share a batch."""

import pytest

from ldm.clip.tokenizer import Tokenizer
from ldm.prompts import batches as prompt_batches
from ldm.prompts.batches import batch_by_shape
from ldm.prompts.extra_networks import networks_in
from ldm.prompts.lengths import chunk_sizes
from ldm.prompts.schedule import PromptSchedule
from ldm.prompts.wildcards import expand_wildcards, expanded, read_lists
from ldm.request import Request

TOKENIZER = Tokenizer([("c", "a"), ("ca", "t</w>"), ("d", "o")], length=12)
LONG = "a cat, a dog, a cat and a dog at night"  # more than one chunk of 10 tokens


# What is read when


def test_a_schedule_of_plain_prompts_is_constant():
    schedule = PromptSchedule(["a cat", "a dog", "a cat"], [""] * 3, changes=4)
    assert schedule.texts == ["a cat", "a dog", ""]
    assert schedule.constant
    reads = {schedule.at(change) for change in range(1, 6)}
    assert reads == {(((0, 1, 0),), ((1.0, 1.0, 1.0),), (2, 2, 2))}


def read_at(schedule, change):
    """What is read at a moment, as texts."""
    positives, weights, negatives = schedule.at(change)
    texts = schedule.texts
    return (
        [[texts[i] for i in row] for row in positives],
        [list(row) for row in weights],
        [texts[i] for i in negatives],
    )


def test_prompts_that_change_are_read_at_their_steps():
    schedule = PromptSchedule(["a [cat:dog:2]", "[one|two]"], ["x [y:1]", ""], changes=3)
    assert not schedule.constant
    assert sorted(schedule.texts) == sorted(["a cat", "a dog", "one", "two", "x ", "x y", ""])
    assert [read_at(schedule, change) for change in (1, 2, 3)] == [
        ([["a cat", "one"]], [[1, 1]], ["x ", ""]),
        ([["a cat", "two"]], [[1, 1]], ["x y", ""]),
        ([["a dog", "one"]], [[1, 1]], ["x y", ""]),
    ]


def test_moments_can_be_counted_from_0_and_go_beyond_the_last():
    schedule = PromptSchedule(["[a:b:1]"], [""], changes=2)
    assert [read_at(schedule, change)[0] for change in (0, 1, 2, 3)] == [
        [["a"]], [["a"]], [["b"]], [["b"]]
    ]  # fmt: skip


def test_a_change_beyond_the_last_step_is_none():
    assert PromptSchedule(["[a:b:7]"], [""], changes=3).constant
    assert not PromptSchedule(["a"], ["[a:b:1]"], changes=3).constant


def test_joined_prompts_and_those_that_join_fewer():
    schedule = PromptSchedule(["a AND [b:c:1] :0.5", "d"], ["e AND f", "g"], changes=2)
    expected = ([["a", "d"], ["c", "g"]], [[1, 1], [0.5, 0]], ["e AND f", "g"])
    assert read_at(schedule, 2) == expected


def test_a_second_pass_goes_on_where_the_first_ended():
    schedule = PromptSchedule(["[a:b:1.5]"], [""], changes=4, earlier=20)
    assert [read_at(schedule, change)[0][0][0] for change in (1, 2, 3, 4)] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("syntax", ["comfyui", "off"])
def test_only_one_syntax_knows_changes_and_joins(syntax):
    schedule = PromptSchedule(["[a:b:1] AND c"], ["[d|e]"], 2, syntax=syntax)
    assert schedule.texts == ["[a:b:1] AND c", "[d|e]"]
    assert schedule.constant


def test_each_prompt_needs_its_negative():
    with pytest.raises(ValueError, match="2 prompts and 1 negatives"):
        PromptSchedule(["a", "b"], [""], 1)


# What shares a batch


def batches(prompts, negatives=None, syntax="a1111", guided=True, changes=4, **options):
    negatives = [""] * len(prompts) if negatives is None else negatives
    return batch_by_shape(prompts, negatives, TOKENIZER, syntax, guided, changes, **options)


def test_pictures_of_one_shape_are_one_batch():
    found = batches(["a cat", LONG, "a dog", "a AND b"] * 2)
    assert [batch.pictures for batch in found] == [[0, 2, 4, 6], [1, 5], [3, 7]]
    assert [batch.schedule.texts for batch in found] == [
        ["a cat", "a dog", ""],
        [LONG, ""],
        ["a", "b", ""],
    ]
    assert all(batch.guided for batch in found)


def test_a_long_negative_or_a_long_text_on_the_way_makes_the_shape():
    found = batches(["a", "a", f"[a:{LONG}:2]"], ["b", LONG, "b"])
    assert [batch.pictures for batch in found] == [[0], [1, 2]]
    assert len(batches(["a"], syntax="off")) == 1
    assert [b.pictures for b in batches(["a", f"[a:{LONG}:1]"], syntax="comfyui")] == [[0], [1]]


def test_with_repeated_chunks_the_shape_is_the_common_multiple():
    prompts = ["a BREAK b", "a BREAK b BREAK c", "a BREAK b BREAK c"]
    negatives = ["a BREAK b BREAK c", "a BREAK b", ""]
    assert [b.pictures for b in batches(prompts, negatives)] == [[0, 1, 2]]
    assert [b.pictures for b in batches(prompts, negatives, repeat_chunks=True)] == [[0, 1], [2]]


def test_without_guidance_negatives_are_read_only_beside_joined_prompts():
    found = batches(["a", "b", "c AND d"], ["x", LONG, "y"], guided=False)
    assert [(b.pictures, b.guided) for b in found] == [([0, 1], False), ([2], True)]
    assert [b.schedule.texts for b in found] == [["a", "b"], ["c", "d", "y"]]


def test_a_second_pass_is_batched_by_what_it_reads():
    assert [b.schedule.texts for b in batches(["[a:b:4]"], earlier=4)] == [["b", ""]]


def test_each_text_is_tokenized_once(monkeypatch):
    read = []
    chunks = prompt_batches.chunks_of
    monkeypatch.setattr(
        prompt_batches, "chunks_of", lambda t, text, s: read.append(text) or chunks(t, text, s)
    )
    batches(["a cat", "[a cat|b]", "a cat"], ["x", "x", "b"])
    assert sorted(read) == ["a cat", "b", "x"]


def test_loras_are_taken_out_of_prompts_where_the_syntax_has_them():
    prompts = ["a cat<lora:ink:0.5><lyco:fur:1>", "<lora:ink><hypernet:brush:1>"]
    assert [b.schedule.texts for b in batches(prompts)] == [["a cat", ""]]
    assert networks_in(Request(prompts, prompt_syntax="a1111")) == [
        "the prompt asks for LoRAs, and there is no --lora_dir to take them from: fur, ink",
        "the prompt asks for hypernetworks, which are given by --hypernetwork FILE alone: brush",
    ]
    for syntax in ("comfyui", "off"):
        assert networks_in(Request(prompts, prompt_syntax=syntax)) == []
    assert batches(prompts[:1], syntax="off")[0].schedule.texts == [prompts[0], ""]


def test_chunk_sizes():
    sizes = chunk_sizes(["a cat", f"[a cat:{LONG}:2]<lora:x>"], ["cat " * 12] * 2, TOKENIZER)
    assert list(sizes) == ["a cat", LONG, "cat " * 12]
    assert sizes["cat " * 12] == [10, 2]
    assert sizes["a cat"] == [len(TOKENIZER.encode("a cat"))]
    assert sum(sizes[LONG]) == len(TOKENIZER.encode(LONG))
    assert len(sizes[LONG]) > 1
    assert list(chunk_sizes(["[a:b:4]"], [""], TOKENIZER, changes=3)) == ["a", ""]


# What is left to chance


def test_choices_are_drawn_from_the_seed_of_each_picture(tmp_path):
    (tmp_path / "animal.txt").write_text("cat\ndog\n# remark\n{red|blue} cat\n", encoding="utf-8")
    prompt, folder = "a {big|small} __animal__", str(tmp_path)
    request = expanded(Request(prompt, seed=1, count=20, wildcards=folder))
    assert request.wildcards is None
    assert (request.count, request.total) == (1, 20)
    assert len(set(request.prompts)) > 3
    assert not any(mark in prompt for prompt in request.prompts for mark in "{_|")
    assert expanded(Request(prompt, seed=5, wildcards=folder)).prompt == request.prompts[4]
    assert expanded(request) == request


def test_negative_prompts_are_drawn_too_and_each_picture_has_its_own():
    prompt, negative = "a {red|blue} cat", "{blue|red} {a|b|c}"
    request = expanded(Request(prompt, negative=negative, seed=1, count=12))
    assert request.total == len(request.negatives) == 12
    for one, other in zip(request.prompts, request.negatives):
        assert other.startswith("blue" if "red" in one else "red")
    assert len({negative[-1] for negative in request.negatives}) == 3
    again = expanded(Request(prompt, negative=negative, seed=5))
    assert (again.prompt, again.negative) == (request.prompts[4], request.negatives[4])
    assert expanded(request) == request
    fixed = expanded(Request(["a cat", "a dog"], negative="{red|red}", count=2))
    assert (fixed.total, fixed.negative) == (4, "red")


def test_what_draws_nothing_stays_as_it_was():
    request = Request(["a cat", "{a dog}"], count=3, prompt_syntax="a1111")
    assert expanded(request) == request
    plain = Request("a cat")
    assert expanded(plain) is plain
    off = Request("{a|b}", prompt_syntax="off", wildcards="somewhere")
    assert expanded(off) == off


def test_a_list_is_found_within_braces_without_a_choice():
    assert expand_wildcards("{__x__}", 0, {"x": ["a"]}) == "{a}"


def test_drawing_depends_on_the_seed_alone():
    prompt, lists = "{a|b|c} {d|e|f} __x__", {"x": [str(i) for i in range(100)]}
    drawn = [expand_wildcards(prompt, seed, lists) for seed in range(30)]
    assert drawn == [expand_wildcards(prompt, seed, lists) for seed in range(30)]
    assert len(set(drawn)) > 25
    assert {text[0] for text in drawn} == set("abc")


def test_word_lists_are_read_from_a_folder(tmp_path):
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals" / "cats.txt").write_text(
        "# big ones\nlion\n\n  tiger \n", encoding="utf-8"
    )
    (tmp_path / "endless.txt").write_text("more __endless__")
    (tmp_path / "empty.txt").write_text("")
    lists = read_lists(tmp_path)
    assert lists == {
        "animals/cats": ["lion", "tiger"],
        "endless": ["more __endless__"],
        "empty": [],
    }
    assert {expand_wildcards("__animals/cats__", seed, lists) for seed in range(20)} == {
        "lion",
        "tiger",
    }
    assert expand_wildcards("__endless__", 0, lists).startswith("more more")
    assert expand_wildcards("__empty__ __none__", 0, lists) == "__empty__ __none__"
