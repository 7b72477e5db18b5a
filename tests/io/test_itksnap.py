import shutil

import pytest

from medimg.errors import DataError
from medimg.io.itksnap import (
    read_label_descriptions,
    read_workspace,
    write_label_descriptions,
    write_workspace,
)
from medimg.io.segments import make_segments

SEGMENTS = make_segments({"liver": 1, "liver tumour": 3})


def test_labels_come_back_with_names_and_colours(tmp_path):
    path = tmp_path / "labels.txt"
    write_label_descriptions(path, SEGMENTS)
    assert read_label_descriptions(path) == SEGMENTS
    lines = path.read_text().splitlines()
    assert lines[1] == "# ITK-SnAP Label Description File"
    assert lines[-2].split() == ["1", "213", "94", "0", "1", "1", "1", '"liver"']


@pytest.mark.parametrize("line", ["1 2 3", '1 0 0 0 1 1 1 "again"', '4 0 0 256 1 1 1 "colour"'])
def test_lines_that_are_no_labels_are_refused(tmp_path, line):
    path = tmp_path / "labels.txt"
    write_label_descriptions(path, SEGMENTS)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match="line 18: expected a new value"):
        read_label_descriptions(path)


def test_a_workspace_is_found_again_with_its_files(tmp_path):
    (tmp_path / "one").mkdir()
    for name in ("image.nii.gz", "mask.nii.gz"):
        (tmp_path / "one" / name).touch()
    masks = [tmp_path / "one" / "mask.nii.gz"]
    write_workspace(tmp_path / "one" / "a.itksnap", tmp_path / "one" / "image.nii.gz", SEGMENTS, masks)
    found = read_workspace(tmp_path / "one" / "a.itksnap")
    assert (found.image.name, found.masks, found.segments) == ("image.nii.gz", tuple(masks), SEGMENTS)
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert read_workspace(tmp_path / "two" / "a.itksnap").masks == (tmp_path / "two" / "mask.nii.gz",)


@pytest.mark.parametrize(
    "text", ["<registry></registry>", "no xml", '<!DOCTYPE a [<!ENTITY b "c">]><registry/>']
)
def test_what_is_no_workspace_is_refused(tmp_path, text):
    (tmp_path / "a.itksnap").write_text(text)
    with pytest.raises(DataError, match="ITK-SNAP workspace"):
        read_workspace(tmp_path / "a.itksnap")
