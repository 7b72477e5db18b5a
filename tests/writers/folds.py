"""Run folders of folds, as `medimg crossval` leaves them."""

import json
from pathlib import Path

import numpy as np
import yaml

from medimg.io.nifti import write_image
from medimg.scoring.label_table import label_row, write_label_table
from medimg.scoring.table import write_per_case
from medimg.scoring.targets import Target, target_row

SPLIT = "0123456789ab"
TARGETS = (Target("big", "binary"), Target("place", "regression", columns=("z", "y"), unit="mm"))


def cases_of(fold):
    """Names of the three cases of a fold."""
    return [f"c{fold}{letter}" for letter in "abc"]


def write_fold(
    experiment: Path,
    fold: int,
    *,
    kind: str = "binary",
    split: str = SPLIT,
    folds: int = 3,
    epochs: int = 2,
    cases=None,
    patients=None,
    test=(),
    leaky=(),
    upto: str = "test",
    probs: bool = False,
) -> Path:
    """A run of one fold, up to ``fit`` (begun), ``fitted`` or ``test``; returns its folder."""
    cases = list(cases_of(fold) if cases is None else cases)
    run = experiment / f"fold_{fold}" / "version_0"
    (run / "checkpoints").mkdir(parents=True)
    settings = {
        "experiment": f"fold_{fold}",
        "trainer": {"max_epochs": epochs},
        "data": {"init_args": {"fold": fold}},
    }
    if kind == "targets":
        settings["model"] = {"init_args": {"targets": [dict(vars(one)) for one in TARGETS]}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    facts = {"split": split, "fold": fold, "folds": folds, "leaky": list(leaky), "validation": cases}
    (run / "split.json").write_text(json.dumps({**facts, "test": list(test)}))
    (run / "checkpoints" / "last.ckpt").touch()
    if upto == "fit":
        return run
    (run / "fitted.json").write_text("{}")
    if upto == "fitted":
        return run
    for verb, own in (("test", test), ("validate", cases)) if test else (("test", cases),):
        part = "validation" if own is cases else "test"
        write_predictions(
            run / verb, own, fold, kind, {"split": split, "fold": fold, "part": part}, patients, probs
        )
    return run


def write_predictions(folder, cases, fold, kind, facts, patients=None, probs=False):
    """Table, masks and description of one verb."""
    rng = np.random.default_rng([fold, len(cases)])
    facts = {**facts, "checkpoint": f"fold_{fold}/best.ckpt"}
    patient_of = dict(zip(cases, patients or cases, strict=True))
    if kind == "targets":
        answers = rng.random((len(cases), 3))
        rows = [
            target_row(case, patient_of[case], TARGETS, answers[n], [n % 2, n, 2 * n])
            for n, case in enumerate(cases)
        ]
        write_per_case(folder / "per_case.csv", rows)
        facts |= {"classes": ["big", "z", "y"], "task": "targets"}
        (folder / "predictions.json").write_text(json.dumps(facts))
        return
    if kind in ("binary", "studies"):
        if kind == "studies":
            slices = [
                {"case_id": f"{case}-{n}", "study": case, "prob_x": rng.random()}
                for case in cases
                for n in range(2)
            ]
            write_per_case(folder / "per_image.csv", slices)
        rows = [
            label_row(case, patient_of[case], ["x"], [rng.random()], [n % 2]) for n, case in enumerate(cases)
        ]
        write_label_table(folder / "per_case.csv", rows)
        (folder / "predictions.json").write_text(json.dumps({**facts, "classes": ["x"], "task": "binary"}))
        return
    rows = [{"case_id": case, "patient_id": patient_of[case], "dice_a": rng.random()} for case in cases]
    write_per_case(folder / "per_case.csv", rows)
    for case in cases:
        mask = rng.integers(0, 2, (2, 3, 4)).astype(np.uint8)
        write_image(folder / "masks" / f"{case}.nii.gz", mask, np.eye(4))
        if probs:
            values = np.stack([1.0 - mask, mask]).astype(np.float16)
            np.savez_compressed(folder / "masks" / f"{case}.npz", probs=values)
    grids = {case: {"shape": [2, 3, 4], "spacing_mm": [1.0, 1.0, 1.0]} for case in cases}
    facts |= {"classes": ["a"], "head": "softmax", "labels": {"a": 1}, "cases": grids}
    (folder / "masks" / "predictions.json").write_text(json.dumps(facts))
