"""Tables of probabilities: what ``medimg submit`` does for them."""

import numpy as np

from medimg.ensembling.calibration_file import Calibration, read_calibration
from medimg.errors import ConfigError
from medimg.submission.answers import ALL, Recipe, read_answers
from medimg.submission.faults import Faults
from medimg.submission.formats import TableFormat
from medimg.submission.ids import IdMap, read_breasts, read_id_map
from medimg.submission.pulmonary_embolism import read_exams
from medimg.submission.request import Outcome, Request, noting
from medimg.submission.sheet import (
    Asked,
    Sheet,
    check_exams,
    check_sheet,
    enforce_exams,
    exam_ids,
    ordered_as,
    read_asked,
    read_sheet,
    write_sheet,
)

_HIDDEN = "the sample holds no ids: which rows are asked for was not checked"
_UNSEEN = "no --sample: which rows are asked for was not checked"
_UNLINKED = "no --cases test.csv: whether exams contradict themselves was not checked"


def submit_table(request: Request, layout: TableFormat) -> Outcome:
    """Write or check a table.

    Args:
        request: What the user asked for.
        layout: What the competition asks for.

    Raises:
        ConfigError: If options do not fit.
        DataError: If a file cannot be read, or for all faults of the predictions together.
    """
    faults = Faults()
    asked = None if request.sample is None else read_asked(request.sample, layout)
    exams = read_exams(request.cases) if request.cases and layout.image_label else {}
    ordered = asked is not None and bool(asked.ids)
    if exams:
        asked = _asked_by_exams(asked, layout, exams, faults)
    notes = [_UNSEEN] if asked is None else [] if asked.ids else [_HIDDEN]
    notes += [_UNLINKED] if layout.image_label and not exams else []
    if request.validate is not None:
        with noting(request.validate, faults):
            sheet = read_sheet(request.validate, layout, faults)
            check_sheet(sheet, layout, asked, faults, ordered=ordered)
            check_exams(sheet, exams, faults)
        return Outcome("table", faults, tuple(notes))
    if asked is None:
        raise ConfigError("--sample: which rows and columns are asked for? Give sample_submission.csv.")
    sheet = _sheet(request, layout, asked, faults)
    check_sheet(sheet, layout, asked, faults, ordered=False)
    if request.enforce_consistency:
        sheet, changed = enforce_exams(sheet, exams)
        notes.append(f"exams that were changed to be consistent: {changed}")
    check_exams(sheet, exams, faults)
    faults.raise_if_any(f"{request.format}{_advice(request, exams)}")
    write_sheet(request.file, ordered_as(sheet, asked))
    return Outcome(f"{len(sheet.ids)} rows", faults, tuple(notes))


def _asked_by_exams(
    asked: Asked | None, layout: TableFormat, exams: dict[str, list[str]], faults: Faults
) -> Asked:
    """What the sample asks for; where it names no ids, the rows of all exams of --cases."""
    ids = exam_ids(exams)
    if asked is None or not asked.ids:
        return Asked((layout.ids, *layout.columns), ids)
    for name in sorted(set(asked.ids) ^ set(ids)):
        faults.add("rows that only one of --sample and --cases names", name)
    return asked


def _advice(request: Request, exams: dict[str, list[str]]) -> str:
    mend = exams and not request.enforce_consistency
    return " (--enforce_consistency mends exams that contradict themselves)" if mend else ""


def _sheet(request: Request, layout: TableFormat, asked: Asked, faults: Faults) -> Sheet:
    if request.constant is not None:
        if not asked.ids:
            raise ConfigError(
                f"--constant: {request.sample or request.cases} holds no ids to give an answer for."
            )
        return Sheet(
            asked.header, asked.ids, np.full((len(asked.ids), len(asked.header) - 1), request.constant)
        )
    calibration = None if request.calibration is None else read_calibration(request.calibration)
    recipe = Recipe(
        names=_names(request),
        join=request.join,
        labels=_columns(request.labels),
        calibration=calibration,
        thresholds=_thresholds(request.thresholds, calibration),
    )
    return read_answers(request.predictions, layout, asked, recipe, faults, part=request.part)


def _names(request: Request) -> IdMap | None:
    if request.id_map is not None:
        return read_id_map(request.id_map)
    return read_breasts(request.cases) if request.cases and request.format == "rsna-mammography" else None


def _columns(text: str | None) -> dict[str, str]:
    """Read ``--labels COLUMN=LABEL,...``."""
    pairs = [part.partition("=") for part in (text or "").split(",") if part]
    if bad := [column for column, _, label in pairs if not column.strip() or not label.strip()]:
        raise ConfigError(f"--labels: expected COLUMN=LABEL,COLUMN=LABEL for a table, found {bad[0]!r}.")
    return {column.strip(): label.strip() for column, _, label in pairs}


def _thresholds(text: str | None, calibration: Calibration | None) -> dict[str, float]:
    """Read ``--thresholds``: one number, ``LABEL=NUMBER,...``, or ``calibration``."""
    if text is None:
        return {}
    if text == "calibration":
        if calibration is None or not calibration.thresholds:
            raise ConfigError(
                "--thresholds calibration: there are none; give a --calibration that holds thresholds."
            )
        return dict(calibration.thresholds)
    found: dict[str, float] = {}
    for part in text.split(","):
        name, separator, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if not 0 <= value <= 1 or (name.strip() or ALL) in found or (separator and not name.strip()):
            raise ConfigError(
                f"--thresholds: cannot read {part!r}. Expected one number in [0, 1], LABEL=NUMBER,LABEL=NUMBER or "
                "calibration."
            )
        found[name.strip() or ALL] = value
    return found
