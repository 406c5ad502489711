"""The files that a model was loaded from: what takes the place of its own parts, and what the
metadata of its pictures say of them, in the words of AUTOMATIC1111's web UI."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..runtime.hashes import HashedFile
from ..vae import VAE

if TYPE_CHECKING:
    from .model import LatentDiffusion


class Files(Mapping[str, str]):
    """Model hash, Model, VAE hash, VAE: of those there are.

    The model goes by its name, the VAE by its file's. Hashes are those that were computed once: by
    `ldm inspect`, or by `begin`.
    """

    def __init__(self, name: str, model: Path | None, vae: Path | None) -> None:
        self.names = {"Model": name} | ({} if vae is None else {"VAE": vae.name})
        paths = {"Model": model, "VAE": vae}
        self.files = {kind: HashedFile(path) for kind, path in paths.items() if path is not None}

    def begin(self) -> None:
        """Compute the hashes while something else is done."""
        for file in self.files.values():
            file.begin()

    def said(self) -> dict[str, str]:
        said: dict[str, str] = {}
        for kind, name in self.names.items():
            digits = self.files[kind].digits() if kind in self.files else None
            said |= {f"{kind} hash": digits} if digits is not None else {}
            said[kind] = name
        return said

    def __getitem__(self, name: str) -> str:
        return self.said()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.said())

    def __len__(self) -> int:
        return len(self.said())


def add_files(model: LatentDiffusion, path: Path | None, vae: str | Path | None) -> None:
    """What a model was loaded from, for the metadata; and the VAE of another file, if there is one,
    in place of its own. path: None for the model that comes with this library."""
    other = None if vae is None else Path(os.path.expanduser(vae))
    if other is not None:
        from ..models.meant import only_for
        from ..models.weights.vae import read_vae

        with only_for("--vae", other):
            network, model.family = read_vae(other, model.family, model.device)
        model.vae = cast(VAE, network.requires_grad_(False))  # a tiny one does all that a VAE does
    model.about = Files(model.name, path, other)
