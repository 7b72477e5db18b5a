"""Folds of volumes: a patient on one side, small and large lesions spread evenly."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.nifti import Form, read_grid, read_mask
from medimg.parallel import map_cases, raise_failures
from medimg.preparation.dealing import deal, expect_folds, hold_out, in_company_of, patient_groups
from medimg.preparation.splits import SPLIT_SEED, Split
from medimg.records import DatasetIndex, Record

# Finer bins would say little more of a volume, and tie every fold down.
_MOST_BINS = 10


def lesion_volume(record: Record, *, form: Form = "agree", ignore: int | None = None) -> float:
    """Volume of all foreground of a case, in mm3, read from its mask.

    Args:
        record: The case, with a mask.
        form: Which affine to trust in files whose sform and qform differ.
        ignore: Value of voxels that do not count.

    Raises:
        DataError: If there is no mask, or it cannot be used.
    """
    if record.mask is None:
        raise DataError(f"{record.case_id}: expected a mask to measure, found none. Leave the case out.")
    mask = read_mask(record.mask, form=form)
    voxel_mm3 = abs(float(np.linalg.det(read_grid(record.mask, form=form).affine[:3, :3])))
    foreground = mask > 0 if ignore is None else (mask > 0) & (mask != ignore)
    return int(np.count_nonzero(foreground)) * voxel_mm3


def lesion_volumes(
    index: DatasetIndex, *, form: Form = "agree", workers: int = 1, scheduler: str | None = None
) -> dict[str, float]:
    """Measure every labelled case, those of the published test among them.

    Args:
        index: The data set.
        form: Which affine to trust in files whose sform and qform differ.
        workers: Local processes.
        scheduler: Address of a Dask scheduler that replaces them.

    Returns:
        Volume of all foreground of each case, in mm3.

    Raises:
        DataError: If no case has a mask, or naming every case that cannot be used.
    """
    if not index.records:
        raise DataError(f"{index.root}: no case has a mask, and a split deals labelled cases. Add the masks.")
    records = (*index.records, *index.test)
    measure = partial(lesion_volume, form=form, ignore=index.ignore_label)
    found = raise_failures(
        map_cases(measure, records, workers=workers, scheduler=scheduler, label="lesion volumes")
    )
    return {record.case_id: volume for record, volume in zip(records, found, strict=True)}


def split_volumes(
    index: DatasetIndex,
    volumes_mm3: Mapping[str, float],
    num_folds: int,
    *,
    holdout: float = 0.0,
    seed: int = SPLIT_SEED,
) -> list[Split]:
    """Deal the patients into folds that have the same share of small and of large lesions, and of empty masks.

    Cases of the published test, and other cases of their patients, are test cases.

    Args:
        index: The data set; folds that it publishes are passed over.
        volumes_mm3: What `lesion_volumes` found.
        num_folds: Number of folds F, at least 2.
        holdout: Share of the patients to keep for a test.
        seed: Breaks ties; one seed gives one split.

    Returns:
        F splits; every case stands in the validation side of exactly one, or is a test case of all.

    Raises:
        DataError: If there are fewer patients than folds, or ``holdout`` comes to none or all of them.
    """
    published = {record.case_id for record in index.test}
    test = in_company_of(published, (*index.records, *index.test))
    groups = patient_groups([record for record in index.records if record.case_id not in test])
    if holdout:
        aside = hold_out(_counts(groups, volumes_mm3, holdout), holdout, seed=seed)
        test |= {case for group, held in zip(groups, aside, strict=True) if held for case in group}
        groups = [group for group, held in zip(groups, aside, strict=True) if not held]
    expect_folds(num_folds, groups, index.name)
    sizes = np.array([len(group) for group in groups])
    fold_of_group = deal(_counts(groups, volumes_mm3, 1 / num_folds), sizes, num_folds, seed=seed)
    fold_of = {case: fold for group, fold in zip(groups, fold_of_group, strict=True) for case in group}
    ids = sorted(fold_of)
    return [
        Split(
            tuple(case for case in ids if fold_of[case] != fold),
            tuple(case for case in ids if fold_of[case] == fold),
            test=tuple(sorted(test)),
        )
        for fold in range(num_folds)
    ]


def volume_bins(volumes_mm3: NDArray[np.float64], share: float) -> NDArray[np.int_]:
    """Number the quantiles of volumes; empty masks are a bin of their own.

    Quantiles depend on the order alone, so those of the volumes are those of their logarithms.

    Args:
        volumes_mm3: A volume a patient, shape (G,).
        share: Share of the patients of the smallest part that is dealt; each quantile is at least one patient of it.

    Returns:
        Bin of each patient, shape (G,): 0 for an empty mask, from 1 on for the quantiles.

    Example:
        >>> volume_bins(np.array([8.0, 0.0, 1.0, 4.0, 2.0]), 0.5).tolist()
        [2, 0, 1, 2, 1]
    """
    order = np.argsort(volumes_mm3, kind="stable")
    order = order[volumes_mm3[order] > 0]
    # A little is added for shares such as 1/3, whose product is a hair below a whole number.
    count = max(1, min(_MOST_BINS, int(len(order) * share + 1e-9)))
    bins = np.zeros(len(volumes_mm3), int)
    for number, part in enumerate(np.array_split(order, count), start=1):
        bins[part] = number
    return bins


def _counts(
    groups: Sequence[Sequence[str]], volumes_mm3: Mapping[str, float], share: float
) -> NDArray[np.float64]:
    """Cases of each patient in the bin of its mean volume, and its empty masks, shape (G, bins)."""
    volumes = [np.array([volumes_mm3[case] for case in group]) for group in groups]
    bins = volume_bins(np.array([values.mean() for values in volumes]), share)
    counts = np.zeros((len(groups), bins.max(initial=0) + 1))
    counts[np.arange(len(groups)), bins] = [len(group) for group in groups]
    # Patients with lesions in some of their scans only: their empty masks are spread too.
    counts[:, 0] = [np.count_nonzero(values == 0) for values in volumes]
    return counts
