"""The losses of a training, a curve for each stage, as SVG.

python scripts/loss_curves.py runs/shapes64 --out loss.svg
"""

import argparse
import json
import math
import sys
from pathlib import Path

FORMER = {"reading": "joint"}  # what stages' folders were called once
WIDTH, HEIGHT = 210, 180  # of a panel, in pixels
LEFT, RIGHT, TOP, BOTTOM = 34, 12, 22, 30  # its margins
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def smooth(values: list[float], reach: int = 2) -> list[float]:
    """The mean of each value and `reach` of its neighbours on both sides."""
    near = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in near]


def panel(title: str, rows: list[dict[str, float]]) -> list[str]:
    """The loss over the steps, on a logarithmic scale; of several, the diffusion's."""
    steps, seconds = rows[-1]["step"], rows[-1]["seconds"]
    losses = smooth([row.get("diffusion", row["loss"]) for row in rows])
    low, high = math.log10(min(losses)) - 0.03, math.log10(max(losses)) + 0.03
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def height(loss: float) -> float:
        return round(TOP + (bottom - TOP) * (high - math.log10(loss)) / (high - low), 1)

    grey = 'text-anchor="end" fill="#555"'
    lines = [f'<text x="{LEFT}" y="14" font-weight="bold">{title}</text>']
    for tick in TICKS:
        if low <= math.log10(tick) <= high:
            lines.append(f'<text x="{LEFT - 4}" y="{height(tick) + 4}" {grey}>{tick:g}</text>')
            lines.append(f'<path d="M{LEFT},{height(tick)} H{right}" stroke="#eee"/>')
    lines.append(f'<path d="M{LEFT},{TOP} V{bottom} H{right}" fill="none" stroke="#999"/>')
    places = [LEFT + (right - LEFT) * row["step"] / steps for row in rows]
    points = " ".join(f"{x:.1f},{height(loss)}" for x, loss in zip(places, losses, strict=True))
    lines.append(f'<polyline points="{points}" fill="none" stroke="#2c54d6" stroke-width="1.5"/>')
    note = f"{steps:,} steps, {seconds / 60:.0f} min"
    lines.append(f'<text x="{right}" y="{bottom + 14}" {grey}>{note}</text>')
    return lines


def logs(folder: Path) -> dict[str, Path]:
    """The title and the log of each stage that has one, in the order of the training."""
    from ldm.training.recipe import STAGES  # after torch, for which Ctrl-C need not wait

    found = {
        FORMER.get(path.parent.name, path.parent.name): path for path in folder.glob("*/log.jsonl")
    }
    return {title: found[name] for name, title in STAGES.items() if name in found}


def drawing(folder: Path) -> str:
    """The stages that have a log in the folder of a training, side by side."""
    found = logs(folder)
    if not found:
        raise SystemExit(f"{folder} holds no training: give the folder that scripts/train.py wrote")
    size = f'width="{len(found) * WIDTH}" height="{HEIGHT}"'
    font = 'font-family="sans-serif" font-size="11"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>']
    lines.append('<rect width="100%" height="100%" fill="white"/>')
    for i, (title, log) in enumerate(found.items()):
        try:
            curve = panel(title, [json.loads(line) for line in log.read_text().splitlines()])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise SystemExit(f"{log} is no log of a training: {error!r:.200}") from None
        lines += [f'<g transform="translate({i * WIDTH})">', *curve, "</g>"]
    return "\n".join([*lines, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="what scripts/train.py wrote")
    parser.add_argument("--out", type=Path, default=Path("loss.svg"))
    options = parser.parse_args()
    try:
        options.out.write_text(drawing(options.folder))
    except OSError as error:
        raise SystemExit(f"loss_curves.py: error: {error}") from None
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        raise SystemExit(130) from None
    print(options.out)


if __name__ == "__main__":
    main()
