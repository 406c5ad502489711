"""A collection of three things and a face, drawn by hand."""

import itertools

import numpy as np

from ldm.training.things.collection import Collection, Entry

SIDE = 32
INKS = {"apple": (222, 42, 48), "leaf": (46, 158, 74), "moon": (252, 222, 60)}


def disc(colour):
    axis = np.arange(SIDE) - SIDE / 2 + 0.5
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[:, :, :3] = colour
    pixels[:, :, 3] = 255 * (axis[:, None] ** 2 + axis**2 < (SIDE / 2) ** 2)
    return pixels


def collection():
    """Three things in all styles of emoji, and a face."""
    styles = ["flat", "gradient", "cartoon", "3d", "pixel art", "silhouette"]
    chinese = {"apple": ("苹果",), "leaf": ("叶子",), "moon": ()}
    entries, pictures = [], []
    for (name, ink), style in itertools.product(INKS.items(), styles):
        entries.append(Entry(name, style, "food", (name, f"my {name}"), ("tag",), chinese[name]))
        pictures.append(disc(ink))
    parts = ("~happy", "a beard", "glasses")
    entries.append(Entry("face", "sketch", "faces", ("person",), parts=parts))
    pictures.append(disc((128, 64, 32)))
    return Collection(np.stack(pictures), entries, "digest")
