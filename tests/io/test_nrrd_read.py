import gzip

import numpy as np
import pytest
from writers.grids import make_grid
from writers.slicer import write_slicer

from medimg.errors import DataError
from medimg.io.nrrd import write_seg_nrrd
from medimg.io.nrrd_read import read_seg_nrrd
from medimg.io.segments import make_segments


def test_what_was_written_comes_back(tmp_path):
    mask, grid = np.zeros((5, 6, 7), np.uint8), make_grid()
    mask[1:3, 2:5, 3:5], mask[2, 3, 4] = 1, 3
    segments = make_segments({"liver": 1, "tumour": 3})
    write_seg_nrrd(tmp_path / "a.seg.nrrd", mask, grid, segments)
    found = read_seg_nrrd(tmp_path / "a.seg.nrrd")
    np.testing.assert_array_equal(found.layers, mask[None])
    np.testing.assert_allclose(found.grid.affine, grid.affine, atol=1e-9)
    assert found.segments == segments


def test_a_file_of_slicer_with_layers_and_segments_out_of_order(tmp_path):
    layers = np.zeros((2, 3, 4, 5), np.uint8)
    layers[0, 1, 1:3, 1:4], layers[0, 2, 0, 0], layers[1, 1, 2, 2] = 2, 1, 1
    write_slicer(
        tmp_path / "a.seg.nrrd", layers, make_grid((3, 4, 5)), [("t", 2, 0), ("o", 1, 0), ("c", 1, 1)]
    )
    found = read_seg_nrrd(tmp_path / "a.seg.nrrd")
    np.testing.assert_array_equal(found.layers, layers)
    np.testing.assert_allclose(found.grid.affine, make_grid((3, 4, 5)).affine, atol=1e-9)
    assert [(one.name, one.value, one.layer, one.colour) for one in found.segments] == [
        ("t", 2, 0, (128, 174, 128)),
        ("o", 1, 0, (128, 174, 128)),
        ("c", 1, 1, (128, 174, 128)),
    ]
    assert found.segments[0].kind.meaning == "Mass"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((b"NRRD0004", b"NRRX0004"), "is no NRRD file"),
        ((b"encoding: gzip", b"encoding: bzip2"), "encoding bzip2"),
        ((b"encoding: gzip", b"encoding: gzip\ndata file: a.raw"), "keeps its data elsewhere"),
        ((b"left-posterior-superior", b"scanner-xyz"), "space 'scanner-xyz'"),
        ((b"type: uint8", b"type: float"), "values of type float"),
        ((b"sizes: 5 4 3", b"sizes: 5 4 9"), "bytes of data where 180 are declared"),
        ((b"sizes: 5 4 3", b"sizes: 5000 4000 3000"), "over the limit"),
        ((b"sizes: 5 4 3", b"sizes: 5 x 3"), "no number"),
        ((b"Segment0_LabelValue:=2", b"Segment0_LabelValue:=4"), r"the values \[2\] on layer 0"),
        ((b"Segment0_Layer:=0", b"Segment0_Layer:=3"), "on layer 3 of 1"),
        ((b"Segment0_ID", b"Segment_ID"), "names no segment"),
    ],
)
def test_what_is_no_such_segmentation_is_refused(tmp_path, change, words):
    layers, path = np.zeros((1, 3, 4, 5), np.uint8), tmp_path / "a.seg.nrrd"
    layers[0, 1, 1, 1] = 2
    write_slicer(path, layers, make_grid((3, 4, 5)), [("t", 2, 0)])
    path.write_bytes(path.read_bytes().replace(*change))
    with pytest.raises(DataError, match=words):
        read_seg_nrrd(path)


def test_damage_is_seen(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    with pytest.raises(DataError, match="cannot be read"):
        read_seg_nrrd(path)
    write_slicer(path, np.zeros((1, 3, 4, 5), np.uint8), make_grid((3, 4, 5)), [("t", 2, 0)])
    whole = path.read_bytes()
    head, _, _ = whole.partition(b"\n\n")
    path.write_bytes(whole[:-9])
    with pytest.raises(DataError, match="cut off or damaged"):
        read_seg_nrrd(path)
    path.write_bytes(head + b"\n\n" + gzip.compress(b"\0" * 60)[:-6] + b"abcdef")
    with pytest.raises(DataError, match="damaged gzip data"):
        read_seg_nrrd(path)
