"""Which npm packages the pictures and their names come from; DATA.md tells their licences.

They are fetched once, by npm, into a folder; nothing of them is part of this library.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = {
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/fluent-emoji": "1.2.7",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@lobehub/fluent-emoji-3d": "1.1.0",
    "emojibase-data": "17.0.0",
    "@dicebear/core": "9.4.3",
    "@dicebear/lorelei": "9.4.3",
    "@dicebear/notionists": "9.4.3",
    "@dicebear/open-peeps": "9.4.3",
    "@dicebear/pixel-art": "9.4.3",
}


def fetch(folder: Path) -> Path:
    """Installs what is not there yet. -> the folder of the packages. ValueError if npm fails."""
    modules = folder / "node_modules"
    missing = [name for name, version in PACKAGES.items() if _version(modules / name) != version]
    if not missing:
        return modules
    if shutil.which("npm") is None:
        raise ValueError("npm, which fetches the packages, is not installed: install Node.js")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"]
    done = subprocess.run(
        ["npm", "install", "--prefix", str(folder), *flags, *wanted], capture_output=True, text=True
    )
    if done.returncode:
        what = " ".join(done.stderr.split())[-200:]
        raise ValueError(f"npm could not install {', '.join(missing)[:200]}: {what}")
    return modules


def _version(package: Path) -> str | None:
    described = package / "package.json"
    return str(read(described)["version"]) if described.is_file() else None


def read(path: Path) -> Any:
    """What a JSON file of a package holds."""
    return json.loads(path.read_text("utf-8"))
