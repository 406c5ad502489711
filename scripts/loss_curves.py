"""The losses of a training, a curve for each stage, as SVG.

python scripts/loss_curves.py runs/shapes64 --out loss.svg
"""

import argparse
import json
import math
from pathlib import Path

STAGES = {"vae": "VAE", "text": "text encoder", "unet": "U-Net", "reading": "reading", "decoder": "decoder"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 210, 180, 34, 12, 22, 30  # of a panel and its margins, in pixels
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def smooth(values: list[float], reach: int = 2) -> list[float]:
    """The mean of each value and `reach` of its neighbours on both sides."""
    near = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in near]


def panel(title: str, rows: list[dict[str, float]]) -> list[str]:
    """The loss over the steps, on a logarithmic scale. Of several losses in one, the diffusion's."""
    steps, seconds = rows[-1]["step"], rows[-1]["seconds"]
    losses = smooth([row.get("diffusion", row["loss"]) for row in rows])
    low, high = math.log10(min(losses)) - 0.03, math.log10(max(losses)) + 0.03
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def height(loss: float) -> float:
        return round(TOP + (bottom - TOP) * (high - math.log10(loss)) / (high - low), 1)

    lines = [f'<text x="{LEFT}" y="14" font-weight="bold">{title}</text>']
    for tick in TICKS:
        if low <= math.log10(tick) <= high:
            lines.append(f'<text x="{LEFT - 4}" y="{height(tick) + 4}" text-anchor="end" fill="#555">{tick:g}</text>')
            lines.append(f'<path d="M{LEFT},{height(tick)} H{right}" stroke="#eee"/>')
    lines.append(f'<path d="M{LEFT},{TOP} V{bottom} H{right}" fill="none" stroke="#999"/>')
    places = [LEFT + (right - LEFT) * row["step"] / steps for row in rows]
    points = " ".join(f"{x:.1f},{height(loss)}" for x, loss in zip(places, losses, strict=True))
    lines.append(f'<polyline points="{points}" fill="none" stroke="#2c54d6" stroke-width="1.5"/>')
    note = f"{steps:,} steps, {seconds / 60:.0f} min"
    lines.append(f'<text x="{right}" y="{bottom + 14}" text-anchor="end" fill="#555">{note}</text>')
    return lines


def drawing(folder: Path) -> str:
    """The stages that have a log in the folder of a training, side by side."""
    logs = {title: folder / name / "log.jsonl" for name, title in STAGES.items()}
    found = {title: log for title, log in logs.items() if log.exists()}
    if not found:
        raise SystemExit(f"{folder} holds no training: give the folder that scripts/train.py wrote")
    size = f'width="{len(found) * WIDTH}" height="{HEIGHT}"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">']
    lines.append('<rect width="100%" height="100%" fill="white"/>')
    for i, (title, log) in enumerate(found.items()):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        lines += [f'<g transform="translate({i * WIDTH})">', *panel(title, rows), "</g>"]
    return "\n".join([*lines, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description="The losses of a training, a curve for each stage, as SVG.")
    parser.add_argument("folder", type=Path, help="what scripts/train.py wrote")
    parser.add_argument("--out", type=Path, default=Path("loss.svg"))
    options = parser.parse_args()
    options.out.write_text(drawing(options.folder))
    print(options.out)


if __name__ == "__main__":
    main()
