"""The score of the HuBMAP kidney challenges: mean Dice of whole pictures."""

from pathlib import Path

import numpy as np

from medimg.io.rle import read_runs
from medimg.scoring.label_answers import patients_of
from medimg.scoring.mask_answers import read_masks, read_predicted
from medimg.scoring.official import LEVEL, OfficialScore, figure
from medimg.scoring.ratio_bootstrap import ratio_interval
from medimg.scoring.run_lengths import runs_dice
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN, Row


def score_hubmap(pred: Path, ref: Path, *, resamples: int = 1000) -> OfficialScore:
    """Score run-length encoded masks of whole pictures by their mean Dice; two empty masks score 1.

    Args:
        pred: ``id,predicted``.
        ref: ``id`` and ``encoding`` or ``rle``, such as ``train.csv``; with ``height`` and ``width`` (also
            ``img_height`` or ``height_pixels``) runs that leave the picture are refused.
        resamples: Draws of the bootstrap over patients (``patient_id`` or ``patient_number`` of the reference).

    Raises:
        DataError: If a row is missing, doubled or unknown, or a mask cannot be read.
    """
    truth = read_masks(ref, ("id",))
    texts = read_predicted(pred, truth, ("id",), {})
    rows: list[Row] = [
        {
            CASE_COLUMN: name,
            PATIENT_COLUMN: one.patient,
            "dice": runs_dice(read_runs(texts[name]), read_runs(one.text)),
        }
        for name, one in truth.items()
    ]
    dice = np.array([float(row["dice"]) for row in rows])
    groups = patients_of(rows)
    interval = ratio_interval([(dice, np.ones(len(dice)))], groups=groups, level=LEVEL, resamples=resamples)
    return OfficialScore(
        title="HuBMAP: mean Dice",
        figures=(figure("mean Dice", interval, "images"),),
        unit="images",
        rows=rows,
        n_patients=len(set(groups)),
        n_answers=len(rows),
    )
