"""What a data set's reader says of its cases, before any image is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Record:
    """One case: where its files are and whom it belongs to.

    Attributes:
        case_id: Unique within the data set; names the files a run writes for this case.
        patient_id: Cases of one patient never stand on both sides of a split.
        images: One file a channel, in the data set's channel order, or one 4D file with all of them; or the files of
            one DICOM series, which is one channel.
        mask: The label map, or ``None`` for a case without one.
        labels: Value of each label: 1 or 0, a number between for a soft label, NaN where it is unknown. A
            multi-class case has one label of 1.
        group: What the case is judged with, such as the other views of one breast; ``None``: by itself.
        split: ``train``, ``val`` or ``test`` where the data set publishes one.
        weight: How much the case counts in the loss.
        member: Position in the image file when one file, such as ``.npz``, holds many cases.
        position_mm: Place of an image along the stack of its group, where a table tells it and not the image's file.
    """

    case_id: str
    patient_id: str
    images: tuple[Path, ...]
    mask: Path | None = None
    labels: Mapping[str, float] = field(default_factory=dict)
    group: str | None = None
    split: str | None = None
    weight: float = 1.0
    member: int | None = None
    position_mm: float | None = None


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """What a network's output channels mean in the label maps of one data set.

    Attributes:
        values: Label values of each class or region; values may stand in several regions.
        written: Label value with which each one is written into a label map, in writing order:
            a later one overwrites an earlier one.
        ignore: Value of voxels that take no part in training or scores.
    """

    values: Mapping[str, tuple[int, ...]]
    written: Mapping[str, int]
    ignore: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Classes or regions in the order of the network's channels."""
        return tuple(self.values)


@dataclass(frozen=True, slots=True)
class DatasetIndex:
    """All cases of a data set on disk and what its masks and channels mean.

    Attributes:
        name: Short name, used for folders.
        root: Folder that holds every file of the data set.
        channels: Name of each image channel, in order; ``"CT"`` marks Hounsfield units.
        labels: Value in the mask of each class, the background left out.
        records: Labelled cases, sorted by id, that training and validation share.
        test: Labelled cases of the published test split, sorted by id; no split deals them.
        unlabelled: Cases without a mask, sorted by id.
        regions: Label values of each region, when the data set is judged by regions that overlap.
        region_labels: Label value with which each region is written, in writing order.
        ignore_label: Value of voxels that take no part in training or scores.
        folds: Published splits as (training ids, validation ids); empty if there are none.
        channel_order: Position in the files of each of ``channels``; empty: as in the files.
    """

    name: str
    root: Path
    channels: tuple[str, ...]
    labels: Mapping[str, int]
    records: tuple[Record, ...]
    test: tuple[Record, ...] = ()
    unlabelled: tuple[Record, ...] = ()
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    region_labels: Mapping[str, int] = field(default_factory=dict)
    ignore_label: int | None = None
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    channel_order: tuple[int, ...] = ()

    @property
    def all_records(self) -> tuple[Record, ...]:
        """Every case, labelled or not."""
        return (*self.records, *self.test, *self.unlabelled)

    def without_cases(self) -> "DatasetIndex":
        """What the data set says of itself, without the list of its files: light enough to travel with a case."""
        return replace(self, records=(), test=(), unlabelled=(), folds=())

    def label_scheme(self) -> LabelScheme:
        """Every class on its own, as a softmax head sees them."""
        values = {name: (value,) for name, value in self.labels.items()}
        return LabelScheme(values, dict(self.labels), self.ignore_label)

    def region_scheme(self) -> LabelScheme:
        """The overlapping regions, as a head of one sigmoid a region sees them."""
        return LabelScheme(dict(self.regions), dict(self.region_labels), self.ignore_label)


Task = Literal["binary", "multiclass", "multilabel"]


@dataclass(frozen=True)
class TableColumns:
    """Which column of a table holds what.

    ``id``, ``patient``, ``group`` and ``images`` are the name of a column, or a text with columns in braces, such
    as ``{patient_id}_{laterality}``.

    Attributes:
        id: Case id, unique.
        patient: Patient, so that no patient is split; give what ``id`` has where each case is its own patient.
        images: Each image's path relative to the root, such as ``train_images/{patient_id}/{image_id}.dcm``.
            Several for several channels.
        labels: A column a label, holding 1, 0, a soft label between, -1 or blank for unknown; or the one
            column that holds a class, by name or by position, if the task is multi-class. Empty: no labels.
        group: What the case is judged with, such as a breast or a study.
        fold: Number or name of the fold in which the case validates; blank: it always trains.
        weight: How much the case counts in the loss; blank: 1.
        split: ``train``, ``val`` or ``test``.
        mask: Path of the image's mask relative to the root, or a text with columns in braces as for ``images``; blank:
            the image has none.
        position: Place of the image along the stack of its group in millimetres; blank: what its file says.
    """

    id: str
    patient: str
    images: tuple[str, ...]
    labels: tuple[str, ...] = ()
    group: str | None = None
    fold: str | None = None
    weight: str | None = None
    split: str | None = None
    mask: str | None = None
    position: str | None = None


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """All cases of a data set of labelled 2D images.

    Attributes:
        name: Short name, used for folders.
        root: Folder that holds every file of the data set.
        task: What kind of labels the cases have; ``targets`` are values of several kinds, also numbers in a unit.
        classes: Names of the labels; one for a binary task.
        records: All cases, sorted by id; those without labels have none in ``Record.labels``.
        folds: Published splits as (training ids, validation ids); empty if there are none.
    """

    name: str
    root: Path
    task: Task | Literal["targets"]
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
