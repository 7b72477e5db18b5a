import base64
import io
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medimg.records import Record
from medimg.reports.blocks import Figures, Table, Text
from medimg.reports.entries import read_entries
from medimg.reports.report_cases import Pictures, case_names, case_section
from medimg.reports.run_files import read_run
from medimg.scoring.label_table import label_row, write_label_table
from medimg.scoring.table import write_per_case


def run_of(folder):
    (entry,), _ = read_entries([folder])
    return read_run(entry)


@pytest.fixture
def labels(tmp_path):
    probs = [0.05, 0.95, 0.6, 0.4, 0.9, 0.2]
    rows = [label_row(f"anna-{n}", f"p{n}", ["x"], [prob], [n % 2]) for n, prob in enumerate(probs)]
    write_label_table(tmp_path / "per_case.csv", rows)
    (tmp_path / "predictions.json").write_text(json.dumps({"task": "binary"}))
    return run_of(tmp_path)


def opened(figure):
    return Image.open(io.BytesIO(base64.b64decode(figure.uri.partition(",")[2])))


def test_the_worst_case_is_the_one_whose_truth_was_least_expected(labels):
    section = case_section(labels, Pictures(why_none="gone"), ids=True)
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert table.rows[0] == ("worst", "anna-4", "0.100", "is not x, x 0.90")
    assert table.rows[-1][:2] == ("best", "anna-1")
    assert len({row[1] for row in table.rows}) == len(table.rows)
    (text,) = [block for block in section.blocks if isinstance(block, Text)]
    assert text.text == "Pictures are missing: gone."


def test_without_ids_no_name_of_a_case_is_told(labels, tmp_path):
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(tmp_path / "a.png")
    records = {f"anna-{n}": Record(f"anna-{n}", f"p{n}", (tmp_path / "a.png",)) for n in range(6)}
    hidden = case_section(labels, Pictures(records), ids=False)
    assert "anna" not in str(hidden) and "case 5" in str(hidden)
    figures = [figure for block in hidden.blocks if isinstance(block, Figures) for figure in block.figures]
    assert opened(figures[0]).size == (320, 320)
    assert figures[0].alt == "Image of case 5: is not x, x 0.90"
    assert case_names(labels.entry, ids=True)["anna-4"] == "anna-4"


def test_a_damaged_image_is_said_to_be_missing_and_the_rest_is_drawn(labels, tmp_path):
    Image.fromarray(np.full((20, 30), 200, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    files = {n: tmp_path / ("b.png" if n == 4 else "a.png") for n in range(6)}
    records = {f"anna-{n}": Record(f"anna-{n}", f"p{n}", (file,)) for n, file in files.items()}
    section = case_section(labels, Pictures(records), ids=False)
    assert "Pictures are missing: case 5 cannot be drawn." in [
        b.text for b in section.blocks if isinstance(b, Text)
    ]
    figures = [figure for block in section.blocks if isinstance(block, Figures) for figure in block.figures]
    assert len(figures) == 5


def test_volumes_are_drawn_with_reference_and_prediction(tmp_path):
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    image = np.random.default_rng(0).normal(100, 10, (24, 20, 12)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[4:14, 6:14, 3:8] = 1
    run = tmp_path / "run"
    (run / "test" / "masks").mkdir(parents=True)
    for path, array in (("image", image), ("label", mask), ("run/test/masks/c0", np.roll(mask, 2, 0))):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{path}.nii.gz")
    write_per_case(run / "test" / "per_case.csv", [{"case_id": "c0", "patient_id": "p", "dice_ET": 0.8}])
    (run / "config.yaml").write_text("{}")
    record = Record("c0", "p", (tmp_path / "image.nii.gz",), tmp_path / "label.nii.gz")
    section = case_section(run_of(run), Pictures({"c0": record}, {"ET": 1}), ids=False)
    (figure,) = [figure for block in section.blocks if isinstance(block, Figures) for figure in block.figures]
    assert opened(figure).width == 1200 and figure.wide
    assert figure.caption == "worst, case 1: Dice ET 0.800"


def test_masks_of_images_are_outlined_in_two_colours(tmp_path):
    run = tmp_path / "run"
    (run / "test" / "masks").mkdir(parents=True)
    mask = np.zeros((160, 320), np.uint8)
    mask[40:120, 80:160] = 1
    Image.fromarray(np.full((160, 320), 30, np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "label.png")
    Image.fromarray(np.roll(mask, 100, 1)).save(run / "test" / "masks" / "c0.png")
    write_per_case(run / "test" / "per_case.csv", [{"case_id": "c0", "patient_id": "p", "dice_x": 0.2}])
    (run / "config.yaml").write_text("{}")
    record = Record("c0", "p", (tmp_path / "image.png",), tmp_path / "label.png")
    section = case_section(run_of(run), Pictures({"c0": record}), ids=False)
    (figure,) = [figure for block in section.blocks if isinstance(block, Figures) for figure in block.figures]
    pixels = np.asarray(opened(figure)).astype(int)
    blue, red = (np.argwhere(pixels[..., one] - pixels[..., other] > 60) for one, other in ((2, 0), (0, 2)))
    # In the middle of a square with bands above and below; columns 80 to 160, and 180 to 260.
    assert blue[:, 0].min() == pytest.approx(120, abs=3) and blue[:, 1].min() == pytest.approx(80, abs=3)
    assert red[:, 1].min() == pytest.approx(180, abs=3) and red[:, 1].max() == pytest.approx(260, abs=3)
    assert isinstance(section.blocks[-1], Text) and "Reference: blue" in section.blocks[-1].text
