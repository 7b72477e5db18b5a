"""Tables of run-length codes: what ``medimg submit`` does for them."""

from medimg.errors import ConfigError
from medimg.submission.code_table import CodeTask, check_codes, planes_by_id, read_asked_rows, write_codes
from medimg.submission.faults import Faults
from medimg.submission.formats import CodeFormat
from medimg.submission.ids import read_id_map
from medimg.submission.make_volumes import mask_folder, stated_meaning
from medimg.submission.pictures import find_planes
from medimg.submission.request import Outcome, Request, noting


def submit_codes(request: Request, layout: CodeFormat) -> Outcome:
    """Write or check a table of run-length codes.

    Args:
        request: What the user asked for.
        layout: What the competition asks for.

    Raises:
        ConfigError: If options do not fit.
        DataError: If a file cannot be read, or for all faults of the masks together.
    """
    faults = Faults()
    asked = () if request.sample is None else read_asked_rows(request.sample, layout)
    images = None if request.images is None else dict(find_planes(request.images))
    notes: tuple[str, ...] = (
        () if asked else ("no ids of a sample: which rows are asked for was not checked",)
    )
    if images is None and layout.shape is None:
        notes += ("no --images: the shape of masks was not checked",)
    task = CodeTask(layout, asked, _values(request, layout), images)
    if request.validate is not None:
        with noting(request.validate, faults):
            check_codes(request.validate, task, faults)
        return Outcome("run-length codes", faults, notes)
    if request.sample is None:
        raise ConfigError("--sample: which masks are asked for? Give sample_submission.csv.")
    masks = None
    if request.constant is None:
        names = None if request.id_map is None else read_id_map(request.id_map)
        masks = planes_by_id(mask_folder(request), names, faults)
    return Outcome(f"{write_codes(request.file, task, masks, faults)} rows", faults, notes)


def _values(request: Request, layout: CodeFormat) -> dict[str, int]:
    """Label value of each class: as the user or ``predictions.json`` says, else 1, 2, ... in the format's order."""
    meaning = stated_meaning(request) if layout.classes else {}
    values = meaning or {name: number for number, name in enumerate(layout.classes, 1)}
    if missing := [name for name in layout.classes if name not in values]:
        raise ConfigError(
            f"the masks hold {', '.join(values)}, and {request.format} asks for {', '.join(missing)}. Say what the "
            f"values are with --labels {missing[0]}=VALUE,..."
        )
    return values
