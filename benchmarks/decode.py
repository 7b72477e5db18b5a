"""Images a second on one core, decoding only, beside pydicom with the same plug-ins and beside SimpleITK.

One phantom mammogram of 2048 x 2048 pixels and 12 bits (8 bits for baseline JPEG) is written in each transfer
syntax. The three sides open and decode the same file in turn, page cache warm, one thread each; the ratio of
a syntax is ours over the faster of the two others, each by its fastest run: decoding is the same work every
time, and what comes on top is the machine's. Where a side cannot decode a syntax, it
is left out. Windowing, and reading the picture back from a cache of 16-bit PNG or ``.npy``, are timed apart.

Run: ``uv run --group bench python benchmarks/decode.py``

Predicted from the plug-ins alone: a header costs 0.5 ms everywhere; RLE 11 ms, JPEG lossless 60 to 100 ms and
JPEG 2000 450 ms are spent in codecs that the sides share, so a ratio near 1 is the most that those syntaxes
allow. Native files should gain, because their values are viewed and never copied; JPEG lossless and JPEG-LS lose
to SimpleITK what GDCM's Python binding takes to hand 8 MB over as text, about 20 ms.
"""

import argparse
import io
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before any decoder starts its threads.
os.environ["OMP_NUM_THREADS"] = os.environ["OPJ_NUM_THREADS"] = "1"

import gdcm
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from medimg.io.dicom import read_image, read_stored
from medimg.io.raster import read_raster, write_png
from medimg.phantoms.breast import make_breast, project

SECONDS = 4.0  # a side and syntax, at most
LEAST, MOST = 5, 60
# Encoded by GDCM, because no plug-in of pydicom writes them.
GDCM_SYNTAXES = {
    "JPEG lossless": "JPEGLosslessProcess14_1",
    "JPEG-LS": "JPEGLSLossless",
    "JPEG-LS lossy": "JPEGLSNearLossless",
}


def header(pixels: NDArray[Any]) -> FileDataset:
    """Describe one picture of 12 bits, or of 8."""
    meta = FileMetaDataset()
    file = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID = meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.2")
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["decode"])
    file.StudyInstanceUID = file.SeriesInstanceUID = generate_uid(entropy_srcs=["decode series"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.PatientName, file.PatientID, file.Modality = "PHANTOM", "1", "MG"
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 if pixels.dtype == np.uint8 else 12
    file.BitsAllocated, file.BitsStored, file.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    file.PixelRepresentation = 0
    file.WindowCenter, file.WindowWidth, file.VOILUTFunction = 2000, 3800, "SIGMOID"
    file.add_new("PixelData", "OB" if bits == 8 else "OW", pixels.tobytes())
    return file


def write_all(folder: Path, size: int) -> dict[str, Path]:
    """Write the picture in each transfer syntax; return the files by name."""
    breast = make_breast(np.random.default_rng(0), "L", density=2, cancer=True, benign=True)
    pixels = project(breast, "MLO", (size, size))
    files = {}
    native = {
        "explicit": ExplicitVRLittleEndian,
        "implicit": ImplicitVRLittleEndian,
        "big endian": ExplicitVRBigEndian,
        "deflated": DeflatedExplicitVRLittleEndian,
        "RLE": RLELossless,
        "JPEG 2000": JPEG2000Lossless,
    }
    for name, syntax in native.items():
        file = header(pixels)
        if syntax.is_encapsulated:
            file.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            file["PixelData"].value = pixels.astype(">u2").tobytes()
        file.file_meta.TransferSyntaxUID = syntax
        files[name] = folder / f"{name}.dcm"
        pydicom.dcmwrite(
            files[name],
            file,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
            force_encoding=True,
        )
    for name, kind in GDCM_SYNTAXES.items():
        files[name] = folder / f"{name}.dcm"
        recode(files["explicit"], files[name], kind)
    files["JPEG 8 bit"] = folder / "JPEG 8 bit.dcm"
    write_baseline((pixels >> 4).astype(np.uint8), files["JPEG 8 bit"])
    return files


def recode(source: Path, target: Path, kind: str) -> None:
    """Change the transfer syntax of a file with GDCM."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
    if not reader.Read():
        raise RuntimeError(f"GDCM cannot read {source}")
    if kind == "JPEGLSNearLossless":
        codec = gdcm.JPEGLSCodec()
        codec.SetLossless(False)
        codec.SetLossyError(2)
        change.SetUserCodec(codec)
    change.SetInput(reader.GetImage())
    writer = gdcm.ImageWriter()
    if not change.Change():
        raise RuntimeError(f"GDCM cannot encode {kind}")
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(target))
    if not writer.Write():
        raise RuntimeError(f"GDCM cannot write {target}")


def write_baseline(pixels: NDArray[np.uint8], target: Path) -> None:
    """Write 8-bit JPEG with pillow's encoder."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    file = header(pixels)
    file.PixelData = encapsulate([stream.getvalue()])
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    file.save_as(target, enforce_file_format=True)


def ours(path: Path) -> NDArray[Any]:
    """Decode with medimg."""
    return read_stored(path)[0, ..., 0]


def with_pydicom(path: Path) -> NDArray[Any]:
    """Decode with pydicom, which picks among the same plug-ins."""
    return pydicom.dcmread(path).pixel_array


def with_simpleitk(path: Path) -> SimpleITK.Image:
    """Decode with SimpleITK; what its image costs to turn into an array is left out."""
    return SimpleITK.ReadImage(str(path))


def works(side: Callable[[Path], Any], path: Path, reference: NDArray[Any], most: int) -> bool:
    """Whether a side decodes the file to what was written."""
    try:
        found = side(path)
    except Exception:
        return False
    if isinstance(found, SimpleITK.Image):
        found = SimpleITK.GetArrayFromImage(found)[0]
    return int(np.abs(found.astype(int) - reference.astype(int)).max()) <= most


def measure(calls: list[Callable[[], object]], seconds: float) -> list[float]:
    """CPU seconds of the fastest run of each call; the calls take turns, so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in calls]
    begun = time.perf_counter()
    while len(times[0]) < LEAST or (
        len(times[0]) < MOST and time.perf_counter() - begun < seconds * len(calls)
    ):
        for call, own in zip(calls, times, strict=True):
            used = time.process_time()
            call()
            own.append(time.process_time() - used)
    return [min(own) for own in times]


def show_other_steps(path: Path, folder: Path, seconds: float) -> None:
    """Print what windowing and a cache cost."""
    stored = read_stored(path)[0, ..., 0]
    write_png(folder / "cache.png", stored)
    np.save(folder / "cache.npy", stored)
    decode, windowed, png, array = measure(
        [
            lambda: read_stored(path),
            lambda: read_image(path),
            lambda: read_raster(folder / "cache.png"),
            lambda: np.array(np.load(folder / "cache.npy", mmap_mode="r")),
        ],
        seconds,
    )
    print(f"window (SIGMOID), apart: {1e3 * (windowed - decode):.1f} ms an image")
    print(f"cache, apart: 16-bit PNG {1e3 * png:.1f} ms, .npy {1e3 * array:.1f} ms an image")


def main() -> None:
    """Measure every syntax and print a table and the worst ratio."""
    parser = argparse.ArgumentParser(description="DICOM decoding beside pydicom and SimpleITK.")
    parser.add_argument("--size", type=int, default=2048, help="pixels along each side")
    parser.add_argument("--quick", action="store_true", help="an eighth of the time")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    seconds = SECONDS / 8 if arguments.quick else SECONDS
    worst: tuple[float, str, float, str, float] | None = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_all(folder, arguments.size)
        print(f"{arguments.size} x {arguments.size}, images a second of one core, fastest run")
        print(f"{'syntax':16} {'medimg':>9} {'pydicom':>9} {'SimpleITK':>9}  ratio")
        for syntax, path in files.items():
            reference = ours(path)
            most = 1 if syntax == "JPEG 8 bit" else 0
            peers = {
                peer: side
                for peer, side in (("pydicom", with_pydicom), ("SimpleITK", with_simpleitk))
                if works(side, path, reference, most)
            }
            calls = [lambda path=path, side=side: side(path) for side in (ours, *peers.values())]
            mine, *theirs = (1 / used for used in measure(calls, seconds))
            rates = dict(zip(peers, theirs, strict=True))
            peer = max(rates, key=lambda one: rates[one])
            ratio = mine / rates[peer]
            shown = [
                f"{rates[one]:9.2f}" if one in rates else f"{'-':>9}" for one in ("pydicom", "SimpleITK")
            ]
            print(f"{syntax:16} {mine:9.2f} {' '.join(shown)}  {ratio:.2f}", flush=True)
            if worst is None or ratio < worst[0]:
                worst = (ratio, syntax, mine, peer, rates[peer])
        show_other_steps(files["explicit"], folder, seconds)
    assert worst is not None
    ratio, syntax, mine, peer, rate = worst
    print(f"worst: {syntax}")
    print(f"DECODE: ours {mine:.2f}, {peer} {rate:.2f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
