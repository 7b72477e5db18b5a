from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medimg.errors import ConfigError
from medimg.phantoms.chest import grid_axes
from medimg.phantoms.pe_chest import build_angiography, draw_angiography, draw_findings
from medimg.scoring.embolism import EXAM_LABELS
from medimg.scoring.embolism_rules import broken_rules

SMALL = (24, 64, 64)


@pytest.fixture(scope="module")
def studies():
    return [build_angiography(index, seed=0, size=SMALL) for index in range(24)]


def seen(study):
    return np.stack(list(study.clot_masks()))


def drawn(study, index):
    return np.stack(list(draw_angiography(study, (0, index, 1)))).astype(int)


def test_labels_follow_the_rules_and_the_voxels(studies):
    exams = [[study.findings.labels[name] for name in EXAM_LABELS] for study in studies]
    highest = [float(seen(study).any()) for study in studies]
    assert not any(broken.any() for broken in broken_rules(exams, highest).values())
    assert highest == [float(study.findings.kind == "positive") for study in studies]


def test_every_kind_of_finding_is_dealt():
    findings = [draw_findings(index, seed=0) for index in range(400)]
    kinds = [one.kind for one in findings]
    assert [kinds.count(kind) for kind in ("positive", "negative", "indeterminate")] == [200, 150, 50]
    shares = {name: np.mean([one.labels[name] for one in findings]) for name in findings[0].labels}
    assert all(0.04 < share < 0.5 for share in shares.values()), shares


def test_clots_lie_on_the_side_that_the_labels_say(studies):
    for study in studies:
        _, _, x = grid_axes(study.grid)
        columns = x[seen(study).any(axis=(0, 1))]
        if study.findings.sides == ("left",):
            assert columns.max() < -25  # x runs to the patient's right
        elif study.findings.sides == ("right",):
            assert columns.min() > 25
        elif study.findings.sides == ("central",):
            assert np.abs(columns).max() < 65


def test_clots_are_dark_in_bright_arteries(studies):
    for index in [n for n, study in enumerate(studies) if study.findings.kind == "positive"][:3]:
        study = studies[index]
        open_tubes = tuple(tube for tube in study.chest.tubes if tube not in study.clots)
        healthy = replace(study, chest=replace(study.chest, tubes=open_tubes))
        clots, voxels, before = seen(study), drawn(study, index), drawn(healthy, index)
        assert voxels[clots].mean() < 0.6 * study.findings.contrast_hu
        assert before[clots].mean() > 0.85 * study.findings.contrast_hu
        # All else is the same, and the mean of the volume moves by less than the noise between patients.
        reach = (
            clots
            | np.roll(clots, 1, 1)
            | np.roll(clots, -1, 1)
            | np.roll(clots, 1, 2)
            | np.roll(clots, -1, 2)
        )
        assert np.abs(voxels - before)[~reach].mean() < 0.5
        assert abs(voxels.mean() - before.mean()) < 1


def test_the_right_ventricle_is_as_large_as_the_label_says(studies):
    for study in studies:
        heart = [
            tube for tube in study.chest.tubes if tube.start[0] < -40 and tube.start[1] > 5 and tube.hu > 0
        ]
        hu = study.findings.contrast_hu
        right = next(tube for tube in heart if tube.hu == hu and tube.radii_mm[0] == tube.radii_mm[1])
        left = next(tube for tube in heart if tube.hu == pytest.approx(0.7 * hu))
        ratio = right.radii_mm[0] / left.radii_mm[0]
        assert ratio == pytest.approx(study.findings.ratio)
        labels = study.findings.labels
        assert labels["rv_lv_ratio_gte_1"] == (study.findings.kind == "positive" and ratio >= 1)


@pytest.mark.slow
def test_brightness_does_not_tell_embolism():
    """Patients differ in contrast far more than a clot takes away."""
    studies = [build_angiography(index, seed=0, size=SMALL) for index in range(120)]
    positive = [study.findings.kind == "positive" for study in studies]
    windowed = [np.clip((drawn(study, n) + 250) / 700, 0, 1) for n, study in enumerate(studies)]
    for value in (np.mean, np.max, np.std):
        assert 0.35 < roc_auc_score(positive, [value(one) for one in windowed]) < 0.65


def test_motion_doubles_every_edge(studies):
    index = next(n for n, study in enumerate(studies) if study.findings.motion)
    study = studies[index]
    still = replace(study, findings=replace(study.findings, motion=False))
    moved, calm = drawn(study, index), drawn(still, index)
    shift = round(14 / 4)
    assert np.abs(moved - (calm + np.roll(calm, shift, axis=1)) / 2).max() <= 1
    assert np.abs(moved - calm).mean() > 20


def test_larger_volumes_show_the_same_patient_with_finer_arteries():
    small, large = (build_angiography(3, seed=0, size=size) for size in (SMALL, (48, 128, 128)))
    assert small.findings == large.findings
    assert small.grid.spacing_mm == (8.75, 4.0, 4.0) and large.grid.spacing_mm == (4.375, 2.0, 2.0)
    trunks = [
        next(tube for tube in study.chest.tubes if tube.end == (18.0, 10.0, -8.0)) for study in (small, large)
    ]
    assert [trunk.radii_mm for trunk in trunks] == [(13.0, 12.8), (13.0, 12.0)]  # 3.2 pixels at least
    least = [
        min(max(clot.radii_mm) for clot in study.clots or study.chest.tubes[-1:]) for study in (small, large)
    ]
    assert least[0] > least[1]


def test_clots_between_slices_are_refused(monkeypatch):
    monkeypatch.setattr("medimg.phantoms.pe_chest._is_seen", lambda clot, grid: False)
    index = next(n for n in range(8) if draw_findings(n, seed=0).kind == "positive")
    with pytest.raises(ConfigError, match="clots fall between the slices of"):
        build_angiography(index, seed=0, size=SMALL)
