"""Single DICOM files with a stated encoding, and damaged ones."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def make_dataset(pixels, *, bits=None, photometric=None, elements=None):
    """Return a data set for ``pixels``: (H, W), (F, H, W), or (H, W, 3) and (F, H, W, 3) of colours.

    ``elements`` maps keywords to values and overrides what follows from the pixels.
    """
    pixels = np.asarray(pixels)
    colour = pixels.shape[-1] == 3 and pixels.ndim > 2
    size = pixels.shape[:-1] if colour else pixels.shape
    dataset = Dataset()
    dataset.SOPClassUID = _SECONDARY_CAPTURE
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["sop"])
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series"])
    dataset.PatientID = "P1"
    dataset.Modality = "OT"
    dataset.Rows, dataset.Columns = size[-2:]
    if len(size) == 3:
        dataset.NumberOfFrames = size[0]
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", "OB" if dataset.BitsAllocated == 8 else "OW", raw + b"\0" * (len(raw) % 2))
    for keyword, value in (elements or {}).items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def write_dicom(path, pixels, *, bits=None, photometric=None, syntax=None, elements=None):
    """Write a file and return its path; a compressed ``syntax`` is encoded without loss by pydicom's plug-ins."""
    dataset = make_dataset(pixels, bits=bits, photometric=photometric, elements=elements)
    compressed = syntax is not None and syntax.is_compressed and not syntax.is_deflated
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if compressed or syntax is None else syntax
    file = FileDataset(str(path), dataset, file_meta=meta, preamble=b"\0" * 128)
    if compressed:
        file.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return Path(path)


def element(group, number, kind, value):
    """Encode one element in explicit little endian."""
    tag = group.to_bytes(2, "little") + number.to_bytes(2, "little") + kind
    if kind in (b"OB", b"OW", b"SQ", b"UN"):
        return tag + b"\0\0" + len(value).to_bytes(4, "little") + value
    return tag + len(value).to_bytes(2, "little") + value


def part10(body, syntax):
    """Put a preamble and a meta group before an encoded data set."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(2, 0x10, b"UI", uid)
    length = element(2, 0, b"UL", len(meta).to_bytes(4, "little"))
    return b"\0" * 128 + b"DICM" + length + meta + body


def nested(depth, *, defined):
    """Encode a sequence in a sequence, ``depth`` times, with stated or with open lengths."""
    tag = (0x0008).to_bytes(2, "little") + (0x1140).to_bytes(2, "little") + b"SQ\0\0"
    item, item_end, end = (b"\xfe\xff" + number for number in (b"\x00\xe0", b"\x0d\xe0", b"\xdd\xe0"))
    if not defined:
        opened = (tag + b"\xff" * 4 + item + b"\xff" * 4) * depth
        return opened + (item_end + b"\0" * 4 + end + b"\0" * 4) * depth
    body = b""
    for _ in range(depth):
        inner = item + len(body).to_bytes(4, "little") + body
        body = tag + len(inner).to_bytes(4, "little") + inner
    return body


def write_enhanced(path, stored, grid, *, slopes=None, intercept=0.0, order=None, elements=None):
    """Write int16 (D, H, W) on a grid as one enhanced CT file, with the frames in any ``order``."""
    lps = np.diag([-1.0, -1, 1, 1]) @ grid.affine
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    order = range(len(stored)) if order is None else order
    frames = [_frame(lps, depth, 1.0 if slopes is None else slopes[depth], intercept) for depth in order]
    measures, turned, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [float(lengths[1]), float(lengths[0])]
    measures.SliceThickness = float(lengths[2])
    turned.ImageOrientationPatient = [float(f"{v:.10f}") for v in (lps[:3, :2] / lengths[:2]).T.ravel()]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turned]
    about = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "FrameOfReferenceUID": "1.2.3",
        "SeriesNumber": 7,
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames,
    }
    return write_dicom(path, stored[list(order)], elements=about | (elements or {}))


def _frame(lps, depth, slope, intercept):
    """The functional groups of one frame."""
    place, content, values, group = Dataset(), Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = [float(f"{v:.10f}") for v in lps[:3, 3] + depth * lps[:3, 2]]
    content.StackID, content.InStackPositionNumber = "1", depth + 1
    content.DimensionIndexValues = [depth + 1]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, intercept, "HU"
    group.PlanePositionSequence, group.FrameContentSequence = [place], [content]
    group.PixelValueTransformationSequence = [values]
    return group
