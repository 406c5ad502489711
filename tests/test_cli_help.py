"""--help: every flag, in groups, with what it is when it is not given."""

import argparse
import re
from dataclasses import fields

import pytest

from ldm.cli import main, parse, parser
from ldm.cli.draw import requested
from ldm.cli.help import TOLD
from ldm.request import GROUPS, FromPicture, Request
from ldm.samplers import SAMPLERS, SCHEDULES

COMMANDS = next(
    action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
)
DRAWING = ("txt2img", "img2img", "inpaint", "outpaint", "upscale")


def flags(command):
    return [a for a in COMMANDS[command].filled()._actions if a.option_strings and a.dest != "help"]


def told(command, capsys):
    """What --help prints of each flag, under its first name, without the breaks of lines."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    sections = capsys.readouterr().out.split("\n\n")[1:]  # the usage comes first
    entries = [entry for section in sections for entry in re.split(r"\n  (?=-)", section)[1:]]
    return {re.split(r"[ ,\n]", entry)[0]: re.sub(r"\s+", " ", entry).strip() for entry in entries}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_told_with_its_default_or_off(command, capsys):
    text = told(command, capsys)
    assert text.keys() == {"-h", *(action.option_strings[0] for action in flags(command))}
    for action in flags(command):
        entry = text[action.option_strings[0]]
        assert all(name in entry for name in action.option_strings)
        assert re.search(r"\w.*\(.*default: [^()]+\)$", entry), entry


@pytest.mark.parametrize("command", DRAWING)
def test_a_field_of_a_request_is_told_with_its_own_default(command, capsys):
    text = told(command, capsys)
    given = {action.dest: action for action in flags(command)}
    for f in fields(Request):
        if f.name not in given:
            continue
        default = f.metadata["left_open"] if f.default is None else str(f.default) or "empty"
        default = "off" if f.default is False else TOLD.get(command, {}).get(f.name, default)
        entry = text[given[f.name].option_strings[0]]
        assert f" {f.metadata['help']}" in entry
        assert entry.endswith(f"default: {default})")


@pytest.mark.parametrize("command", DRAWING)
def test_flags_stand_in_groups(command):
    parser = COMMANDS[command].filled()
    groups = {group.title: group._group_actions for group in parser._action_groups}
    own = [group for group in GROUPS if command != "txt2img" or group is not FromPicture]
    told = {group.__doc__: [f.name for f in fields(group) if f.metadata["flags"]] for group in own}
    assert told == {
        title: [action.dest for action in groups[title]] for title in groups if title in told
    }
    assert [*groups][-3:] == ["how many pictures", "what is written", "the model"]
    assert [action.dest for action in groups["options"]] == ["help"]


def test_only_the_commands_that_start_from_a_picture_have_flags_for_it():
    for command in DRAWING:
        names = {action.dest for action in flags(command)}
        assert ("image" in names) == ("strength" in names) == (command != "txt2img")
        assert ("indir" in names) == (command == "inpaint")


def test_the_names_of_samplers_and_schedules_stand_at_their_flags(capsys):
    text = told("txt2img", capsys)
    assert f": {', '.join(SAMPLERS)} (" in text["--sampler"]
    assert f": automatic, {', '.join(SCHEDULES)} (" in text["--schedule"]


def test_the_defaults_of_commands_are_those_that_are_drawn(capsys):
    for command in ("txt2img", "img2img"):
        (picture, *_) = requested(parse([command, *["--init-img", "x"] * (command == "img2img")]))
        assert f"default: CompVis's, {picture.prompt!r})" in told(command, capsys)["--prompt"]
    assert requested(parse(["upscale", "--init-img", "x"]))[0].upscale == 0
    assert told("upscale", capsys)["--upscale"].endswith("default: 0)")
    assert told("replay", capsys)["--seed"].endswith("default: what the file says)")
