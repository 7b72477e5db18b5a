import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import JPEG2000Lossless, RLELossless
from writers.dicom import make_dataset, write_dicom

from medimg.curation.deidentify_pixels import Box, boxes_for, clean_pixels, may_show_text, read_boxes
from medimg.curation.deidentify_streams import Refused
from medimg.errors import ConfigError
from medimg.io.dicom.parse import open_dataset
from medimg.io.dicom.stored import read_stored

BOX = Box("*", left=3, top=2, width=5, height=4)


@pytest.fixture(params=["grey8", "grey16", "signed", "colour", "frames"])
def pixels(request):
    rng = np.random.default_rng(0)
    made = {
        "grey8": (rng.integers(1, 255, (40, 44)), np.uint8),
        "grey16": (rng.integers(1, 4000, (40, 44)), np.uint16),
        "signed": (rng.integers(-900, -1, (40, 44)), np.int16),
        "colour": (rng.integers(1, 255, (40, 44, 3)), np.uint8),
        "frames": (rng.integers(1, 255, (3, 40, 44)), np.uint16),
    }[request.param]
    return made[0].astype(made[1])


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless], ids=str)
def test_a_box_is_blank_and_all_else_bit_equal(tmp_path, pixels, syntax):
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax)
    for boxes in ((), (BOX,)):
        opened = open_dataset(path)
        cleaned = make_dataset(pixels)
        new = clean_pixels(opened, cleaned, boxes)
        cleaned.file_meta = FileMetaDataset()
        cleaned.file_meta.TransferSyntaxUID = new
        cleaned.save_as(tmp_path / "b.dcm", enforce_file_format=True)
        before, after = read_stored(path), read_stored(tmp_path / "b.dcm")
        blank = np.zeros(before.shape, bool)
        for box in boxes:
            blank[:, box.top : box.top + box.height, box.left : box.left + box.width] = True
        assert np.array_equal(after[~blank], before[~blank])
        assert not after[blank].any()
        assert blank.any() == bool(boxes)
        if not boxes:
            assert new == opened.syntax


def test_planes_apart_are_blanked_in_each(tmp_path):
    colours = np.full((3, 12, 14), 7, np.uint8)
    dataset = make_dataset(np.zeros((12, 14, 3), np.uint8))
    dataset.PlanarConfiguration, dataset.PixelData = 1, colours.tobytes()
    path = tmp_path / "a.dcm"
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    cleaned = Dataset()
    clean_pixels(open_dataset(path), cleaned, [BOX])
    colours[:, 2:6, 3:8] = 0
    assert cleaned.PixelData == colours.tobytes()


def test_bytes_after_the_pixels_go(tmp_path):
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    path = write_dicom(tmp_path / "a.dcm", pixels, elements={"PixelData": pixels.tobytes() + b"JaneDoe"})
    cleaned = Dataset()
    clean_pixels(open_dataset(path), cleaned, [])
    assert cleaned.PixelData == pixels.tobytes() + b"\0"


@pytest.mark.parametrize(
    ("elements", "box", "message"),
    [
        ({}, Box("*", 10, 0, 5, 1), r"column 15 and row 1, outside the picture of 14 x 12"),
        ({"PixelData": b"\0" * 10}, BOX, "truncated: expected 168 bytes, found 10"),
        ({"BitsAllocated": 1}, BOX, "one bit"),
        ({"OverlayBitPosition": 4}, BOX, "overlay planes lie within"),
    ],
)
def test_what_cannot_be_blanked_is_refused(tmp_path, elements, box, message):
    dataset = make_dataset(np.zeros((12, 14), np.uint8))
    for name, value in elements.items():
        if name == "OverlayBitPosition":
            dataset.add_new(0x60000102, "US", value)
        else:
            setattr(dataset, name, value)
    dataset.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=True)
    with pytest.raises(Refused, match=message):
        clean_pixels(open_dataset(tmp_path / "a.dcm"), Dataset(), [box])


def test_floats_pass_without_boxes_only(tmp_path):
    dataset = make_dataset(np.zeros((2, 2), np.uint8))
    del dataset.PixelData
    dataset.BitsAllocated, dataset.FloatPixelData = 32, np.ones(4, "<f4").tobytes() + b"Doe!"
    dataset.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=True)
    cleaned = Dataset()
    clean_pixels(open_dataset(tmp_path / "a.dcm"), cleaned, [])
    assert cleaned.FloatPixelData == np.ones(4, "<f4").tobytes()
    with pytest.raises(Refused, match="floating point"):
        clean_pixels(open_dataset(tmp_path / "a.dcm"), Dataset(), [Box("*", 0, 0, 1, 1)])


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ({"Modality": "CT"}, ""),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, "modality US"),
        ({"Modality": "MG", "BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"Modality": "CR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "secondary capture"),
        ({"Modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen capture"),
    ],
)
def test_which_pictures_may_show_text(elements, why):
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    assert why in may_show_text(dataset)
    assert bool(why) == bool(may_show_text(dataset))


def test_tables_of_boxes(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("match,left,top,width,height\na/*.dcm,1,2,3,4\n1.2.3,,,,\n")
    boxes = read_boxes(path)
    assert boxes == (Box("a/*.dcm", 1, 2, 3, 4), Box("1.2.3"))
    assert boxes_for(boxes, "a/b.dcm", "1.2.3") == boxes
    assert boxes_for(boxes, "c.dcm", "1.2.4") == ()
    for bad in ("a,1,2,3\n", "a,1,2,0,4\n", ",1,2,3,4\n", "a,1,b,3,4\n", "a,-1,2,3,4\n"):
        path.write_text("match,left,top,width,height\n" + bad)
        with pytest.raises(ConfigError, match="line 2: expected the columns"):
            read_boxes(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_boxes(tmp_path / "none.csv")
