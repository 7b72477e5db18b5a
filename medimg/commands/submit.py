"""``medimg submit``: a competition's file out of predictions, checked before it is written."""

# Annotations name what is imported for types only in quotes, and are not postponed as a whole: the parser would
# import all of it to understand them, and the help would wait.
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medimg.commands.parser import FileVerbParser
from medimg.submission.names import FormatName

if TYPE_CHECKING:
    from medimg.submission.request import Outcome, Request


class SubmitParser(FileVerbParser):
    """Parser of ``submit``: the predictions are words, and none are needed to check a file."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Let the predictions be any number of words."""
        if args == ("predictions",):
            kwargs = {"type": Path, "nargs": "*", "metavar": "PRED", "help": kwargs.get("help")}
        return super().add_argument(*args, **kwargs)


PARSER = SubmitParser
"""``medimg.cli`` reads the words with this parser."""


def submit(
    predictions: list[Path],
    *,
    format: FormatName,
    out: Path | None = None,
    sample: Path | None = None,
    images: Path | None = None,
    cases: Path | None = None,
    id_map: Path | None = None,
    join: Literal["mean", "max"] | None = None,
    labels: str | None = None,
    calibration: Path | None = None,
    thresholds: str | None = None,
    enforce_consistency: bool = False,
    constant: float | None = None,
    validate: Path | None = None,
    part: Literal["predict", "test"] = "predict",
    overwrite: bool = False,
) -> int:
    """Write a competition's file out of predictions, or check one.

    Ids, order, ranges, NaN, shapes and labels are checked first; all faults are listed, and then nothing is written.

    Args:
        predictions: Tables (per_case.csv, or with the sample's own columns), a folder of masks, or run folders.
            Several tables together give all rows.
        format: The competition; table for any other with one row a case and probabilities.
        out: File to write: .csv, or .zip for BraTS and the Decathlon.
        sample: sample_submission.csv; for archives a folder, an archive or a table of the cases asked for.
        images: Images of the cases, for the shape and the place of masks.
        cases: test.csv of RSNA mammography or RSNA PE, which images make a breast or an exam.
        id_map: Table of the columns case_id,submission_id, where cases are not called as the organisers do.
        join: How several cases of one submission id become one row.
        labels: For masks what their values mean, such as NCR=1,ED=2,ET=4 or brats2021; by default what
            predictions.json says. For tables COLUMN=LABEL, where a label is not called as the column.
        calibration: File of `medimg calibrate`, applied to the probabilities of each case.
        thresholds: Submit 1 above them and 0 up to them. One number, or LABEL=NUMBER,LABEL=NUMBER, or the word
            calibration for those of its file.
        enforce_consistency: Change exams of RSNA PE that contradict themselves, as little as possible; needs --cases.
        constant: Submit this probability, or with 0 empty masks, for all that is asked for.
        validate: Check this file instead of writing one.
        part: Predictions of a run folder to take.
        overwrite: Replace the output file.

    Returns:
        0, or 1 if the file to check has faults.
    """
    from medimg.submission.request import Request, check_request

    request = Request(
        predictions=tuple(predictions or ()),
        format=format,
        out=out,
        sample=sample,
        images=images,
        cases=cases,
        id_map=id_map,
        join=join,
        labels=labels,
        calibration=calibration,
        thresholds=thresholds,
        enforce_consistency=enforce_consistency,
        constant=constant,
        validate=validate,
        part=part,
        overwrite=overwrite,
    )
    check_request(request)
    outcome = _run(request)
    for note in outcome.notes:
        print(f"note: {note}")
    if outcome.faults:
        print(outcome.faults.text(str(request.file)))
        print("next: mend these where the file was made, and check it again")
        return 1
    print(f"{request.format}: {outcome.summary}, no fault found: {request.file}")
    print(f"next: {'upload it' if request.validate else _check_line(request)}")
    return 0


def _run(request: "Request") -> "Outcome":
    from medimg.submission.formats import CodeFormat, TableFormat
    from medimg.submission.make_codes import submit_codes
    from medimg.submission.make_table import submit_table
    from medimg.submission.make_volumes import submit_volumes

    layout = request.layout
    if isinstance(layout, TableFormat):
        return submit_table(request, layout)
    return (
        submit_codes(request, layout) if isinstance(layout, CodeFormat) else submit_volumes(request, layout)
    )


def _check_line(request: "Request") -> str:
    """How to check the file once more, as it would be checked from elsewhere."""
    options = {"sample": request.sample, "images": request.images, "cases": request.cases}
    given = [f"--{name} {shlex.quote(str(path))}" for name, path in options.items() if path is not None]
    words = ["medimg submit --format", request.format, "--validate", shlex.quote(str(request.file)), *given]
    return " ".join(words)
