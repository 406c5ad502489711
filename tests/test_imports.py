"""Who may import whom, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ldm"

LAYERS = (  # a module may import those of the rows above its own; none of its own row
    ("runtime",),
    ("layers", "conditioning", "request"),
    ("clip", "unet", "vae", "samplers", "images"),
    ("compat", "models", "prompts"),
    ("metadata",),
    ("pipeline",),
    ("training",),
    ("cli",),
    ("__init__", "__main__"),
)
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def top(path):
    """The module or package of `ldm` that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """The modules and packages of `ldm` that a file imports, at its top or inside a function."""
    package = ["ldm", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            start += node.module.split(".") if node.module else []
            names = [[*start, alias.name] for alias in node.names]
        else:
            continue
        yield from (name[1] for name in names if name[0] == "ldm" and len(name) > 1)


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_imports_point_downwards(path):
    own = top(path)
    for other in imported(path):
        assert other == own or DEPTH[other] < DEPTH[own], f"ldm.{own} must not import ldm.{other}"


def test_importing_is_light_and_does_nothing():
    """It brings in none of the heavy packages (torch may have some already), and leaves torch's
    generator alone."""
    code = """
import sys, torch
before, state = set(sys.modules), torch.get_rng_state()
import ldm, ldm.cli
heavy = {"PIL", "ftfy", "regex", "tqdm", "safetensors", "diffusers", "transformers", "scipy"}
assert not (found := heavy & (set(sys.modules) - before)), found
assert torch.equal(state, torch.get_rng_state())
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
