import math

import pytest

from medimg.datasets.image_cases import ImageCases, ImageFiles, label_value, split_name
from medimg.errors import DataError


@pytest.fixture
def root(tmp_path, write_picture):
    for number in range(3):
        write_picture(tmp_path / "data" / "a" / f"{number}.png", seed=number)
    return tmp_path / "data"


def test_files_are_found_below_the_root_only(root, tmp_path, write_picture):
    outside = write_picture(tmp_path / "outside" / "x.png")
    (root / "link.png").symlink_to(outside)
    (root / "inner.png").symlink_to(root / "a" / "0.png")
    (root / "out").symlink_to(outside.parent)
    files = ImageFiles(root)
    assert files.find("a/0.png") == root / "a/0.png"
    assert files.find("inner.png") == root / "inner.png"
    assert files.find("a/9.png") is None and files.find("none/0.png") is None and files.find("a") is None
    for name in ("link.png", "out/x.png"):
        with pytest.raises(DataError, match="outside the data folder"):
            files.find(name)
    for name in ("../outside/x.png", "a/../../outside/x.png", str(outside), "", "a/"):
        with pytest.raises(DataError, match="below this folder"):
            files.find(name)
        with pytest.raises(DataError, match="below this folder"):
            files.path(name)


def test_first_folder_and_suffix_that_are_there(root):
    files = ImageFiles(root)
    assert files.folder_of(("b", "a")) == "a"
    assert files.folder_of(("b", "c")) == "b"
    assert files.suffix_of("a/0", (".jpg", ".png")) == "a/0.png"
    assert files.suffix_of("a/9", (".jpg", ".png")) == "a/9.jpg"


def test_records_are_sorted_and_keep_what_was_given(root):
    cases = ImageCases(root, "t.csv")
    cases.add("c2", "p1", ["a/1.png"], where=3)
    cases.add(
        "c1", "p1", ["a/0.png", "a/2.png"], where=2, labels={"x": 1.0}, group="g", split="val", weight=2.0
    )
    first, second = cases.records()
    assert (first.case_id, first.group, first.split, first.weight) == ("c1", "g", "val", 2.0)
    assert first.images == (root / "a/0.png", root / "a/2.png")
    assert second.case_id == "c2" and second.labels == {}


def test_all_faults_are_told_together(root):
    cases = ImageCases(root, "t.csv")
    cases.add("c1", "p1", ["a/0.png"], where=2)
    cases.add("c1", "p2", ["a/1.png"], where=3)
    cases.add("", "p2", ["a/1.png"], where=4)
    cases.add("c3", "", ["a/1.png"], where=5)
    cases.add("c4", "p4", ["../x.png"], where=6)
    with pytest.raises(DataError) as refused:
        cases.records()
    text = str(refused.value)
    assert "t.csv: 4 faults" in text
    assert "line 3: the id c1 is used already in line 2" in text
    assert "line 4: the case id is blank" in text
    assert "line 5: the patient is blank" in text
    assert "line 6" in text and "below this folder" in text


def test_missing_images_refused_skipped_or_kept(root, caplog):
    def gather(missing):
        cases = ImageCases(root, "t.csv", missing)
        cases.add("c1", "p1", ["a/0.png"], where=2)
        cases.add("c2", "p2", ["a/8.png"], where=3)
        cases.add("c3", "p3", ["a/0.png", "a/9.png"], where=4)
        return cases.records()

    with pytest.raises(DataError, match=r"2 of 3 cases have no image, the first .*a/8\.png"):
        gather("error")
    assert [record.case_id for record in gather("skip")] == ["c1"]
    assert "2 of 3 cases have no image" in caplog.text
    assert len(gather("keep")) == 3
    with pytest.raises(DataError, match="expected error, skip or keep"):
        gather("drop")


def test_nothing_left_is_refused(root):
    with pytest.raises(DataError, match="lists no case"):
        ImageCases(root, "t.csv").records()
    cases = ImageCases(root, "t.csv", "skip")
    cases.add("c1", "p1", ["b/1.png"], where=2)
    with pytest.raises(DataError, match="1 of 1 cases have no image"):
        cases.records()


@pytest.mark.parametrize("text", ["2", "-0.5", "yes", "1,0"])
def test_labels_out_of_range(text):
    with pytest.raises(ValueError, match=text):
        label_value(text)


def test_label_and_split_names():
    assert label_value("0.25") == 0.25 and math.isnan(label_value("-1.0")) and math.isnan(label_value("NaN"))
    assert [split_name(text) for text in ("Train", "valid", "TEST", "")] == ["train", "val", "test", None]
    with pytest.raises(ValueError, match="holdout"):
        split_name("holdout")
