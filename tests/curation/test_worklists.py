from collections import Counter

import numpy as np
import pytest

from medimg.curation.worklists import (
    assign,
    balanced_pairs,
    code_of,
    find_cases,
    in_own_order,
    write_viewer_files,
)
from medimg.errors import ConfigError, DataError
from medimg.io.itksnap import read_label_descriptions, read_workspace
from medimg.io.nifti import write_image
from medimg.io.nrrd_read import read_seg_nrrd


@pytest.mark.parametrize("readers", range(2, 10))
def test_pairs_are_balanced_after_any_number_of_cases(readers):
    pairs = balanced_pairs(readers)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == readers * (readers - 1) // 2
    read = Counter(dict.fromkeys(range(readers), 0))
    for pair in pairs:
        read.update(pair)
        assert max(read.values()) - min(read.values()) <= 1
    assert set(read.values()) == {readers - 1}


def test_cases_are_dealt_by_the_seed():
    cases, readers = [f"c{number:03d}" for number in range(101)], ["anna", "ben", "cleo", "dan", "eve"]
    given = assign(cases, readers, seed=3)
    assert sorted(given) == cases
    load, pairs = (
        Counter(name for pair in given.values() for name in pair),
        Counter(map(frozenset, given.values())),
    )
    assert max(load.values()) - min(load.values()) <= 1
    assert (len(pairs), max(pairs.values()) - min(pairs.values())) == (10, 1)
    assert given == assign(cases[::-1], readers[::-1], seed=3) != assign(cases, readers, seed=4)
    own = [in_own_order(cases, name, 3) for name in readers]
    assert all(sorted(one) == cases for one in own)
    assert len(set(map(tuple, own))) == 5
    assert len({code_of(name, 3) for name in readers}) == 5
    for wrong in (["anna"], ["anna", "anna"], ["anna", ""]):
        with pytest.raises(ConfigError, match="two names or more, each once"):
            assign(cases, wrong, seed=0)


def test_cases_of_a_table_and_of_a_folder(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("image_id,patient_id,age\na,p1,3\nb,,4\n")
    assert [(one.case_id, one.patient_id) for one in find_cases(table)] == [("a", "p1"), ("b", "b")]
    for text, words in (
        ("x,y\n1,2\n", "a column case_id"),
        ("case\na\na\n", "found a twice"),
        ("case,x\na,1\n,2\n", "row 3: has no case"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=words):
            find_cases(table)
    with pytest.raises(DataError, match="cannot be read as a table of cases"):
        find_cases(tmp_path / "none.csv")
    write_image(tmp_path / "images" / "c1_0000.nii.gz", np.zeros((2, 3, 4), np.uint8), np.eye(4))
    assert [one.case_id for one in find_cases(tmp_path / "images")] == ["c1"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found no case"):
        find_cases(tmp_path / "empty")


def test_viewers_find_image_and_names(tmp_path):
    image = tmp_path / "c1.nii.gz"
    write_image(image, np.zeros((2, 3, 4), np.uint8), np.diag([1.0, 2.0, 3.0, 1.0]))
    write_viewer_files(tmp_path / "desk", {"c1": image}, {"tumour": 1, "cyst": 2})
    desk = tmp_path / "desk"
    segments = read_label_descriptions(desk / "labels.txt")
    assert [one.name for one in segments] == ["tumour", "cyst"]
    opened = read_workspace(desk / "itksnap" / "c1.itksnap")
    assert (opened.image, opened.masks, opened.segments) == (image, (), segments)
    template = read_seg_nrrd(desk / "slicer" / "c1.seg.nrrd")
    assert (template.segments, template.layers.shape, template.layers.any()) == (
        segments,
        (1, 2, 3, 4),
        False,
    )
    assert list((desk / "masks").iterdir()) == []
