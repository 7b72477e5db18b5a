"""A folder of studies with made-up identifiers planted wherever files can hold one, and the list of them."""

import gzip
import io
import json
import struct
import zlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from writers.dicom import make_dataset

from medimg.curation.deidentify_table import rows

_TEXT = {"PN": 60, "LO": 60, "SH": 16, "ST": 60, "LT": 60, "UT": 60, "UC": 60, "CS": 16, "AE": 16}
_STRIPES = 10
_CT = "1.2.840.10008.5.1.4.1.1.2"
_KINDS = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "nopreamble": ImplicitVRLittleEndian,
    "jpeg": JPEGBaseline8Bit,
    "jpeg2000": JPEG2000Lossless,
    "rle": RLELossless,
    "enhanced": ExplicitVRLittleEndian,
    "ultrasound": ExplicitVRLittleEndian,
}
BOXES = "match,left,top,width,height\n*ultrasound*,0,0,32,4\n"
"""What the ultrasound picture needs: its first rows hold an identifier."""


@dataclass
class Planter:
    """Gives out identifiers that occur nowhere else, and remembers where each went."""

    root: Path
    values: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def text(self, place, length=60):
        value = f"QZX{len(self.values):04d}VKJ"
        assert len(value) <= length
        self.values[value] = place
        return value

    def uid(self, place):
        value = f"1.2.826.0.1.7777.{len(self.values) + 10000}.31"
        self.values[value] = place
        return value

    def date(self, place):
        value = f"{date(1931, 3, 1) + timedelta(17 * len(self.values)):%Y%m%d}"
        self.values[value] = place
        return value

    def path(self, kind, suffix):
        folder = self.root / self.text(f"{kind}: folder")
        folder.mkdir(parents=True)
        self.files[kind] = folder / f"{self.text(f'{kind}: file name')}-{kind}{suffix}"
        return self.files[kind]


def plant(root):
    """Write the folder; returns the planter with ``values`` and ``files``."""
    planter = Planter(Path(root))
    for number, kind in enumerate(_KINDS):
        _write_dicom(planter, kind, number)
    _write_segmentation(planter)
    for kind, suffix in (("nifti1", ".nii"), ("nifti1gz", ".nii.gz"), ("nifti2gz", ".nii.gz")):
        _write_nifti(planter, kind, suffix)
    _write_json(planter)
    _write_png(planter)
    _write_jpeg(planter)
    _write_document(planter)
    notes = planter.path("notes", ".txt")
    notes.write_text(planter.text("notes: text"))
    return planter


def _tags(kind):
    """Every concrete tag of the table whose value can be told apart, by its kind of value."""
    concrete = [int(tag, 16) for tag in rows() if "X" not in tag and tag != "ODD"]
    return [tag for tag in concrete if dictionary_VR(tag) == kind and tag >> 16 >= 8]


def _fill(planter, dataset, stripe, where):
    for kind, length in _TEXT.items():
        for tag in _tags(kind)[stripe::_STRIPES]:
            dataset.add_new(tag, kind, planter.text(f"{where}: {tag:08X}", length))
    for tag in _tags("UI")[stripe::_STRIPES]:
        dataset.add_new(tag, "UI", planter.uid(f"{where}: {tag:08X}"))
    for kind, end in (("DA", ""), ("DT", "121530.5+0100")):
        for tag in _tags(kind)[stripe::_STRIPES]:
            dataset.add_new(tag, kind, planter.date(f"{where}: {tag:08X}") + end)


def _beyond_the_table(planter, dataset, where):
    """What no list of tags to remove names."""
    dataset.BodyPartExamined = planter.text(f"{where}: BodyPartExamined", 16)
    dataset.RescaleType = planter.text(f"{where}: RescaleType")
    dataset.DocumentTitle = planter.text(f"{where}: DocumentTitle")
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "10200004", "SCT"
    code.CodeMeaning = planter.text(f"{where}: nested CodeMeaning")
    dataset.AnatomicRegionSequence = [code]
    block = dataset.private_block(0x0029, "MAKER", create=True)
    block.add_new(0x01, "LO", planter.text(f"{where}: private"))
    inner = Dataset()
    inner.private_block(0x0031, "MAKER", create=True).add_new(0x02, "UN", planter.text("x").encode())
    block.add_new(0x03, "SQ", [inner])
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000022, "LO", planter.text(f"{where}: overlay description"))
    dataset.add_new(0x60001500, "LO", planter.text(f"{where}: overlay label"))
    dataset.add_new(0x60003000, "OB", planter.text(f"{where}: overlay data").encode())
    dataset.add_new(0x50003000, "OB", planter.text(f"{where}: curve").encode())
    dataset.add_new(0xFFFCFFFC, "OB", planter.text(f"{where}: trailing padding").encode())
    icon = make_dataset(np.zeros((4, 4), np.uint8))
    icon.PixelData = planter.text(f"{where}: icon").encode() + b"\0" * 6
    dataset.IconImageSequence = [icon]


def _write_dicom(planter, kind, number):
    syntax = _KINDS[kind]
    pixels = np.random.default_rng(number).integers(0, 255, (32, 32)).astype(np.uint8)
    if kind == "enhanced":
        pixels = np.stack([pixels, pixels])
    if kind == "ultrasound":
        text = planter.text("ultrasound: pixels").encode()
        pixels[1, 3 : 3 + len(text)] = list(text)
    ultrasound = {"Modality": "US", "BurnedInAnnotation": "YES"}
    more = ultrasound if kind == "ultrasound" else {"Modality": "CT", "SOPClassUID": _CT}
    dataset = make_dataset(pixels, elements=more)
    _fill(planter, dataset, number, kind)
    item = Dataset()
    _fill(planter, item, (number + 5) % _STRIPES, f"{kind}: in a sequence")
    groups = Dataset()
    groups.FrameContentSequence = [item]
    dataset.PerFrameFunctionalGroupsSequence = [groups] * (2 if kind == "enhanced" else 1)
    _beyond_the_table(planter, dataset, kind)
    if kind in ("explicit", "implicit", "big"):
        dataset.PixelData += planter.text(f"{kind}: after the pixels").encode()
    if frame := _compressed(planter, kind, pixels):
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    _save(planter, dataset, kind, syntax)


def _save(planter, dataset, kind, syntax):
    path = planter.path(kind, ".dcm")
    if kind == "nopreamble":
        Dataset(dataset).save_as(path, implicit_vr=True, little_endian=True)
        return
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    for tag in (0x00020016, 0x00020017, 0x00020018):
        meta.add_new(tag, "AE", planter.text(f"{kind}: meta {tag:08X}", 16))
    meta.PrivateInformationCreatorUID = planter.uid(f"{kind}: meta")
    meta.PrivateInformation = planter.text(f"{kind}: private information").encode()
    dataset.file_meta = meta
    dataset.preamble = planter.text(f"{kind}: preamble").encode().ljust(128, b"\0")
    dcmwrite(path, dataset, enforce_file_format=True)


def _compressed(planter, kind, pixels):
    if kind == "jpeg":
        return _jpeg(planter, kind, pixels)
    if kind == "jpeg2000":
        packed = io.BytesIO()
        Image.fromarray(pixels).save(packed, "JPEG2000", no_jp2=True, irreversible=False)
        stream = packed.getvalue()
        comment = b"\0\x01" + planter.text("jpeg2000: comment").encode()
        comment = struct.pack(">HH", 0xFF64, 2 + len(comment)) + comment
        place = stream.index(b"\xff\x90")  # before the first tile
        return stream[:place] + comment + stream[place:] + planter.text("jpeg2000: after the end").encode()
    if kind == "rle":
        file = make_dataset(pixels)
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        return get_frame(file.PixelData, 0, number_of_frames=1) + planter.text("rle: after the runs").encode()
    return None


def _jpeg(planter, kind, pixels, **more):
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", comment=planter.text(f"{kind}: comment").encode(), **more)
    hidden = planter.text(f"{kind}: application data").encode()
    stream = packed.getvalue()
    application = struct.pack(">HH", 0xFFED, 2 + len(hidden)) + hidden
    return stream[:2] + application + stream[2:] + planter.text(f"{kind}: after the end").encode()


def _write_segmentation(planter):
    kind = "segmentation"
    dataset = make_dataset(np.zeros((2, 8, 8), np.uint8))
    dataset.Modality, dataset.SOPClassUID = "SEG", "1.2.840.10008.5.1.4.1.1.66.4"
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentAlgorithmType = 1, "MANUAL"
    segment.SegmentLabel = planter.text(f"{kind}: SegmentLabel")
    segment.SegmentDescription = planter.text(f"{kind}: SegmentDescription")
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = planter.text(f"{kind}: CodeValue", 16), "99LOCAL"
    code.CodeMeaning = planter.text(f"{kind}: CodeMeaning")
    segment.SegmentedPropertyTypeCodeSequence = [code]
    dataset.SegmentSequence = [segment]
    dataset.ContentCreatorName = planter.text(f"{kind}: ContentCreatorName")
    dataset.ContentLabel = planter.text(f"{kind}: ContentLabel", 16)
    _save(planter, dataset, kind, ExplicitVRLittleEndian)


def _write_nifti(planter, kind, suffix):
    import nibabel as nib

    maker = nib.Nifti2Image if "2" in kind else nib.Nifti1Image
    volume = np.random.default_rng(3).integers(0, 99, (6, 7, 8)).astype(np.int16)
    image = maker(volume, np.diag([1.0, 2, 3, 1]))
    for name, length in (("descrip", 80), ("aux_file", 24), ("intent_name", 16)):
        image.header[name] = planter.text(f"{kind}: {name}", length).encode()
    if "2" not in kind:
        image.header["db_name"] = planter.text(f"{kind}: db_name", 18).encode()
    for code in (6, 32):
        text = planter.text(f"{kind}: extension {code}").encode()
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, text))
    content = image.to_bytes() + planter.text(f"{kind}: after the voxels").encode()
    path = planter.path(kind, suffix)
    if not suffix.endswith(".gz"):
        path.write_bytes(content)
        return
    with path.open("wb") as file, gzip.GzipFile(planter.text(f"{kind}: gzip name"), "wb", 6, file) as packed:
        packed.write(content)


def _write_json(planter):
    names = (
        "PatientName",
        "InstitutionName",
        "StationName",
        "SeriesDescription",
        "BodyPartExamined",
        "ImageComments",
    )
    entries = {name: planter.text(f"json: {name}") for name in names}
    entries["AcquisitionDateTime"] = planter.date("json: AcquisitionDateTime")
    entries |= {"EchoTime": 0.03, "ImageType": ["ORIGINAL", planter.text("json: ImageType")]}
    entries[planter.text("json: key")] = 1
    entries["global"] = {"const": {"PatientID": planter.text("json: nested")}}
    planter.path("json", ".json").write_text(json.dumps(entries))


def _write_png(planter):
    about = PngImagePlugin.PngInfo()
    about.add_text("Author", planter.text("png: tEXt"))
    about.add_text("Comment", planter.text("png: zTXt"), zip=True)
    about.add_itxt("Description", planter.text("png: iTXt"))
    packed = io.BytesIO()
    exif = Image.Exif()
    exif[0x013B] = planter.text("png: EXIF artist")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(packed, "PNG", pnginfo=about, exif=exif)
    content = packed.getvalue()
    hidden = planter.text("png: private chunk").encode()
    chunk = (
        struct.pack(">L", len(hidden)) + b"prVt" + hidden + struct.pack(">L", zlib.crc32(b"prVt" + hidden))
    )
    tail = planter.text("png: after the end").encode()
    planter.path("png", ".png").write_bytes(content[:33] + chunk + content[33:] + tail)


def _write_jpeg(planter):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = planter.text("jpg: EXIF description"), 6
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    planter.path("jpg", ".jpg").write_bytes(_jpeg(planter, "jpg", pixels, exif=exif.tobytes()))


def _write_document(planter):
    dataset = make_dataset(np.zeros((2, 2), np.uint8))
    del dataset.PixelData
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    dataset.EncapsulatedDocument = planter.text("document: PDF").encode()
    dataset.PatientName = planter.text("document: PatientName")
    _save(planter, dataset, "document", ExplicitVRLittleEndian)
