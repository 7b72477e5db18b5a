"""What every set of images has, whatever its layout."""

import subprocess
import sys

import pytest

from medimg.datasets.image_set import ImageSet, image_files, list_images
from medimg.errors import DataError
from medimg.records import ImageIndex


class Nothing(ImageSet):
    """A layout that finds no case."""

    def index(self, root):
        return ImageIndex("nothing", root, "binary", ("x",), ())


def test_every_image_below_a_folder_is_listed(tmp_path, write_picture):
    for name in ("b.png", "deep/er/a.png"):
        write_picture(tmp_path / name)
    assert [record.case_id for record in list_images(tmp_path).records] == ["b.png", "deep/er/a.png"]
    with pytest.raises(DataError, match="no image found"):
        list_images(tmp_path / "deep" / "none")


def test_masks_hidden_files_and_text_are_no_images(tmp_path, write_picture):
    for name in ("a.PNG", "a_mask.png", "a_MASK_1.png", ".b.png", "_old/c.png", "_d.png", "in/e.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in image_files(tmp_path)] == ["a.PNG", "e.jpg"]


def test_a_layout_need_only_say_how_it_is_indexed(tmp_path, write_picture):
    with pytest.raises(TypeError, match="abstract"):
        ImageSet()
    images = Nothing()
    assert not images.has_laterality
    assert images.known_copies(images.index(tmp_path)) == []
    write_picture(tmp_path / "new" / "x.png")
    (record,) = images.unlabelled(tmp_path).records
    assert (record.case_id, dict(record.labels)) == ("new/x.png", {})


def test_the_sets_are_named_without_torch():
    code = "import sys, medimg.datasets; print(bool({'torch', 'lightning'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_a_link_out_of_the_folder_is_refused(tmp_path, write_picture):
    outside = write_picture(tmp_path / "secret.png")
    write_picture(tmp_path / "new" / "a.png")
    (tmp_path / "new" / "b.png").symlink_to(outside)
    with pytest.raises(DataError, match=r"b\.png"):
        list_images(tmp_path / "new")
