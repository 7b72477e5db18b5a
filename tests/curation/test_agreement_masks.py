import numpy as np
import pytest

from medimg.curation.agreement import Bootstrap
from medimg.curation.agreement_masks import MaskSettings, compare_case, find_reader_masks, summarise_masks
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import read_mask, write_image

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def box(*slices, value=1, shape=(8, 10, 12)):
    mask = np.zeros(shape, np.uint8)
    mask[slices] = value
    return mask


BIG, SMALL = box(slice(2, 6), slice(2, 8), slice(2, 8)), box(slice(2, 6), slice(2, 8), slice(2, 5))


@pytest.fixture
def readers(tmp_path):
    masks = {"anna": (BIG, BIG * 0), "ben": (SMALL, BIG * 0), "carla": (BIG, SMALL)}
    for name, pair in masks.items():
        for case, mask in zip(("c1", "c2"), pair, strict=True):
            write_image(tmp_path / name / f"{case}.nii.gz", mask, AFFINE)
    return [tmp_path / name for name in masks]


def test_the_figures_of_two_boxes(readers, tmp_path):
    cases = find_reader_masks(readers)
    assert [(one.case_id, one.readers) for one in cases] == [
        ("c1", ("anna", "ben", "carla")),
        ("c2", ("anna", "ben", "carla")),
    ]
    settings = MaskSettings({"lump": (1,)}, consensus=tmp_path / "out")
    rows = [row for case in cases for row in compare_case(case, settings)]
    first = rows[0]
    assert (first["reader_a"], first["reader_b"]) == ("anna", "ben")
    assert first["dice_lump"] == pytest.approx(2 * 72 / (144 + 72))
    assert first["hd95_lump"] == pytest.approx(3.0)
    assert 0 < first["nsd_lump"] < 1
    assert rows[1]["dice_lump"] == 1.0
    assert np.isnan(rows[3]["dice_lump"])  # both saw nothing in c2
    assert rows[4]["dice_lump"] == 0.0
    assert rows[4]["hd95_lump"] == pytest.approx(np.sqrt(16**2 + 10**2 + 12**2))
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "c1.nii.gz"), BIG)
    assert not read_mask(tmp_path / "out" / "c2.nii.gz").any()
    everyone, pairs = summarise_masks(rows, ["lump"], Bootstrap(resamples=50))
    assert everyone[0].figures["dice"][0] == pytest.approx(np.mean([(2 / 3 + 1 + 2 / 3) / 3, 0.0]))
    assert (everyone[0].n_cases, everyone[0].n_readings) == (2, 10)
    assert [(row.readers, row.n_cases) for row in pairs] == [
        (("anna", "ben"), 1),
        (("anna", "carla"), 2),
        (("ben", "carla"), 2),
    ]


def test_both_empty_may_count_as_agreement(readers):
    rows = compare_case(find_reader_masks(readers)[1], MaskSettings({"lump": (1,)}, empty="one"))
    assert (rows[0]["dice_lump"], rows[0]["hd95_lump"]) == (1.0, 0.0)


def test_folders_that_do_not_fit(readers, tmp_path):
    with pytest.raises(ConfigError, match="two readers or more, each once, found anna"):
        find_reader_masks(readers[:1])
    with pytest.raises(ConfigError, match="each once"):
        find_reader_masks([readers[0], readers[0]])
    with pytest.raises(DataError, match="there is no such folder"):
        find_reader_masks([readers[0], tmp_path / "dora"])
    (readers[1] / "c2.nii.gz").unlink()
    with pytest.raises(DataError, match="ben: expected a mask of each of the 2 cases, 1 are missing: c2"):
        find_reader_masks(readers)
    write_image(readers[0] / "c1.nii", BIG, AFFINE)
    with pytest.raises(DataError, match="case c1 stands twice"):
        find_reader_masks(readers)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no mask found"):
        find_reader_masks([readers[2], tmp_path / "empty"])


def test_folders_of_one_name_are_told_apart(readers, tmp_path):
    for name in ("anna", "ben"):
        (tmp_path / name).rename(tmp_path / f"of_{name}")
        (tmp_path / name).mkdir()
        (tmp_path / f"of_{name}").rename(tmp_path / name / "masks")
    cases = find_reader_masks([tmp_path / "anna" / "masks", tmp_path / "ben" / "masks"])
    assert len(set(cases[0].readers)) == 2


def test_masks_on_other_grids_are_refused(readers):
    write_image(readers[1] / "c1.nii.gz", SMALL[:, ::2], AFFINE)
    with pytest.raises(DataError, match="case c1: the prediction has shape"):
        compare_case(find_reader_masks(readers)[0], MaskSettings({"lump": (1,)}))
