import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medimg.cli import main
from medimg.errors import ConfigError
from medimg.phantoms.fusion import draw_fusion, fusion_row, halves, write_fusion


def test_images_and_table_are_written_and_the_next_step_named(tmp_path, capsys):
    out = tmp_path / "two words"
    assert main(["phantom", "fusion", str(out), "--cases", "20", "--size", "32"]) == 0
    shown = capsys.readouterr().out
    assert "20 phantoms" in shown
    assert f"next: medimg fit --config configs/fusion.yaml --data.root '{out}'" in shown
    rows = list(csv.DictReader((out / "cases.csv").open(newline="")))
    assert [row["split"] for row in rows[:10]] == ["train"] * 6 + ["val"] + ["test"] * 3
    assert len({row["patient_id"] for row in rows}) == 20
    for index, row in enumerate(rows):
        pixels = np.asarray(Image.open(out / row["image"]))
        np.testing.assert_array_equal(pixels, draw_fusion(index, seed=0, size=32))
        assert row == fusion_row(index, seed=0)
    first = (out / rows[0]["image"]).stat().st_mtime_ns
    write_fusion(out, cases=30, size=32)  # goes on where it was
    assert (out / rows[0]["image"]).stat().st_mtime_ns == first
    assert len(list((out / "images").iterdir())) == 30


def test_each_half_tells_something_and_both_together_nearly_all():
    """The figures that the note of the set names, against scikit-learn."""
    shown, told, label = np.array([halves(index, seed=0) for index in range(1500)]).T
    assert abs(np.corrcoef(shown, told)[0, 1]) < 0.05
    assert 0.45 < label.mean() < 0.55
    assert roc_auc_score(label, shown) == pytest.approx(0.81, abs=0.025)
    assert roc_auc_score(label, told) == pytest.approx(0.81, abs=0.025)
    assert roc_auc_score(label, shown + told) == pytest.approx(0.965, abs=0.015)


def test_the_table_lacks_fields_and_its_columns_tell_what_they_should():
    rows = [fusion_row(index, seed=1) for index in range(600)]
    label = np.array([int(row["malignant"]) for row in rows])
    for column in ("marker", "smoking"):
        assert np.mean([row[column] == "" for row in rows]) == pytest.approx(0.1, abs=0.03)
    age = np.array([float(row["age"]) for row in rows])
    assert roc_auc_score(label, age) > 0.6
    assert abs(roc_auc_score(label, [row["sex"] == "M" for row in rows]) - 0.5) < 0.07


def test_a_large_lesion_is_seen_and_its_size_is_all_the_image_tells():
    pairs = [(halves(index, seed=0)[0], draw_fusion(index, seed=0)) for index in range(60)]
    # Pixels that stand out: a crude size of the lesion.
    sizes = [float((image > np.median(image) + 28).sum()) for _, image in pairs]
    assert np.corrcoef([shown for shown, _ in pairs], sizes)[0, 1] > 0.8
    brightness = [float(image[:4].mean()) for _, image in pairs]
    assert abs(np.corrcoef([shown for shown, _ in pairs], brightness)[0, 1]) < 0.35


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cases": 3}, "cases: expected 20 to 100000, found 3"),
        ({"size": 8}, "size: expected 32 to 512 pixels"),
        ({"seed": -1}, "seed: expected a number from 0 on"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=said):
        write_fusion(tmp_path / "x", **arguments)
