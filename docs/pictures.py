"""Make the pictures of the start page out of a run of the demo.

medimg fit --config configs/brats.yaml --config configs/overlays/demo.yaml
python docs/pictures.py lightning_logs/brats-demo/version_0
"""

import csv
import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

DOCS = Path(__file__).parent
# Okabe and Ito, 2008: told apart by every eye.
REGIONS = {"WT": "#0072b2", "TC": "#d55e00", "ET": "#009e73"}
COLOURS, WIDTH = 128, 960


def draw_overlay(run: Path) -> Image.Image:
    """The last picture of the first validation case that TensorBoard was given."""
    events = EventAccumulator(str(run), size_guidance={"images": 0})
    events.Reload()
    tag = sorted(events.Tags()["images"])[0]
    return Image.open(io.BytesIO(events.Images(tag)[-1].encoded_image_string)).convert("RGB")


def draw_curve(run: Path) -> Image.Image:
    """Loss of each epoch, and Dice of each region where validation cases were scored."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 3), dpi=100, layout="constrained")
    loss, dice = figure.subplots(1, 2)
    loss.plot(*_curve(rows, "train/loss_epoch"), color="#333333", marker="o", markersize=3)
    for name, colour in REGIONS.items():
        dice.plot(*_curve(rows, f"val/dice_{name}"), color=colour, marker="o", label=name)
    loss.set(xlabel="epoch", ylabel="training loss")
    dice.set(xlabel="epoch", ylabel="Dice of validation cases", xlim=loss.get_xlim(), ylim=(0, 1))
    dice.legend(frameon=False, loc="lower right")
    for axes in (loss, dice):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


def _curve(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    known = [row for row in rows if row.get(name)]
    return [int(row["epoch"]) + 1 for row in known], [float(row[name]) for row in known]


def main(run: Path) -> None:
    """Write both pictures beside this file."""
    for name, draw in (("overlay", draw_overlay), ("curve", draw_curve)):
        # A palette is a third of the size, and flat colours lose nothing.
        picture = draw(run)
        picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        picture = picture.quantize(COLOURS, dither=Image.Dither.NONE)
        picture.save(DOCS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
