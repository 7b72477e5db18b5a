import os
from pathlib import Path

import numpy as np
import pytest

from medimg.datasets.siim import SIIMPneumothorax, siim_masks
from medimg.errors import DataError

HEADER = ["ImageId", " EncodedPixels"]


def test_images_at_any_depth(tmp_path, write_table):
    table = write_table(
        tmp_path / "train-rle.csv", HEADER, [["1.2.3", "-1"], ["1.2.4", " 5 2 10 3"], ["1.2.4", "90 1"]]
    )
    for name in ("1.2.3", "1.2.4"):
        path = tmp_path / "dicom-images-train" / "study" / "series" / f"{name}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    index = SIIMPneumothorax().index(tmp_path)
    assert [(r.case_id, r.labels["pneumothorax"]) for r in index.records] == [("1.2.3", 0.0), ("1.2.4", 1.0)]
    assert index.records[1].images[0].parent.name == "series"
    assert siim_masks(table) == {"1.2.3": [], "1.2.4": ["5 2 10 3", "90 1"]}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([["a", "5 2 10"]], "line 2: expected pairs of a start and a length"),
        ([["a", ""]], "line 2: expected pairs"),
        ([["a", "5 x"]], "line 2: expected pairs"),
        ([["a", "-1"], ["a", "5 2"]], "line 3: a has a mask in one row and none in another"),
        ([["a", "5 2"], ["a", "-1"]], "line 3: a has a mask in one row and none in another"),
    ],
)
def test_damaged_codes(tmp_path, write_table, rows, says):
    write_table(tmp_path / "train-rle.csv", HEADER, rows)
    with pytest.raises(DataError, match=says):
        SIIMPneumothorax().index(tmp_path)


@pytest.mark.real
def test_the_whole_table():
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "tables"
    index = SIIMPneumothorax(missing="keep").index(root)
    assert len(index.records) == 12_047
    assert sum(record.labels["pneumothorax"] for record in index.records) == 2_669
    assert sum(map(len, siim_masks(root / "siim-pneumothorax-train-rle.csv.gz").values())) == 3_576


def test_the_dicom_is_read_where_its_conversion_lies_beside_it(tmp_path, write_table):
    write_table(tmp_path / "train-rle.csv", ["ImageId", "EncodedPixels"], [["a", "-1"]])
    for folder, suffix in (("z", ".dcm"), ("b", ".png"), ("c", ".jpg")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"a{suffix}").touch()
    (record,) = SIIMPneumothorax().index(tmp_path).records
    assert record.images == (tmp_path / "z" / "a.dcm",)


def test_masks_are_those_of_the_table(tmp_path, write_table, write_picture):
    write_table(tmp_path / "train-rle.csv", HEADER, [["a", "-1"], ["b", "1048570 6"], ["b", "0 2048"]])
    for name in ("a", "b"):
        write_picture(tmp_path / "train" / f"{name}.png", np.zeros((512, 512), np.uint8))  # a conversion
    data = SIIMPneumothorax()
    masks = data.masks(data.index(tmp_path))
    assert not masks["a"].read((1024, 1024)).any()
    whole = masks["b"].read((1024, 1024))
    assert whole[:, :2].all() and whole[-6:, -1].all() and whole.sum() == 2048 + 6
    small = masks["b"].read((512, 512))
    assert small[:, 0].all() and small.sum() == 512 + 3
