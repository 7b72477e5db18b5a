import pytest

from medimg.errors import DataError
from medimg.scoring.mask_answers import read_masks, read_predicted


def test_masks_sizes_and_patients(tmp_path):
    (tmp_path / "train.csv").write_text("id,rle,img_height,img_width,patient_id\na,1 3,4,5,p\nb,,4,5,p\n")
    found = read_masks(tmp_path / "train.csv", ("id",))
    assert found["a"].text == "1 3"
    assert found["a"].size == (4, 5)
    assert found["b"].patient == "p"


def test_faults_of_a_reference(tmp_path):
    (tmp_path / "train.csv").write_text("id,encoding,height,width\na,1 3,1,2\nb,1,1,2\nc,,1,2\nc,,1,2\n")
    with pytest.raises(DataError) as fault:
        read_masks(tmp_path / "train.csv", ("id",))
    for line in ("1 runs that leave the picture: a", "1 a start without its length: b", "1 doubled: c"):
        assert line in str(fault.value)


def test_a_reference_without_masks(tmp_path):
    (tmp_path / "train.csv").write_text("id,organ\na,kidney\n")
    with pytest.raises(DataError, match="missing: encoding"):
        read_masks(tmp_path / "train.csv", ("id",))


def test_predicted_masks_are_checked_against_sizes_known_elsewhere(tmp_path):
    (tmp_path / "train.csv").write_text("id,class,segmentation\na,stomach,1 3\n")
    truth = read_masks(tmp_path / "train.csv", ("id", "class"))
    (tmp_path / "sub.csv").write_text("id,class,predicted\na,stomach,5 3\n")
    assert read_predicted(tmp_path / "sub.csv", truth, ("id", "class"), {}) == {"a stomach": "5 3"}
    with pytest.raises(DataError, match="1 runs that leave the picture: a stomach"):
        read_predicted(tmp_path / "sub.csv", truth, ("id", "class"), {"a": (2, 3)})
