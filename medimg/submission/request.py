"""What the user asked ``medimg submit`` for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.ensembling.members import OUT_OF_FOLD, TABLE, Part
from medimg.errors import ConfigError, DataError
from medimg.submission.faults import Faults
from medimg.submission.formats import FORMATS, CodeFormat, TableFormat, ZipFormat
from medimg.submission.names import FormatName

_MASKS_ONLY = ("images",)
_TABLES_ONLY = ("cases", "join", "calibration", "thresholds", "enforce_consistency")
_WRITING_ONLY = ("id_map", "join", "calibration", "thresholds", "enforce_consistency", "constant", "out")
_PREDICTIONS_ONLY = ("id_map", "join", "calibration", "thresholds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of the verb; see ``medimg submit --help``."""

    predictions: tuple[Path, ...]
    format: FormatName
    out: Path | None
    sample: Path | None
    images: Path | None
    cases: Path | None
    id_map: Path | None
    join: Literal["mean", "max"] | None
    labels: str | None
    calibration: Path | None
    thresholds: str | None
    enforce_consistency: bool
    constant: float | None
    validate: Path | None
    part: Part
    overwrite: bool

    @property
    def layout(self) -> TableFormat | CodeFormat | ZipFormat:
        """What the competition asks for."""
        return FORMATS[self.format]

    @property
    def file(self) -> Path:
        """The file to write or to check."""
        file = self.validate or self.out
        if file is None:
            raise ConfigError("--out: name the file to write, or the one to check with --validate.")
        return file


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it.

    Attributes:
        summary: What was written or checked, in a few words.
        faults: Faults of a file that was checked.
        notes: What was not checked, and what was changed.
    """

    summary: str
    faults: Faults
    notes: tuple[str, ...] = ()


@contextmanager
def noting(path: Path, faults: Faults) -> Iterator[None]:
    """Note a file that cannot be read, such as one of other columns, as a fault of it.

    Args:
        path: The file to check.
        faults: Takes the fault.

    Raises:
        DataError: If there is no such file.
    """
    try:
        yield
    except DataError as error:
        if not path.is_file():
            raise
        faults.add("not to be read", str(error))


def check_request(request: Request) -> None:
    """Refuse options that do not fit together, before anything is read.

    Raises:
        ConfigError: Names the option.
    """
    table = isinstance(request.layout, TableFormat)
    for name in _MASKS_ONLY if table else _TABLES_ONLY:
        if getattr(request, name):
            raise ConfigError(
                f"--{name} is for {'masks' if table else 'tables'}: leave it away for {request.format}."
            )
    if request.enforce_consistency and (request.format != "rsna-pe" or request.cases is None):
        raise ConfigError(
            "--enforce_consistency is for rsna-pe, and needs its test.csv as --cases: which images make an exam."
        )
    if request.enforce_consistency and request.thresholds:
        raise ConfigError(
            "--thresholds makes 1 and 0, --enforce_consistency moves probabilities. Give one of them."
        )
    if request.cases is not None and request.format not in ("rsna-pe", "rsna-mammography"):
        raise ConfigError(f"--cases is for rsna-pe and rsna-mammography: leave it away for {request.format}.")
    if request.format == "rsna-mammography" and request.cases and request.id_map:
        raise ConfigError("--cases and --id_map both say what images are called. Give one of them.")
    plain = isinstance(request.layout, CodeFormat) and not request.layout.classes
    if request.labels and (plain or (table and not request.predictions)):
        raise ConfigError("--labels has no meaning here: leave it away.")
    _check_source(request)
    if request.validate is None:
        _check_out(request)


def _check_source(request: Request) -> None:
    given = [bool(request.predictions), request.constant is not None, request.validate is not None]
    if sum(given) != 1:
        raise ConfigError(
            "give one of three: predictions to submit, --constant P for a file without any model, or --validate FILE "
            f"to check one; found {sum(given)} of them."
        )
    forbidden = (
        _WRITING_ONLY if request.validate else _PREDICTIONS_ONLY if request.constant is not None else ()
    )
    for name in forbidden:
        if getattr(request, name) not in (None, False):
            raise ConfigError(
                f"--{name} has no meaning beside --{'validate' if request.validate else 'constant'}."
            )
    if request.constant is None:
        return
    if not 0 <= request.constant <= 1:
        raise ConfigError(f"--constant: expected a probability in [0, 1], found {request.constant:g}.")
    if request.constant and not isinstance(request.layout, TableFormat):
        raise ConfigError("--constant: masks can only be empty: --constant 0.")


def _check_out(request: Request) -> None:
    ending = ".zip" if isinstance(request.layout, ZipFormat) else ".csv"
    if request.file.suffix.lower() != ending:
        raise ConfigError(f"--out {request.out}: expected a name that ends in {ending} for {request.format}.")
    inputs = [request.sample, request.images, request.cases, request.id_map, *request.predictions]
    read = {path.resolve() for path in inputs if path is not None}
    # Of a folder or a run its table is read.
    tables = {
        path / TABLE for folder in read for path in (folder, folder / request.part, folder / OUT_OF_FOLD)
    }
    if request.file.resolve() in read | tables:
        raise ConfigError(f"--out {request.out}: would replace what is read. Give another file.")
    if request.file.is_dir() or (request.file.exists() and not request.overwrite):
        raise ConfigError(f"--out {request.out}: is there already. Give another file, or --overwrite.")
