"""Ultrasound phantoms: BUSI's layout, masks that fit, and a signal that is there but not in brightness alone."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score

from medimg.datasets import ImageFolder
from medimg.errors import ConfigError
from medimg.io.raster import read_raster
from medimg.phantoms.ultrasound import draw_image, image_files, write_ultrasound


def image_files_of(images):
    return image_files(Path("set"), images, 0)


def test_the_layout_is_busis(tmp_path):
    files = write_ultrasound(tmp_path / "set", images=10, seed=3, size=(64, 64))
    index = ImageFolder(positive=("malignant",)).index(tmp_path / "set")
    assert sorted(record.case_id for record in index.records) == sorted(
        path.relative_to(tmp_path / "set").as_posix() for path in files
    )
    assert sum(record.labels["malignant"] for record in index.records) == 3
    for path in files:
        image, mask = read_raster(path), read_raster(path.with_name(f"{path.stem}_mask.png"))
        assert image.shape == mask.shape
        assert image.shape[1] == 64
        assert set(np.unique(mask)) == ({0} if "normal" in path.name else {0, 255})
    assert len({read_raster(path).shape[2] for path in files}) > 1  # widths differ


def test_the_same_seed_gives_the_same_bytes_and_a_stopped_run_goes_on(tmp_path):
    first = write_ultrasound(tmp_path / "a", images=4, size=(64, 64))
    second = write_ultrasound(tmp_path / "b", images=4, size=(64, 64))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    first[1].unlink()
    kept = first[0].stat().st_mtime_ns
    write_ultrasound(tmp_path / "a", images=4, size=(64, 64))
    assert first[1].read_bytes() == second[1].read_bytes()
    assert first[0].stat().st_mtime_ns == kept


def test_every_lesion_is_one_dark_piece_and_malignant_ones_are_jagged():
    drawn = {path: draw_image(n, seed=0, size=(128, 128)) for n, path in enumerate(image_files_of(40))}
    jagged, malignant, dark = [], [], []
    for path, (image, mask) in drawn.items():
        if path.parent.name == "normal":
            assert not mask.any()
            continue
        inside = mask > 0
        assert label(inside)[1] == 1
        assert 0.005 < inside.mean() < 0.25
        dark.append(image[inside].mean() < image[~inside].mean())
        edge = sum(np.count_nonzero(np.diff(inside, axis=axis)) for axis in (0, 1))
        jagged.append(edge**2 / inside.sum())
        malignant.append(path.parent.name == "malignant")
    assert all(dark)
    assert roc_auc_score(malignant, jagged) > 0.95


def test_the_mean_brightness_alone_does_not_settle_the_label():
    paths = image_files_of(60)
    means = [draw_image(n, seed=0, size=(64, 64))[0].mean() for n in range(60)]
    auc = roc_auc_score([path.parent.name == "malignant" for path in paths], means)
    assert 0.2 < auc < 0.8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": 0}, "images: expected 1 to 10000, found 0"),
        ({"seed": -1}, "seed: expected a number from 0 on, found -1"),
        ({"size": (64, 32)}, r"size: expected at least 64 pixels along H and W, found \(64, 32\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        write_ultrasound(tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()
