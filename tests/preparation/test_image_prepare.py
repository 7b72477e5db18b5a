import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medimg.errors import ConfigError, DataError, ResourceError
from medimg.io.raster import read_raster
from medimg.preparation import image_source
from medimg.preparation.image_prepare import (
    ImagePreparation,
    prepare_image,
    prepare_images,
    prepared_index,
    shrink,
)
from medimg.records import ImageIndex, Record


@pytest.fixture
def index(tmp_path, write_picture):
    paths = [write_picture(tmp_path / "raw" / f"{n}.png", seed=n) for n in range(4)]
    records = [Record(f"c/{n}", f"p{n}", (path,), labels={"x": n % 2}) for n, path in enumerate(paths)]
    return ImageIndex(
        "fake", tmp_path / "raw", "binary", ("x",), tuple(records), ((("c/0", "c/1"), ("c/2", "c/3")),)
    )


def test_images_manifest_and_index(index, tmp_path):
    out = tmp_path / "out"
    done = prepare_images(index, ImagePreparation(longest_side=20), out)
    assert (done.done, done.failed) == (4, {})
    record = done.index.records[1]
    assert record.labels == {"x": 1} and record.patient_id == "p1"
    assert read_raster(record.images[0]).shape == (1, 16, 20)
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [row["case_id"] for row in rows] == ["c/0", "c/1", "c/2", "c/3"]
    assert rows[0]["source"] == [str(index.records[0].images[0])]
    assert rows[0]["source_shape"] == [1, 32, 40] and rows[0]["shape"] == [1, 16, 20]
    assert len(rows[0]["source_hash"]) == 32
    assert prepared_index(index, out) == done.index
    assert not (out / "failed.csv").exists()


def test_pixels_stay_where_nothing_is_asked_for(index, tmp_path):
    done = prepare_images(index, ImagePreparation(), tmp_path / "out")
    for before, after in zip(index.records, done.index.records, strict=True):
        assert np.array_equal(read_raster(before.images[0]), read_raster(after.images[0]))


def test_only_what_is_stale_is_prepared_again(index, tmp_path, write_picture):
    out, way = tmp_path / "out", ImagePreparation()
    prepare_images(index, way, out)
    assert prepare_images(index, way, out).done == 0
    index.records[0].images[0].touch()
    assert prepare_images(index, way, out).done == 0  # the same bytes under another time
    write_picture(index.records[1].images[0], seed=99)
    assert prepare_images(index, way, out).done == 1
    next(out.glob("c_2*.png")).write_bytes(b"")
    assert prepare_images(index, way, out).done == 1
    assert prepare_images(index, ImagePreparation(bits=16), out).done == 4


def test_a_run_that_was_killed_goes_on(index, tmp_path):
    out = tmp_path / "out"
    prepare_images(index, ImagePreparation(), out)
    lines = (out / "manifest.jsonl").read_text().splitlines()
    (out / "manifest.jsonl").write_text("\n".join([*lines[:2], lines[2][:30]]))
    assert prepare_images(index, ImagePreparation(), out).done == 2
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 4


def test_a_failing_file_is_named_and_the_others_go_on(index, tmp_path, caplog):
    index.records[1].images[0].write_bytes(b"no picture")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"1 of 4 cases failed(.|\n)*c/1: .*1\.png"):
        prepare_images(index, ImagePreparation(), out)
    assert "c/1," in (out / "failed.csv").read_text()
    done = prepare_images(index, ImagePreparation(), out, on_bad="skip")
    assert [record.case_id for record in done.index.records] == ["c/0", "c/2", "c/3"]
    assert done.index.folds == ((("c/0",), ("c/2", "c/3")),)
    assert set(done.failed) == {"c/1"} and "1 of 4 cases failed" in caplog.text


def test_workers_give_the_same_bytes(index, tmp_path):
    way = ImagePreparation(longest_side=24)
    one = prepare_images(index, way, tmp_path / "one")
    two = prepare_images(index, way, tmp_path / "two", workers=2)
    for a, b in zip(one.index.records, two.index.records, strict=True):
        assert a.images[0].read_bytes() == b.images[0].read_bytes()


def test_ids_never_lead_out_of_the_folder(index, tmp_path):
    records = (Record("../../x", "../../p", index.records[0].images),)
    done = prepare_images(
        ImageIndex("a", tmp_path, "binary", ("x",), records), ImagePreparation(), tmp_path / "out"
    )
    assert done.index.records[0].images[0].parent == tmp_path / "out"
    assert not list(tmp_path.parent.glob("x*"))


@pytest.mark.parametrize(
    ("pixels", "bits", "expected"),
    [
        (np.array([[0, 255]], np.uint8), 8, [[0, 255]]),
        (np.array([[0, 255]], np.uint8), 16, [[0, 65535]]),
        (np.array([[100, 4195]], np.uint16), 16, [[100, 4195]]),
        (np.array([[100, 1120, 4195]], np.uint16), 8, [[0, 64, 255]]),
        (np.array([[7, 7]], np.uint16), 8, [[0, 0]]),
    ],
)
def test_bits(tmp_path, write_picture, pixels, bits, expected):
    record = Record("c", "p", (write_picture(tmp_path / "a.png", pixels),))
    (image,), facts = prepare_image(record, ImagePreparation(bits=bits))
    assert image.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert image[0].tolist() == expected and facts["box"] is None


def test_crop_is_the_same_for_every_image_of_a_case(tmp_path, write_picture):
    image = np.zeros((100, 80), np.uint8)
    image[20:60, 10:50] = 200
    paths = (write_picture(tmp_path / "a.png", image), write_picture(tmp_path / "b.png", image[::-1].copy()))
    arrays, facts = prepare_image(Record("c", "p", paths), ImagePreparation(crop="contour"))
    assert facts["box"] == [19, 61, 9, 51]
    assert np.array_equal(arrays[1][0], image[::-1][19:61, 9:51])
    odd = (paths[0], write_picture(tmp_path / "c.png", image[:50]))
    with pytest.raises(DataError, match="one crop needs one size"):
        prepare_image(Record("c", "p", odd), ImagePreparation(crop="contour"))


def test_shrinking_averages():
    board = np.indices((64, 64)).sum(axis=0)[None] % 2 * 255.0
    small = shrink(board.astype(np.float32), 16)
    assert (
        small.shape == (1, 16, 16) and np.abs(small - 127.5).max() < 20
    )  # dots of a chess board, not 0 and 255
    assert shrink(board, None) is board and shrink(board, 64) is board


def test_ct_windows_become_channels(tmp_path, monkeypatch):
    hounsfield = np.array([[[-1000, -160, 40, 240, 3000]]], np.float32)
    monkeypatch.setattr(image_source, "is_dicom", lambda path: True)
    shown = SimpleNamespace(pixels=hounsfield, laterality="", view="", flags=(), position_mm=None)
    monkeypatch.setattr(image_source, "read_image", lambda path, window: shown)
    (tmp_path / "a.dcm").write_bytes(b"x")
    records = (Record("c", "p", (tmp_path / "a.dcm",)),)
    way = ImagePreparation(windows_hu=((-160, 240), (-1000, 3000)))
    done = prepare_images(ImageIndex("a", tmp_path, "binary", ("x",), records), way, tmp_path / "out")
    soft, wide = (np.asarray(Image.open(path)).tolist() for path in done.index.records[0].images)
    assert soft == [[0, 0, 128, 255, 255]]
    assert wide == [[0, 54, 66, 79, 255]]


def test_settings_that_make_no_sense(index, tmp_path):
    for wrong, says in [
        ({"bits": 12}, "bits: expected 8 or 16"),
        ({"longest_side": 0}, "longest_side"),
        ({"crop": "breast"}, "crop: expected none or contour"),
        ({"windows_hu": ((240, -160),)}, "windows_hu"),
    ]:
        with pytest.raises(ConfigError, match=says):
            ImagePreparation(**wrong)
    member = Record("m", "m", (tmp_path / "a.npz",), split="train", member=0)
    with pytest.raises(ConfigError, match="is one file of decoded images already"):
        prepare_images(ImageIndex("a", tmp_path, "binary", ("x",), (member,)), ImagePreparation(), tmp_path)
    with pytest.raises(DataError, match="holds no prepared case"):
        prepared_index(index, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="cannot be written"):
        prepare_images(index, ImagePreparation(), tmp_path / "file")
