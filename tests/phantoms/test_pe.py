import csv

import pytest

from medimg.datasets.recognise_images import recognise_images
from medimg.datasets.rsna_pe import IMAGE_LABEL, RSNAPulmonaryEmbolism
from medimg.errors import ConfigError
from medimg.io.dicom.series import find_series, read_series
from medimg.io.nifti import read_mask
from medimg.phantoms.chest_scan import truth_file
from medimg.phantoms.pe import COLUMNS, study_uid, write_pe
from medimg.phantoms.pe_chest import draw_findings
from medimg.scoring.embolism import EXAM_LABELS
from medimg.scoring.study_scores import score_embolism

SMALL = (24, 64, 64)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("pe") / "out"
    folders = write_pe(out, studies=3, tests=1, seed=1, size=SMALL)
    return out, folders


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_the_layout_is_the_competitions(written):
    out, folders = written
    table = rows(out / "train.csv")
    assert tuple(table[0]) == COLUMNS and len(table) == 3 * 24
    assert tuple(rows(out / "test.csv")[0]) == COLUMNS[:3]
    for row in table:
        path = (
            out
            / "train"
            / row["StudyInstanceUID"]
            / row["SeriesInstanceUID"]
            / f"{row['SOPInstanceUID']}.dcm"
        )
        assert path.is_file()
    assert len(list(out.rglob("*.dcm"))) == 4 * 24
    assert {folder.name for folder in folders} == {row["StudyInstanceUID"] for row in table}
    assert "phantoms" in (out / "README.txt").read_text()


def test_the_reader_knows_it_and_finds_no_fault(written, caplog):
    out, _ = written
    index = recognise_images(out)
    assert index == RSNAPulmonaryEmbolism().index(out)
    assert caplog.messages == []
    assert len({record.group for record in index.records}) == 3
    assert len(RSNAPulmonaryEmbolism().unlabelled(out).records) == 24


def test_slices_are_labelled_by_their_voxels_and_ordered_by_position_alone(written):
    out, folders = written
    table = {row["SOPInstanceUID"]: row for row in rows(out / "train.csv")}
    for index, folder in enumerate(folders):
        (series,) = find_series(folder)
        volume, clots = read_series(series), read_mask(truth_file(out, folder.name))
        assert volume.voxels.shape == clots.shape == SMALL
        upwards = sorted(series.slices, key=lambda one: one.position[2])
        order = [one.sop_uid for one in upwards]
        assert [one.path.stem for one in upwards] == order
        assert order != sorted(order) and order != sorted(order, reverse=True)
        found = [int(table[uid][IMAGE_LABEL]) for uid in order]
        assert found == clots.any(axis=(1, 2)).astype(int).tolist()
        expected = draw_findings(index, seed=1).labels
        assert {name: int(table[order[0]][name]) for name in EXAM_LABELS} == {
            n: expected[n] for n in EXAM_LABELS
        }


def test_a_submission_of_the_truth_scores_best(written, tmp_path, write_table):
    out, _ = written
    sample = rows(out / "sample_submission.csv")
    assert len(sample) == 9 + 24
    truth = {row["SOPInstanceUID"]: row for row in rows(out / "truth" / "test.csv")}
    study = next(iter(truth.values()))["StudyInstanceUID"]
    exam = next(iter(truth.values()))
    answers = {f"{study}_{label}": float(exam[label]) for label in EXAM_LABELS}
    answers |= {uid: float(row[IMAGE_LABEL]) for uid, row in truth.items()}
    assert set(answers) == {row["id"] for row in sample}
    path = write_table(tmp_path / "submission.csv", ["id", "label"], list(answers.items()))
    found = score_embolism(path, out / "truth" / "test.csv", resamples=10)
    assert found.figures[0].row["mean"] < 1e-5
    assert not any(found.broken.values())


def test_same_seed_same_bytes_and_a_study_depends_on_nothing_else(written, tmp_path):
    out, _ = written
    write_pe(tmp_path / "b", studies=1, tests=1, seed=1, size=SMALL)
    one, other = contents(out), contents(tmp_path / "b")
    shared = [name for name in other if "/" in name]
    assert len(shared) == 2 * (24 + 2) + 1 and all(one[name] == other[name] for name in shared)
    write_pe(tmp_path / "b", studies=3, tests=1, seed=1, size=SMALL)  # goes on
    assert contents(tmp_path / "b") == one
    assert study_uid(0, 2) != study_uid(0, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"studies": 0}, "studies: expected 1 to 5000, found 0"),
        ({"tests": -1}, "tests: expected 0 to 5000, found -1"),
        ({"seed": -1}, "seed: expected a number from 0 on"),
        ({"size": (8, 64, 64)}, "size: expected at least"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=said):
        write_pe(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_other_settings_are_refused(written):
    out, _ = written
    with pytest.raises(ConfigError, match="holds phantoms made with other settings"):
        write_pe(out, studies=3, seed=2, size=SMALL)


def test_without_a_test_set_there_are_no_tables_of_it(tmp_path):
    write_pe(tmp_path, studies=1, tests=0, size=SMALL)
    assert not (tmp_path / "test.csv").exists() and not (tmp_path / "sample_submission.csv").exists()
    assert (tmp_path / "train.csv").is_file()
