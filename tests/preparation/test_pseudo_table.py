from dataclasses import replace

import numpy as np
import pytest

from medimg.datasets.image_set import list_images
from medimg.datasets.table import ImageTable
from medimg.errors import DataError
from medimg.preparation.pseudo_note import PseudoNote, note_path, read_note, write_note
from medimg.preparation.pseudo_table import read_pseudo_table, records_by_case, write_pseudo_table
from medimg.records import ImageIndex, Record


@pytest.fixture
def index(tmp_path, write_picture):
    root = tmp_path / "new"
    for name in ("a.png", "sub/b.png", "c.png"):
        write_picture(root / name)
    found = list_images(root)
    return ImageIndex(found.name, root, "multilabel", ("mass", "weight"), found.records)


def written(tmp_path, index, round_=1, weight=0.5):
    out = tmp_path / "labels.csv"
    labels = {"a.png": np.array([1.0, np.nan]), "sub/b.png": np.array([0.125, 0.0])}
    write_pseudo_table(out, index, labels, dict.fromkeys(labels, weight), PseudoNote(round_, index.root))
    return out


def test_a_table_comes_back_with_blanks_weights_and_images(tmp_path, index):
    found = read_pseudo_table(written(tmp_path, index))
    assert (found.task, found.classes) == ("multilabel", ("mass", "weight"))
    assert [record.case_id for record in found.records] == ["a.png", "sub/b.png"]
    first, second = found.records
    assert first.labels["mass"] == 1 and np.isnan(first.labels["weight"])
    assert dict(second.labels) == {"mass": 0.125, "weight": 0.0}
    assert second.weight == 0.5 and second.images == (index.root / "sub/b.png",)


def test_the_house_table_data_set_reads_it_as_it_is(tmp_path, index):
    out = written(tmp_path, index)
    dataset = ImageTable(out.resolve(), read_note(out).columns, "multilabel", ("mass", "weight"))
    assert len(dataset.index(index.root).records) == 2


def test_each_round_has_a_name_of_its_own(tmp_path, index):
    first = read_pseudo_table(written(tmp_path, index)).name
    second = read_pseudo_table(written(tmp_path, index, weight=0.25)).name
    assert first.startswith("labels-") and first != second


def test_images_that_moved_are_found_where_they_are_said_to_be(tmp_path, index):
    out = written(tmp_path, index)
    index.root.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"there is no such folder\. Name it anew"):
        read_pseudo_table(out)
    assert read_pseudo_table(out, tmp_path / "moved").root == tmp_path / "moved"


def test_targets_of_several_kinds_are_no_labels(tmp_path, index):
    with pytest.raises(DataError, match=r"pseudo-labels are labels, and .* has targets of several kinds"):
        written(tmp_path, replace(index, task="targets"))


def test_volumes_are_no_table(tmp_path, index):
    out = written(tmp_path, index)
    write_note(note_path(out), PseudoNote(1, index.root))
    with pytest.raises(DataError, match="expected pseudo-labels of images"):
        read_pseudo_table(out)


def test_a_group_stands_for_its_images(tmp_path):
    records = tuple(Record(f"{view}", "p", (), group="breast") for view in "ab")
    index = ImageIndex("x", tmp_path, "binary", ("m",), (*records, Record("c", "q", ())))
    found = records_by_case(index, ["breast", "c"])
    assert [record.case_id for record in found["breast"]] == ["a", "b"]
    with pytest.raises(
        DataError, match=r"1 of 2 predicted cases have no image there, such as d\. Give --images"
    ):
        records_by_case(index, ["breast", "d"])
