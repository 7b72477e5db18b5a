from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import KFold

from medimg.datasets import index_dataset
from medimg.errors import DataError
from medimg.preparation.volume_splits import lesion_volume, lesion_volumes, split_volumes, volume_bins
from medimg.records import DatasetIndex, Record


def make_index(patients=60, scans=3, test=0, seed=0):
    """One to ``scans`` cases a patient, lesions from 10 mm3 to 1 l, every sixth patient without any."""
    rng = np.random.default_rng(seed)
    records, volumes = [], {}
    for patient in range(patients + test):
        size = 0.0 if patient % 6 == 0 else 10 ** rng.uniform(1, 6)
        for _ in range(rng.integers(1, scans + 1)):
            case = f"c{len(records):04d}"
            records.append(Record(case, f"p{patient:03d}", ()))
            volumes[case] = size * rng.uniform(0.9, 1.1)
    held = {f"p{patient:03d}" for patient in range(patients, patients + test)}
    own = tuple(record for record in records if record.patient_id not in held)
    published = tuple(record for record in records if record.patient_id in held)
    return DatasetIndex("fake", Path("fake"), ("MRI",), {"a": 1}, own, published), volumes


def sides_of(index, split):
    patient_of = {r.case_id: r.patient_id for r in (*index.records, *index.test)}
    return [{patient_of[case] for case in side} for side in (split.train, split.val, split.test)]


@pytest.mark.parametrize("holdout", [0.0, 0.2])
def test_no_patient_stands_in_two_folds(holdout):
    index, volumes = make_index()
    splits = split_volumes(index, volumes, 5, holdout=holdout)
    for split in splits:
        train, val, test = sides_of(index, split)
        assert not (train & val or train & test or val & test)
        assert sorted((*split.train, *split.val, *split.test)) == sorted(volumes)
        assert len(test) == round(60 * holdout)
    dealt = sorted(case for split in splits for case in split.val)
    assert dealt == sorted(volumes.keys() - set(splits[0].test))


@pytest.mark.parametrize("holdout", [0.0, 0.15])
def test_each_fold_has_its_share_of_small_lesions_of_large_ones_and_of_empty_masks(holdout):
    index, volumes = make_index(patients=83, scans=1)
    splits = split_volumes(index, volumes, 5, holdout=holdout)
    dealt = [case for split in splits for case in split.val]
    bins = dict(zip(dealt, volume_bins(np.array([volumes[case] for case in dealt]), 1 / 5), strict=True))
    counts = np.array([np.bincount([bins[case] for case in split.val], minlength=11) for split in splits])
    assert np.ptp(counts, axis=0).max() <= 1  # a patient's worth
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_folds_are_more_alike_than_those_of_scikit_learn_without_volumes():
    index, volumes = make_index(patients=83, scans=1)
    ids = sorted(case for case in volumes if volumes[case])

    def spread(folds):
        return np.ptp(
            [np.mean(np.log10([volumes[case] for case in fold if volumes[case]])) for fold in folds]
        )

    at_random = [
        spread(
            [[ids[place] for place in val] for _, val in KFold(5, shuffle=True, random_state=seed).split(ids)]
        )
        for seed in range(20)
    ]
    own = [spread([split.val for split in split_volumes(index, volumes, 5, seed=seed)]) for seed in range(20)]
    assert max(own) < np.median(at_random)
    assert np.mean(own) < np.mean(at_random) / 1.5


def test_patients_of_several_scans_are_spread_by_their_cases():
    index, volumes = make_index(patients=80)
    splits = split_volumes(index, volumes, 4)
    sizes = [len(split.val) for split in splits]
    empty = [sum(volumes[case] == 0 for case in split.val) for split in splits]
    assert max(empty) - min(empty) <= 3  # no patient has more scans
    assert max(sizes) - min(sizes) <= 8


def test_empty_masks_of_patients_with_lesions_are_spread():
    records = tuple(Record(f"p{n:02d}_{scan}", f"p{n:02d}", ()) for n in range(20) for scan in (0, 1))
    index = DatasetIndex("fake", Path("fake"), ("MRI",), {"a": 1}, records)
    volumes = {r.case_id: 0.0 if r.case_id < "p05" and r.case_id.endswith("_1") else 100.0 for r in records}
    empty = [sum(volumes[c] == 0 for c in split.val) for split in split_volumes(index, volumes, 5)]
    assert empty == [1] * 5


def test_one_seed_gives_one_split():
    index, volumes = make_index()
    one = split_volumes(index, volumes, 5, holdout=0.1, seed=1)
    assert one == split_volumes(index, volumes, 5, holdout=0.1, seed=1)
    assert one != split_volumes(index, volumes, 5, holdout=0.1, seed=2)


def test_cases_of_the_published_test_and_of_its_patients_are_test_cases():
    index, volumes = make_index(test=4)
    again = Record("again", index.test[0].patient_id, ())
    index = DatasetIndex("fake", Path(), ("MRI",), {"a": 1}, (*index.records, again), index.test)
    splits = split_volumes(index, {**volumes, "again": 5.0}, 5)
    assert splits[0].test == tuple(sorted(["again", *(record.case_id for record in index.test)]))
    assert sum(len(split.val) for split in splits) == len(index.records) - 1


def test_faults():
    index, volumes = make_index(patients=4)
    with pytest.raises(DataError, match="5 folds: expected at least 2, and no more than the 4 groups"):
        split_volumes(index, volumes, 5)
    with pytest.raises(DataError, match=r"holdout 0\.05: expected a share .* found 0\.2 of 4 patients"):
        split_volumes(index, volumes, 2, holdout=0.05)
    with pytest.raises(DataError, match="no case has a mask"):
        lesion_volumes(DatasetIndex("fake", Path(), ("MRI",), {"a": 1}, ()))
    with pytest.raises(DataError, match="c: expected a mask to measure, found none"):
        lesion_volume(Record("c", "p", ()))


def test_bins_are_of_one_size_and_never_smaller_than_the_parts():
    volumes = np.array([0.0, 0.0, *range(1, 42)])
    bins = volume_bins(volumes, 1 / 5)
    assert np.bincount(bins).tolist() == [2, 6, 5, 5, 5, 5, 5, 5, 5]
    assert (np.diff(bins) >= 0).all()
    assert volume_bins(np.zeros(3), 0.5).tolist() == [0, 0, 0]
    assert volume_bins(np.arange(1.0, 1001), 0.2).max() == 10


def test_volumes_are_measured_in_mm3(tmp_path, write_nnunet, write_volume):
    labels = {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}
    root = write_nnunet(tmp_path / "Dataset001_Fake", 3, labels=labels, shape=(6, 8, 10))
    masks = np.zeros((3, 6, 8, 10), np.uint8)
    masks[0, 0, 0, :5] = 1, 1, 2, 3, 3
    masks[1, :, :, 0] = 2
    for number, mask in enumerate(masks):
        write_volume(root / f"labelsTr/case_{number:03d}.nii.gz", mask)
    volumes = lesion_volumes(index_dataset(root))
    # A voxel of 0.8 x 1.0 x 2.5 mm, on axes that are turned; ignored voxels do not count.
    assert volumes == pytest.approx({"case_000": 6.0, "case_001": 96.0, "case_002": 0.0})
    assert lesion_volumes(index_dataset(root), workers=2) == volumes
    (root / "labelsTr/case_001.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 3 cases failed:\n  case_001"):
        lesion_volumes(index_dataset(root))
