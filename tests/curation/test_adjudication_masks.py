import numpy as np
import pytest

from medimg.curation.adjudication_masks import reader_files
from medimg.errors import DataError
from medimg.io.nifti import write_image

MASK = np.zeros((2, 2, 2), np.uint8)


def test_the_masks_of_a_reader_are_found_in_either_place(tmp_path):
    write_image(tmp_path / "anna" / "a.nii.gz", MASK, np.eye(4))
    (tmp_path / "anna" / "notes.txt").touch()
    (tmp_path / "ben" / "masks").mkdir(parents=True)
    (tmp_path / "ben" / "masks" / "b.seg.nrrd").touch()
    assert list(reader_files(tmp_path / "anna")) == ["a"]
    assert reader_files(tmp_path / "ben") == {"b": tmp_path / "ben" / "masks" / "b.seg.nrrd"}


def test_a_case_that_stands_twice_or_no_folder_is_refused(tmp_path):
    write_image(tmp_path / "a.nii.gz", MASK, np.eye(4))
    (tmp_path / "a.seg.nrrd").touch()
    with pytest.raises(DataError, match=r"case a stands twice, a\.nii\.gz and a\.seg\.nrrd"):
        reader_files(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        reader_files(tmp_path / "none")
