"""Numbers as SVG: bars of ratios, and how cost grows."""

import math
from collections.abc import Sequence
from html import escape

from .growth import Point
from .measuring import Row

COLOURS = ("#2c54d6", "#b9c2d8", "#d9c9a8", "#c5d9b4", "#d9b4c5")  # ours first
GREY = 'fill="#555"'


def svg(width: float, height: float, lines: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}"'
    font = 'font-family="sans-serif" font-size="11"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *lines, "</svg>\n"])


def bars(rows: Sequence[Row], note: str, width: int = 640) -> str:
    """Of each row every peer's number as a part of diffusers', which is 1; the shorter the better.

    note: what is said below, of the machine and the versions
    """
    left, top, thick = 90, 12, 11
    shown = [row for row in rows if row.values.get("diffusers")]
    ratios = [v / row.values["diffusers"] for row in shown for v in row.values.values()]
    most, lines, y = max([1.0, *ratios]), [], float(top)
    scale = (width - left - 150) / most
    for row in shown:
        middle = y + thick * len(row.values) / 2 + 4
        name = f'text-anchor="end" font-weight="bold">{escape(row.name)}</text>'
        lines.append(f'<text x="{left - 8}" y="{middle:.1f}" {name}')
        for i, (peer, value) in enumerate(row.values.items()):
            long, colour = scale * value / row.values["diffusers"], COLOURS[i % len(COLOURS)]
            box = f'width="{long:.1f}" height="{thick - 1}" fill="{colour}"'
            lines.append(f'<rect x="{left}" y="{y:.1f}" {box}/>')
            said = f"{escape(peer)} {value:.3g} {row.unit}"
            lines.append(f'<text x="{left + long + 4:.1f}" y="{y + 9:.1f}" {GREY}>{said}</text>')
            y += thick
        y += 8
    one = left + scale
    lines.append(
        f'<path d="M{one:.1f},{top - 6} V{y - 4:.1f}" stroke="#999" stroke-dasharray="3"/>'
    )
    lines.append(f'<text x="{left}" y="{y + 12:.1f}" {GREY}>{escape(note)}</text>')
    return svg(width, y + 22, lines)


def growth(points: Sequence[Point], note: str, width: int = 300, height: int = 220) -> str:
    """Seconds of a step over the size of one picture, and over how many there are of one size;
    beside what its arithmetic alone would take at the speed of the first point (dashed)."""
    base = max({point.size for point in points if point.batch > 1}, default=0)
    of_base = {p.batch: p for p in points if p.size == base}
    panels: list[tuple[str, dict[int, Point]]] = [
        ("pixels of a side", {p.size: p for p in points if p.batch == 1}),
        (f"pictures of {base} px", dict(sorted(of_base.items()))),
    ]
    lines = []
    for i, (name, found) in enumerate((name, [*of.items()]) for name, of in panels if of):
        lines.append(f'<g transform="translate({i * width})">')
        lines += [*panel(name, found, width, height), "</g>"]
    lines.append(f'<text x="44" y="{height + 14}" {GREY}>{escape(note)}</text>')
    return svg(2 * width, height + 22, lines)


def panel(name: str, found: Sequence[tuple[int, Point]], width: int, height: int) -> list[str]:
    left, right, top, bottom = 44, width - 12, 16, height - 34
    first = found[0][1]
    took = [point.seconds for _, point in found]
    work = [first.seconds * point.teraflops / first.teraflops for _, point in found]
    across, (low, high) = ends([x for x, _ in found]), ends([*took, *work])

    def place(x: float, value: float) -> str:
        part = (math.log(x) - across[0]) / (across[1] - across[0])
        up = (math.log(value) - low) / (high - low)
        return f"{left + (right - left) * part:.1f},{bottom - (bottom - top) * up:.1f}"

    lines = [f'<path d="M{left},{top} V{bottom} H{right}" fill="none" stroke="#999"/>']
    for values, how in ((work, 'stroke="#999" stroke-dasharray="4"'), (took, 'stroke="#2c54d6"')):
        points = " ".join(place(x, value) for (x, _), value in zip(found, values))
        lines.append(f'<polyline points="{points}" fill="none" stroke-width="1.5" {how}/>')
    for (x, _), value in zip(found, took):
        at, up = place(x, value).split(",")
        lines.append(f'<circle cx="{at}" cy="{up}" r="2" fill="#2c54d6"/>')
        lines.append(f'<text x="{at}" y="{bottom + 13}" text-anchor="middle" {GREY}>{x}</text>')
    for value in (min(took), max(took)):
        up = place(found[0][0], value).split(",")[1]
        said = f'text-anchor="end" {GREY}>{value:.3g} s</text>'
        lines.append(f'<text x="{left - 4}" y="{float(up) + 4:.1f}" {said}')
    lines.append(f'<text x="{left}" y="{bottom + 27}" {GREY}>{name}</text>')
    return lines


def ends(values: Sequence[float]) -> tuple[float, float]:
    """The logarithms of the least and the greatest, apart."""
    low, high = math.log(min(values)), math.log(max(values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)
