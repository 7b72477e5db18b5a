"""Graded brains: the grade is in how the tumour is built, and in no single statistic of a scan."""

import csv

import nibabel as nib
import numpy as np
import pytest
from scipy.stats import rankdata

from medimg.datasets import GliomaGrade
from medimg.errors import ConfigError
from medimg.phantoms import grade
from medimg.phantoms.grade import draw_graded, grade_of, write_grade

SMALL = (26, 30, 28)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantoms") / "set"
    return root, write_grade(root, cases=3, seed=1, shape=SMALL)


def test_the_set_is_read_as_graded_brats(written):
    root, folders = written
    index = GliomaGrade().index(root)
    assert [record.case_id for record in index.records] == [folder.name for folder in folders]
    assert [next(k for k, v in record.labels.items() if v) for record in index.records] == ["2", "3", "4"]
    assert len({record.patient_id for record in index.records}) == 3
    rows = list(csv.DictReader((root / "grades.csv").open()))
    assert rows[1] == {"case_id": "BraTS-GLI-90001-000", "patient_id": "BraTS-GLI-90001", "grade": "3"}
    assert "phantoms" in (root / "README.txt").read_text()


def test_a_stopped_run_goes_on_and_other_settings_are_refused(written, monkeypatch):
    root, folders = written
    drawn = []
    monkeypatch.setattr(grade, "draw_graded", lambda index, **options: drawn.append(index))
    assert write_grade(root, cases=3, seed=1, shape=SMALL) == folders
    assert drawn == []
    with pytest.raises(ConfigError, match="holds phantoms made with other settings"):
        write_grade(root, cases=3, seed=1, shape=SMALL, grades=(2, 4))


@pytest.mark.parametrize("grades", [(2,), (4, 2), (2, 5), (2, 2)])
def test_grades_that_make_no_sense_are_refused(tmp_path, grades):
    with pytest.raises(ConfigError, match="grades: expected two or more of 1, 2, 3, 4, ascending"):
        write_grade(tmp_path / "set", grades=grades)


def test_the_files_hold_what_is_drawn_by_seed_and_number_alone(written):
    _, folders = written
    scans, labels = draw_graded(2, seed=1, shape=SMALL)
    for part, drawn in (("t1c", scans[1]), ("seg", labels)):
        stored = np.asarray(nib.load(folders[2] / f"{folders[2].name}-{part}.nii.gz").dataobj)
        assert np.array_equal(stored.T, drawn)
    assert {1, 3} <= set(np.unique(labels))  # a rim around necrosis


def area(positive, value):
    """AUC by ranks, whichever way round."""
    ranks, n = rankdata(value), positive.sum()
    found = (ranks[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum())
    return max(found, 1 - found)


@pytest.mark.slow
def test_the_parts_of_the_tumour_tell_the_grade_and_no_statistic_of_a_scan_does():
    cases = [draw_graded(index, seed=0, shape=(32, 38, 36)) for index in range(60)]
    truth = np.array([grade_of(index) for index in range(60)])
    parts = np.array(
        [[(labels == value).sum() for value in (1, 3)] for _, labels in cases]
    )  # necrosis, enhancing
    dark, rim = parts[:, 1] < 0.1 * parts.sum(1), parts.min(1) > 0.1 * parts.sum(1)
    guess = np.where(dark, 2, np.where(rim, 4, 3))
    assert 0.75 < (guess == truth).mean() < 1  # one in eight looks like its neighbour
    for modality in range(4):
        brains = [scans[modality][scans[modality] > 0].astype(float) for scans, _ in cases]
        for statistic in (np.mean, np.std, *(lambda v, p=p: np.percentile(v, p) for p in (5, 50, 95, 99))):
            values = np.array([statistic(brain / np.median(brain)) for brain in brains])
            macro = np.mean([area(truth == one, values) for one in (2, 3, 4)])
            assert macro < 0.8, (modality, statistic, macro)
