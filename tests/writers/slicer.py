"""Segmentations in the form in which 3D Slicer saves them."""

import gzip

import numpy as np


def write_slicer(path, layers, grid, segments, *, offset=(0, 0, 0)):
    """Write layers (L, D, H, W), the layer the fastest axis; segments are (name, value, layer)."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    vectors = ["(" + ",".join(repr(float(part)) for part in affine[:3, axis]) + ")" for axis in range(4)]
    sizes = [str(size) for size in layers.shape[:0:-1]]
    several = len(layers) > 1
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "type: uint8",
        f"dimension: {4 if several else 3}",
        "space: left-posterior-superior",
        "sizes: " + " ".join([str(len(layers))] * several + sizes),
        "space directions: " + " ".join(["none"] * several + vectors[:3]),
        "kinds: " + " ".join(["list"] * several + ["domain"] * 3),
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    ]
    for number, (name, value, layer) in enumerate(segments):
        about = {
            "Color": "0.501961 0.682353 0.501961",
            "ID": f"Segment_{number + 1}",
            "LabelValue": value,
            "Layer": layer,
            "Name": name,
            "Tags": "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - 3D Slicer "
            "General Anatomy list~SCT^49755003^Morphologically Abnormal Structure~SCT^4147007^Mass~^^~"
            "Anatomic codes~^^~^^|",
        }
        lines += [f"Segment{number}_{key}:={text}" for key, text in about.items()]
    lines += [
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|Closed surface|",
        "Segmentation_ReferenceImageExtentOffset:=" + " ".join(map(str, offset)),
        "",
        "",
    ]
    data = np.moveaxis(layers, 0, -1) if several else layers[0]
    path.write_bytes("\n".join(lines).encode() + gzip.compress(np.ascontiguousarray(data).tobytes(), mtime=0))
