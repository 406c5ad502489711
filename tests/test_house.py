"""The house rules that a reader relies on: how much there is to a folder, a file, a function."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ldm"
MODULES = sorted(PACKAGE.rglob("*.py"))
TABLES = {"unet_rows", "configs_of"}  # functions that are tables


def test_the_package_has_few_entries():
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    rooms = [name for name in entries if not name.startswith("__") and name != "py.typed"]
    assert len(rooms) <= 22, rooms


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_a_file_is_read_in_one_sitting(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 260
    assert not [line for line in lines if len(line) > 100]


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_a_function_is_seen_at_once(path):
    """Its docstring aside, which may hold examples."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name not in TABLES:
            first = node.body[0]
            told = ast.get_docstring(node) is not None
            docstring = first.end_lineno - first.lineno + 1 if told else 0
            length = node.end_lineno - node.lineno + 1 - docstring
            assert length <= 45, f"{node.name} has {length} lines"


def test_types_are_seldom_ignored():
    text = "".join(path.read_text(encoding="utf-8") for path in MODULES)
    assert text.count("type: ignore") < 12
