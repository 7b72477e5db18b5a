"""``medimg calibrate``: probabilities that can be taken at their word, and thresholds."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

if TYPE_CHECKING:
    # The parser imports these too, so that heavy ones would slow --help down.
    from medimg.scoring.thresholds import RuleName, ThresholdRule

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: the predictions are a list."""


def calibrate(
    predictions: list[Path],
    *,
    method: Literal["temperature", "platt", "isotonic"],
    out: Path,
    threshold: Literal["f1", "fbeta", "pf1", "youden", "sensitivity"] | None = None,
    beta: float | None = None,
    target: float | None = None,
    plot: Path | None = None,
    unseen: bool = False,
    overwrite: bool = False,
) -> int:
    """Make probabilities honest, and choose thresholds, on cases that the models never saw.

    The file that is written goes to --calibration of test, predict, ensemble and submit. Figures are printed as they
    are before and after, and for unseen patients: fitted five times on four fifths of the patients and judged on the
    others.

    Args:
        predictions: Tables `per_case.csv` of a classification with targets, folders that hold one, or runs; of
            several, each holds cases of its own.
        method: temperature divides the logits by one number, platt also shifts them, isotonic fits steps and needs
            many cases.
        out: File to write, such as calibration.json.
        threshold: Choose a threshold for each label: highest f1, fbeta, pf1 (of calls of 0 and 1) or youden, or the
            highest that keeps a sensitivity.
        beta: How much more recall counts than precision, for fbeta.
        target: Sensitivity to keep; 0.95 by default.
        plot: Also draw the reliability curves, as PNG.
        unseen: Your word that no model was trained on these cases and that they are not the test set, for tables
            whose predictions.json does not say so.
        overwrite: Replace the files.
    """
    from medimg.ensembling.calibration_file import Calibration, write_calibration
    from medimg.ensembling.calibration_judge import judge
    from medimg.ensembling.calibration_report import picture, report
    from medimg.ensembling.unseen import read_unseen
    from medimg.io.raster import write_png

    rule = _rule(threshold, beta, target)
    for path in filter(None, (out, plot)):
        _check_out(path, predictions, overwrite=overwrite)
    found = read_unseen(predictions, vouched=unseen)
    if rule is not None and found.task == "multiclass":
        raise ConfigError("--threshold: of exclusive classes the most probable one is called. Leave it away.")
    judged = judge(found, method, rule)
    table = found.table
    patients = len(set(table.patient_ids))
    calibration = Calibration(
        method, found.task, table.labels, judged.maps, judged.thresholds, str(rule or ""),
        cases=len(table.case_ids), patients=patients, split=found.split,
    )  # fmt: skip
    print(f"{method}, fitted on {len(table.case_ids)} cases of {patients} patients\n")
    text, warnings = report(found, judged, rule)
    print(text)
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if plot is not None:
        write_png(plot, picture(found, judged))
        print(f"\nreliability curves: {plot}")
    write_calibration(out, calibration)
    print(f"\ncalibration: {out}")
    print(_next_line(found.run, out))
    return 0


def _rule(threshold: RuleName | None, beta: float | None, target: float | None) -> ThresholdRule | None:
    from medimg.scoring.thresholds import ThresholdRule

    if (threshold == "fbeta") != (beta is not None):
        raise ConfigError("--beta goes with --threshold fbeta, and fbeta needs it; 2 weighs recall higher.")
    if target is not None and threshold != "sensitivity":
        raise ConfigError("--target goes with --threshold sensitivity. Add it, or leave --target away.")
    if threshold is None:
        return None
    return ThresholdRule(threshold, 1.0 if beta is None else beta, 0.95 if target is None else target)


def _check_out(path: Path, predictions: list[Path], *, overwrite: bool) -> None:
    if path.is_dir() or path.resolve() in [one.resolve() for one in predictions]:
        raise ConfigError(
            f"{path}: expected the name of a new file, found a folder or the predictions themselves."
        )
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: is there already. Give another name, or --overwrite.")


def _next_line(run: Path | None, out: Path) -> str:
    file = shlex.quote(str(out))
    if run is not None:
        return f"next: medimg predict --config {shlex.quote(str(run / 'config.yaml'))} --calibration {file}"
    return f"next: medimg ensemble RUN RUN --part predict --out DIR --calibration {file}"
