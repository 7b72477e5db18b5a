import io
import struct

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import MPEG2MPML, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from writers.dicom import make_dataset

from medimg.curation.deidentify_streams import (
    Refused,
    clean_jpeg,
    clean_jpeg2000,
    clean_rle,
    clean_stream,
    exif_orientation,
    orientation_exif,
)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 255, (40, 56, 3)).astype(np.uint8)


def encode(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def decode(stream):
    return np.asarray(Image.open(io.BytesIO(stream)))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}], ids=str
)
def test_jpeg_keeps_its_pixels_and_loses_its_text(pixels, options):
    stream = encode(pixels, "JPEG", comment=b"Jane Doe", icc_profile=b"Jane Doe profile", **options)
    made = clean_jpeg(stream + b"Jane Doe")
    assert b"Doe" not in made
    assert b"Doe" in stream
    assert np.array_equal(decode(made), decode(stream))
    assert clean_jpeg(made) == made
    assert made.endswith(b"\xff\xd9")


def test_a_thumbnail_in_jfif_goes_and_adobes_colours_stay(pixels):
    stream = encode(pixels, "JPEG")
    start = stream.index(b"JFIF\0")
    thumbnail = stream[: start + 12] + b"\1\1Doe" + stream[start + 14 :]
    thumbnail = thumbnail[: start - 2] + struct.pack(">H", 16 + 3) + thumbnail[start:]
    assert clean_jpeg(thumbnail) == clean_jpeg(stream)
    cmyk = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(cmyk, "JPEG")
    assert np.array_equal(decode(clean_jpeg(cmyk.getvalue())), decode(cmyk.getvalue()))
    assert b"Adobe" in clean_jpeg(cmyk.getvalue())


def test_jpeg_without_an_end_gets_one_and_damage_is_refused(pixels):
    stream = encode(pixels, "JPEG")
    assert clean_jpeg(stream[:-2]).endswith(b"\xff\xd9")
    with pytest.raises(Refused, match="segment leaves"):
        clean_jpeg(stream[:100])
    with pytest.raises(Refused, match="marker is missing"):
        clean_jpeg(b"\xff\xd8Jane")


@pytest.mark.parametrize("no_jp2", [True, False])
def test_jpeg2000_keeps_its_pixels_and_loses_its_text(pixels, no_jp2):
    stream = encode(pixels, "JPEG2000", no_jp2=no_jp2, comment="Jane Doe", tile_size=(32, 32))
    assert b"Jane Doe" in stream
    made = clean_jpeg2000(stream + b"Jane Doe")
    assert b"Doe" not in made
    assert made[:4] == b"\xff\x4f\xff\x51"
    assert np.array_equal(decode(made), decode(stream))
    assert clean_jpeg2000(made) == made
    with pytest.raises(Refused, match="cut"):
        clean_jpeg2000(made[:60])
    with pytest.raises(Refused, match="no codestream"):
        clean_jpeg2000(b"\0\0\0\x0cjP  " + b"\r\n\x87\n")


def test_rle_keeps_its_runs_only():
    values = np.random.default_rng(1).integers(0, 9, (30, 31)).astype(np.uint16) // 4
    file = make_dataset(values)
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    stream = get_frame(file.PixelData, 0, number_of_frames=1)
    made = clean_rle(stream + b"Jane Doe", planes=2, pixels=values.size)
    assert b"Doe" not in made
    assert clean_stream(RLELossless, made, planes=2, pixels=values.size) == made
    file.PixelData = encapsulate([made])
    assert np.array_equal(file.pixel_array, values)
    with pytest.raises(Refused, match="expected 3 RLE segments, found 2"):
        clean_rle(stream, planes=3, pixels=values.size)
    with pytest.raises(Refused, match="before the frame is full"):
        clean_rle(stream[:100], planes=2, pixels=values.size)
    with pytest.raises(Refused, match="header is cut"):
        clean_rle(b"short", planes=2, pixels=4)


def test_what_cannot_be_looked_into_is_refused(pixels):
    assert clean_stream(JPEGBaseline8Bit, encode(pixels, "JPEG"))[:2] == b"\xff\xd8"
    assert clean_stream(JPEG2000Lossless, encode(pixels, "JPEG2000"))[:2] == b"\xff\x4f"
    with pytest.raises(Refused, match="cannot be searched for text"):
        clean_stream(MPEG2MPML, b"\0\0\1\xb3")


@pytest.mark.parametrize("order", [b"II", b"MM"])
def test_orientation_is_read_from_real_exif(order):
    exif = Image.Exif()
    exif.endian = "<" if order == b"II" else ">"
    exif[0x010E], exif[0x0112] = "Jane", 6
    assert exif_orientation(exif.tobytes()[6:]) == 6
    again = Image.Exif()
    again.load(b"Exif\0\0" + orientation_exif(3))
    assert dict(again) == {0x0112: 3}
    assert exif_orientation(b"Doe") == 1
    assert exif_orientation(b"MM\0*\xff\xff\xff\xff" + b"\0" * 20) == 1
