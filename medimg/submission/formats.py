"""What each competition asks for: columns, names of rows and files, label values, geometry."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from medimg.datasets.brats import CONVENTIONS, Convention
from medimg.datasets.siim import SHAPE as SIIM_SHAPE
from medimg.scoring.embolism import EXAM_LABELS, IMAGE_LABEL
from medimg.scoring.label_forms import RANZCR_LABELS
from medimg.scoring.regions import BRATS_WRITE_ORDER
from medimg.submission.names import FormatName

Affine = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFormat:
    """A table of probabilities.

    Attributes:
        ids: Column of the ids; empty: the first one of the sample.
        columns: Columns of the values; empty: all others of the sample.
        pattern: What an id looks like.
        digits: Length that numbers are padded to with zeros; 0 for ids that are no numbers.
        labels: Labels of a table that has a row for each case and label, ``<case>_<label>``.
        image_label: Label of rows that are images, beside those of ``labels``.
    """

    ids: str = ""
    columns: tuple[str, ...] = ()
    pattern: str = ".+"
    digits: int = 0
    labels: tuple[str, ...] = ()
    image_label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFormat:
    """A table of run-length codes.

    Attributes:
        ids: Column of the ids.
        column: Column of the codes.
        classes: Classes of a table that has a row for each id and class, in the order of their label values 1, 2, ...
        class_column: Column of the classes.
        relative: Starts count from the end of the run before.
        empty: How an empty mask is written.
        shape: (H, W) of every mask; ``None`` where they differ.
    """

    ids: str
    column: str
    classes: tuple[str, ...] = ()
    class_column: str = ""
    relative: bool = False
    empty: str = ""
    shape: tuple[int, int] | None = None

    @property
    def header(self) -> tuple[str, ...]:
        """Columns of the file."""
        middle = (self.class_column,) if self.classes else ()
        return (self.ids, *middle, self.column)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipFormat:
    """An archive of masks, ``<id>.nii.gz``.

    Attributes:
        pattern: What the name without its ending looks like; the group ``id`` tells cases apart.
        example: A name that fits, for messages.
        labels: Value of each class; empty: as the data set or the user says.
        region_labels: Value with which each region is written.
        shape: (D, H, W) of every mask; ``None``: that of its image.
        affine: Place of every mask, in both forms of the header; ``None``: that of its image.
    """

    pattern: str
    example: str
    labels: Mapping[str, int] = field(default_factory=dict)
    region_labels: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[int, int, int] | None = None
    affine: Affine | None = None


Format = TableFormat | CodeFormat | ZipFormat

_ATLAS_SHAPE = (155, 240, 240)
_ATLAS_AFFINE = ((-1.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.0, 239.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
_PLAIN_NAME = r"(?P<id>.+)"


def _brats(
    meaning: Convention, pattern: str, example: str, *, atlas: bool = False, any_grid: bool = False
) -> ZipFormat:
    return ZipFormat(
        pattern=pattern,
        example=example,
        labels=meaning.labels,
        region_labels=meaning.region_labels,
        shape=None if any_grid else _ATLAS_SHAPE,
        affine=_ATLAS_AFFINE if atlas else None,
    )


_TO_2022, _FROM_2023 = CONVENTIONS["brats2021"], CONVENTIONS["brats2023"]
_NEW_NAME = r".*(?P<id>\d{5}-\d{3})"

FORMATS: Mapping[FormatName, Format] = {
    "table": TableFormat(),
    "rsna-mammography": TableFormat(ids="prediction_id", columns=("cancer",), pattern=r".+_[LR]"),
    "rsna-pe": TableFormat(ids="id", columns=("label",), labels=EXAM_LABELS, image_label=IMAGE_LABEL),
    "isic2020": TableFormat(ids="image_name", columns=("target",)),
    "ranzcr": TableFormat(ids="StudyInstanceUID", columns=RANZCR_LABELS),
    "rsna-miccai": TableFormat(ids="BraTS21ID", columns=("MGMT_value",), pattern=r"\d{5}", digits=5),
    "spine2022": TableFormat(
        ids="row_id",
        columns=("fractured",),
        pattern=r".+_(?:C[1-7]|patient_overall)",
        labels=(*(f"C{number}" for number in range(1, 8)), "patient_overall"),
    ),
    "hubmap": CodeFormat(ids="id", column="predicted"),
    "uw-madison": CodeFormat(
        ids="id",
        column="predicted",
        classes=("large_bowel", "small_bowel", "stomach"),
        class_column="class",
    ),
    "siim-pneumothorax": CodeFormat(
        ids="ImageId", column="EncodedPixels", relative=True, empty="-1", shape=SIIM_SHAPE
    ),
    "brats2018": _brats(_TO_2022, _PLAIN_NAME, "Brats18_CBICA_AAM_1"),
    "brats2019": _brats(_TO_2022, _PLAIN_NAME, "BraTS19_CBICA_AAM_1"),
    "brats2020": _brats(_TO_2022, _PLAIN_NAME, "BraTS20_Validation_001"),
    "brats2021": _brats(_TO_2022, r".*(?P<id>\d{5})", "BraTS2021_00001"),
    "brats2022": _brats(_TO_2022, r".*(?P<id>\d{5})", "BraTS2021_00001"),
    "brats2023": _brats(_FROM_2023, _NEW_NAME, "BraTS-GLI-00001-000", atlas=True),
    "brats2024-gli": _brats(CONVENTIONS["brats2024-gli"], _NEW_NAME, "BraTS-GLI-00001-100", any_grid=True),
    "brats2024-ped": _brats(CONVENTIONS["brats2024-ped"], _NEW_NAME, "BraTS-PED-00001-000", any_grid=True),
    "decathlon": ZipFormat(
        pattern=_PLAIN_NAME,
        example="hippocampus_002",
        region_labels=dict(BRATS_WRITE_ORDER["decathlon-brats"]),  # of its brain tumours
    ),
}
"""Every format, by the name that ``--format`` takes."""
