import io
import sys

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from writers.dicom import make_dataset, write_dicom

from medimg.errors import DataError
from medimg.io.dicom import codecs, read_stored
from medimg.io.dicom.codecs import FrameError, Layout, codec_for, decode_jpeg, decode_jpeg2000, decode_rle

RANDOM = np.random.default_rng(0)
DEEP = RANDOM.integers(0, 4096, (40, 56)).astype(np.uint16)


def stream(pixels, syntax, **about):
    dataset = make_dataset(pixels, **about)
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def layout(pixels, samples=1, photometric="MONOCHROME2"):
    return Layout(*pixels.shape[:2], samples, pixels.dtype.itemsize * 8, photometric)


@pytest.mark.parametrize(
    ("syntax", "decode"), [(RLELossless, decode_rle), (JPEG2000Lossless, decode_jpeg2000)]
)
def test_lossless_streams_come_back(syntax, decode):
    found = decode(stream(DEEP, syntax, bits=12), layout(DEEP))
    np.testing.assert_array_equal(found.values[..., 0], DEEP)


@pytest.mark.parametrize(
    ("syntax", "decode"), [(RLELossless, decode_rle), (JPEG2000Lossless, decode_jpeg2000)]
)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_cut_streams_are_refused(syntax, decode, share):
    whole = stream(DEEP, syntax, bits=12)
    with pytest.raises((FrameError, ValueError, RuntimeError)):
        decode(whole[: int(len(whole) * share)], layout(DEEP))


def test_a_jpeg2000_stream_without_end_marker_is_whole_when_its_tiles_are():
    whole = stream(DEEP, JPEG2000Lossless, bits=12).rstrip(b"\0")
    assert whole.endswith(b"\xff\xd9")
    found = decode_jpeg2000(whole[:-2], layout(DEEP))
    np.testing.assert_array_equal(found.values[..., 0], DEEP)
    with pytest.raises(FrameError, match="truncated"):
        decode_jpeg2000(whole[:-40], layout(DEEP))


@pytest.mark.parametrize("decode", [decode_jpeg, decode_jpeg2000])
def test_other_bytes_are_refused(decode):
    with pytest.raises(FrameError, match="begin"):
        decode(b"hello world" * 10, layout(DEEP))


def test_a_stream_of_another_size_is_refused_before_it_is_decoded():
    whole = stream(DEEP, JPEG2000Lossless, bits=12)
    with pytest.raises(FrameError, match="65535 x 65535"):
        decode_jpeg2000(whole, Layout(65535, 65535, 1, 16, "MONOCHROME2"))
    with pytest.raises(FrameError, match="cannot hold"):
        decode_rle(stream(DEEP, RLELossless), Layout(65535, 65535, 1, 16, "MONOCHROME2"))


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_eight_bit_jpeg_is_close(progressive):
    ramp = np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8)
    found = decode_jpeg(jpeg(ramp, progressive=progressive), layout(ramp))
    assert np.abs(found.values[..., 0].astype(int) - ramp).max() <= 3


def test_jpeg_colours_become_rgb():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    found = decode_jpeg(jpeg(red), layout(red, 3, "YBR_FULL_422"))
    assert found.photometric == "RGB"
    assert np.abs(found.values.astype(int) - red).max() <= 4


def test_a_cut_jpeg_is_refused():
    ramp = np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8)
    whole = jpeg(ramp)
    for length in (1, 30, 200, len(whole) - 40):
        with pytest.raises(FrameError):
            decode_jpeg(whole[:length], layout(ramp))


def test_an_arithmetic_jpeg_is_refused_by_name():
    ramp = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8)
    whole = jpeg(ramp).replace(b"\xff\xc0", b"\xff\xc9", 1)
    with pytest.raises(FrameError, match="SOF9"):
        decode_jpeg(whole, layout(ramp))


@pytest.mark.parametrize(
    ("syntax", "module", "package"),
    [(JPEG2000Lossless, "openjpeg", "pylibjpeg-openjpeg"), (RLELossless, "rle", "pylibjpeg-rle")],
)
def test_fault_37_a_missing_decoder_is_named(tmp_path, monkeypatch, syntax, module, package):
    path = write_dicom(tmp_path / "a.dcm", DEEP, bits=12, syntax=syntax)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=f"install the package {package}"):
        read_stored(path)


def test_a_missing_jpeg_decoder_is_named(monkeypatch):
    ramp = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(FrameError, match="install the package pillow"):
        decode_jpeg(jpeg(ramp), layout(ramp))
    monkeypatch.setitem(sys.modules, "gdcm", None)
    lossless = jpeg(ramp).replace(b"\xff\xc0", b"\xff\xc3", 1)
    with pytest.raises(FrameError, match="install the package python-gdcm"):
        decode_jpeg(lossless, layout(ramp))


def test_a_jpeg_file_is_read(tmp_path):
    ramp = np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8)
    dataset = make_dataset(ramp)
    dataset.PixelData = encapsulate([jpeg(ramp)])
    dataset["PixelData"].is_undefined_length = True
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.abs(read_stored(tmp_path / "a.dcm")[0, ..., 0].astype(int) - ramp).max() <= 3


def test_every_encapsulated_syntax_has_its_codec():
    assert codec_for("1.2.840.10008.1.2.4.53") is decode_jpeg
    assert codec_for("1.2.840.10008.1.2.8.1") is codecs.decode_deflated
    assert codec_for("1.2.3") is None
