import os
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from writers.dicom import make_dataset, write_dicom

from medimg.errors import DataError
from medimg.io.dicom import read_image, read_stored

RANDOM = np.random.default_rng(0)
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless]
# Most that each lossy syntax may lose on the CT, in Hounsfield units; baseline JPEG has 8 bits for 4,402 units.
LOSSY = {"4.50": 66, "4.51": 36, "4.53": 36, "4.55": 36, "4.81": 1, "4.91": 5}


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("shape", [(35, 37), (3, 40, 34)])
def test_values_come_back(tmp_path, syntax, dtype, shape):
    limits = np.iinfo(dtype)
    pixels = RANDOM.integers(limits.min, limits.max + 1, shape).astype(dtype)
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax)
    found = read_stored(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[..., 0], pixels.reshape(-1, *shape[-2:]))
    if len(shape) == 3:
        np.testing.assert_array_equal(read_stored(path, frame=2)[0, ..., 0], pixels[2])
        with pytest.raises(DataError, match="frame from 0 to 2, found 3"):
            read_stored(path, frame=3)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
def test_twelve_signed_bits_keep_their_sign(tmp_path, syntax):
    pixels = RANDOM.integers(-2048, 2048, (39, 38)).astype(np.int16)
    path = write_dicom(tmp_path / "a.dcm", pixels, bits=12, syntax=syntax)
    np.testing.assert_array_equal(read_stored(path)[0, ..., 0], pixels)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_are_cleared(tmp_path, signed):
    pixels = RANDOM.integers(0, 2048, (9, 8)).astype(np.uint16)
    overlaid = (pixels | 0x5000).astype(np.int16 if signed else np.uint16)
    path = write_dicom(tmp_path / "a.dcm", overlaid, bits=12)
    np.testing.assert_array_equal(read_stored(path)[0, ..., 0], pixels)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
def test_fault_32_colours_come_back(tmp_path, syntax):
    pixels = RANDOM.integers(0, 256, (36, 38, 3), np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax)
    np.testing.assert_array_equal(read_stored(path)[0], pixels)


def test_fault_32_luminance_becomes_rgb(tmp_path):
    # PS3.3 C.7.6.3.1.2: pure red is Y 76, Cb 85, Cr 255 (rounded).
    red = np.full((4, 4, 3), (76, 85, 255), np.uint8)
    path = write_dicom(tmp_path / "a.dcm", red, photometric="YBR_FULL")
    assert np.abs(read_stored(path)[0].astype(int) - (254, 0, 0)).max() <= 1


def test_big_endian_is_read():
    little, big = (read_stored(SHIPPED / name) for name in ("MR_small.dcm", "MR_small_bigendian.dcm"))
    np.testing.assert_array_equal(little, big)
    assert (
        pydicom.dcmread(SHIPPED / "MR_small_bigendian.dcm").file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    )


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
@pytest.mark.parametrize("lost", [30, 90])
def test_fault_35_truncated_pixel_data_are_refused(tmp_path, syntax, lost):
    pixels = RANDOM.integers(0, 65536, (36, 36)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(DataError, match=r"truncated|damaged") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_fault_35_a_missing_frame_is_refused(tmp_path, syntax):
    pixels = RANDOM.integers(0, 256, (2, 36, 36)).astype(np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax)
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 3
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"truncated|damaged"):
        read_image(path)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
@pytest.mark.parametrize("frames", [1, 2000])
def test_fault_38_65535_rows_and_columns_in_ten_bytes_are_refused_before_allocating(tmp_path, syntax, frames):
    size = {"Rows": 65535, "Columns": 65535, "NumberOfFrames": frames}
    dataset = make_dataset(np.zeros((1, 5), np.uint16), elements=size)
    if syntax.is_compressed:
        dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51\0\0\0\0\0\0"])
        dataset["PixelData"].is_undefined_length = True
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    tracemalloc.start()
    with pytest.raises(DataError, match="65535") as caught:
        read_image(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert str(path) in str(caught.value)


def test_a_run_that_leaves_the_frame_is_refused(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", RANDOM.integers(0, 9, (64, 64)).astype(np.uint16), syntax=RLELossless
    )
    content = np.frombuffer(path.read_bytes(), np.uint8)
    for seed in range(60):
        damaged = content.copy()
        damaged[-np.random.default_rng(seed).integers(10, 3000, 4)] = 0x90
        path.write_bytes(damaged.tobytes())
        try:
            read_stored(path)
        except DataError as error:
            assert str(path) in str(error)


def test_a_large_image_needs_data_before_memory(tmp_path):
    dataset = make_dataset(np.zeros((1, 5), np.uint16), elements={"Rows": 9000, "Columns": 9000})
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match="truncated"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("102", "ffmpeg"),
        ("94", "server"),
        ("110", "cannot be decoded by pylibjpeg-openjpeg"),
        ("999", "cannot"),
    ],
)
def test_fault_37_a_syntax_without_decoder_is_refused_by_name(tmp_path, number, words):
    dataset = make_dataset(np.zeros((4, 4), np.uint8))
    dataset.PixelData = encapsulate([b"0123456789"])
    dataset["PixelData"].is_undefined_length = True
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = MPEG4HP41
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    # pydicom writes no syntax that it does not know; both names take 23 bytes.
    wanted = f"1.2.840.10008.1.2.4.{number}".ljust(23, "\0").encode()
    path.write_bytes(path.read_bytes().replace(MPEG4HP41.encode(), wanted))
    with pytest.raises(DataError, match=words) as caught:
        read_stored(path)
    assert f"1.2.840.10008.1.2.4.{number}" in str(caught.value)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Rows": None}, "does not describe an image"),
        ({"SamplesPerPixel": 2}, "does not describe an image"),
        ({"BitsAllocated": 12}, "does not describe an image"),
        ({"PixelData": None}, "holds no image"),
        ({"PhotometricInterpretation": "HSV"}, "HSV"),
    ],
)
def test_a_header_without_an_image_is_refused(tmp_path, elements, words):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((4, 4), np.uint8), elements=elements)
    with pytest.raises(DataError, match=words):
        read_stored(path)


def agree(path):
    """Compare with pydicom's own decoding where it has one; return what was refused."""
    try:
        found = read_stored(path)
        for window in ("first", "none"):
            assert read_image(path, window=window).pixels.dtype == np.float32
    except DataError as error:
        assert str(path) in str(error)
        assert len(str(error).splitlines()) == 1
        return str(error)
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        return None
    try:
        peer = dataset.pixel_array
    except (RuntimeError, NotImplementedError):
        return None  # a syntax that pydicom's plug-ins leave out
    assert found.dtype == peer.dtype.newbyteorder("=")
    difference = np.abs(found.astype(np.float64) - peer.reshape(found.shape).astype(np.float64))
    # Two decoders of one lossy JPEG round differently.
    assert np.nanmax(difference) <= (2 if "JPEG" in dataset.file_meta.TransferSyntaxUID.name else 0)
    return None


def files(root):
    return sorted(file for file in root.rglob("*") if file.is_file())


@pytest.mark.filterwarnings("ignore")
def test_every_file_shipped_with_pydicom_is_read_or_refused():
    refused = {path.name: agree(path) for path in files(SHIPPED)}
    assert len(refused) > 100
    expected = {
        "MR_truncated.dcm": "truncated",
        "rtplan_truncated.dcm": "holds no image",
        "badVR.dcm": "NumberOfFrames",
        "no_meta.dcm": "not a DICOM file",
        "rtplan.dcm": "RT Plan",
        "zipMR.gz": "not a DICOM file",
    }
    for name, words in expected.items():
        assert words in (refused[name] or ""), name
    read = {"J2K_pixelrep_mismatch.dcm", "image_dfl.dcm", "SC_rgb_small_odd.dcm", "JPGExtended.dcm"}
    assert not [refused[name] for name in read if refused[name]]


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_every_real_file_is_read_or_refused():
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "dicom"
    outcomes = [agree(path) for path in files(root)]
    assert outcomes.count(None) > 200


@pytest.mark.real
def test_one_ct_in_15_syntaxes_gives_the_same_pixels():
    folder = Path(os.environ["MEDIMG_REAL_DATA"]) / "dicom" / "one-ct-15-syntaxes" / "testImages"
    reference = read_image(folder / "CTImage.dcm", window="none").pixels
    assert reference.shape == (1, 512, 512)
    seen = set()
    for path in folder.glob("CTImage.dcm_*"):
        image = read_image(path, window="none")
        number = image.transfer_syntax.removeprefix("1.2.840.10008.1.2.")
        seen.add(number)
        # The 8- and 12-bit copies hold other stored values; slope and intercept give Hounsfield units back.
        difference = np.abs(image.pixels - reference)
        assert difference.max() <= LOSSY.get(number, 0), path.name
        if number not in LOSSY:
            np.testing.assert_array_equal(read_stored(path), read_stored(folder / "CTImage.dcm"))
    assert len(seen) == 15
