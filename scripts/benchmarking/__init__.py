"""The parts of scripts/benchmark.py.

measuring   seconds and memory, by turns
computing   what this library and diffusers can both be asked for
peers       others that do the same: diffusers in other ways, OpenVINO
growth      how a step's cost grows with the picture and the batch, beside its arithmetic
vram        what pictures take of a GPU's memory, where a plan holds it down
figures     numbers as SVG
"""
