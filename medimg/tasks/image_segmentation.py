"""Segmentation of 2D images: masks and scores on the pixels of the files, however the network saw them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from monai.inferers.inferer import Inferer, SimpleInferer
from torch import Tensor, nn

from medimg import keys
from medimg.errors import DataError
from medimg.preparation.geometry import Geometry
from medimg.preparation.image_grid import expect_whole_images, file_grid, image_geometry, inner_box
from medimg.records import LabelScheme, Record
from medimg.scoring.table import Row, score_case
from medimg.tasks.batch_masks import checked_masks
from medimg.tasks.schedules import Schedule
from medimg.tasks.segmentation import SegmentationTask, default_optimizer, labels_on_source


@dataclass(frozen=True)
class ImageScoring:
    """How images are scored.

    Attributes:
        empty: What an image scores in which a class is empty: ``one`` gives Dice 1 where both masks are and 0, with
            the image's diagonal as HD95, where one is; ``skip`` leaves images out whose reference is empty.
        unit: Of HD95 and of the tolerance: pixels of the file, or millimetres, for files that tell their spacing.
        nsd_tolerance: Tolerance of the normalised surface Dice, in that unit.
        hd95: Length-weighted contour distance (``area``) or the larger directed percentile (``max``).
    """

    empty: Literal["one", "skip"] = "one"
    unit: Literal["px", "mm"] = "px"
    nsd_tolerance: float = 2.0
    hd95: Literal["area", "max"] = "area"


class ImageSegmentationTask(SegmentationTask):
    """Label every pixel of images as one of exclusive classes.

    Trains on images that :class:`medimg.datamodules.ImageDataModule` gives with ``batch.masks``, and validates,
    tests and predicts on the grid of each image's file: black beside an image that kept its proportions is cut off,
    and logits are brought back to the file's size. Images without a mask take part in neither loss nor scores.

    Args:
        network: Maps (B, C, H, W) to logits (B, K, H, W), K one more than the classes; may return a list of logits,
            finest first.
        classes: Names of the classes in the order of their values 1, 2, ... in the masks.
        loss: Takes logits and mask; by default Dice with cross-entropy.
        optimizer: Takes the parameters.
        scheduler: A schedule of :mod:`medimg.tasks.schedules`, by default `CosineSchedule` to zero, or a scheduler of
            torch, stepped by epoch.
        inferer: Applies the network to whole images; by default at once.
        final_inferer: Takes the inferer's place in validate, test and predict: test-time augmentation, such as
            :class:`medimg.inference.FlipTTA`.
        scoring: How images are scored.
        channels_last: Lay out weights and images with channels last.
        compile: Compile the network with torch.compile.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: Sequence[str],
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable = default_optimizer,
        scheduler: Schedule | LRSchedulerCallable | None = None,
        inferer: Inferer | None = None,
        final_inferer: Inferer | None = None,
        scoring: ImageScoring = ImageScoring(),
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(
            network,
            classes=classes,
            loss=loss,
            optimizer=optimizer,
            scheduler=scheduler,
            inferer=inferer or SimpleInferer(),
            final_inferer=final_inferer,
            channels_last=channels_last,
            compile=compile,
        )
        self.image_scoring = scoring
        values = {name: value for value, name in enumerate(self.classes, start=1)}
        self.label_scheme = LabelScheme({name: (value,) for name, value in values.items()}, values)

    def setup(self, stage: str) -> None:
        """Make sure that the whole of each image can be given a mask.

        Raises:
            ConfigError: If the network sees the middle of the images alone.
        """
        super().setup(stage)
        if stage != "fit":
            expect_whole_images(self.trainer.datamodule.image)  # type: ignore[attr-defined]

    # ---- steps -------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss over the images of the batch that have a mask."""
        checked_masks(batch, len(self.classes) + 1)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Watch the Dice on the prepared images; score against the files where they were asked for."""
        checked_masks(batch, len(self.classes) + 1)
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._locate(batch)
        outputs = super().validation_step(batch, batch_idx)
        if keys.GEOMETRY in batch:
            outputs["logits"] = self._volumes(batch, outputs["logits"])
        return outputs

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Score images against their masks on the pixels of the files."""
        self._locate(batch)
        outputs = super().test_step(batch, batch_idx)
        return {**outputs, "logits": self._volumes(batch, outputs["logits"])}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Label maps (1, H, W) on the pixels of the files."""
        self._locate(batch, references=False)
        outputs = super().predict_step(batch, batch_idx)
        return {**outputs, "logits": self._volumes(batch, outputs["logits"])}

    # ---- from the prepared images to the files ---------------------------------------------------

    def _locate(self, batch: dict[str, Any], *, references: bool = True) -> None:
        """Add to a batch where its images come from, for the scores and for the callbacks that write."""
        records = [self._record(case_id) for case_id in batch[keys.CASE_ID]]
        batch[keys.SOURCE] = [record.images for record in records]
        batch[keys.SCHEME] = [self.label_scheme] * len(records)
        batch[keys.GEOMETRY] = [self._geometry(record) for record in records]
        if references:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            batch[keys.REFERENCE] = [data.reference(case_id) for case_id in batch[keys.CASE_ID]]

    def _record(self, case_id: str) -> Record:
        record: Record = self.trainer.datamodule.record(case_id)  # type: ignore[attr-defined]
        return record

    def _geometry(self, record: Record) -> Geometry:
        grid = file_grid(record)
        if self.image_scoring.unit == "mm" and grid.spacing_mm is None:
            raise DataError(
                f"{record.images[0]}: tells no spacing of its pixels, and model.init_args.scoring.unit is mm: set it "
                "to px"
            )
        return image_geometry(grid, self._box(grid.shape))

    def _box(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        options = self.trainer.datamodule.image  # type: ignore[attr-defined]
        return inner_box(shape, options.size, keep_aspect=options.keep_aspect)

    def _volumes(self, batch: dict[str, Any], logits: Tensor) -> list[Tensor]:
        """Logits (K, 1, h, w) of the part of each image that shows its file, as volumes of one slice."""
        boxes = [self._box(geometry.source_shape[1:]) for geometry in batch[keys.GEOMETRY]]
        return [image[:, None, rows, columns] for image, (rows, columns) in zip(logits, boxes, strict=True)]

    def _export(self, batch: dict[str, Any], logits: Tensor) -> list[Any]:
        return [
            labels_on_source(volume, geometry, self.label_scheme, self.head)
            for volume, geometry in zip(self._volumes(batch, logits), batch[keys.GEOMETRY], strict=True)
        ]

    def _score(self, batch: dict[str, Any], logits: Tensor) -> list[Any]:
        maps = self._export(batch, logits)
        for number, (labels, target) in enumerate(zip(maps, batch[keys.REFERENCE], strict=True)):
            if target is not None:
                self.sheet.add(self._row(batch, number, labels[0], target))
        return maps

    def _row(self, batch: dict[str, Any], number: int, labels: Any, target: Any) -> Row:
        options, geometry = self.image_scoring, batch[keys.GEOMETRY][number]
        row = score_case(
            batch[keys.CASE_ID][number],
            batch[keys.PATIENT_ID][number],
            labels,
            target,
            geometry.source_spacing_mm[1:] if options.unit == "mm" else (1.0, 1.0),
            self.label_scheme.values,
            empty=options.empty,
            nsd_tolerance_mm=options.nsd_tolerance,
            hd95_definition=options.hd95,
            ignore_label=keys.IGNORE_INDEX,
        )
        return image_row(row, options.unit)

    def _scoring_facts(self) -> dict[str, Any]:
        return asdict(self.image_scoring)


def image_row(row: Row, unit: Literal["px", "mm"]) -> Row:
    """Add the intersection over union of each class to a row, and name distances in pixels as such.

    Args:
        row: What :func:`medimg.scoring.table.score_case` gave.
        unit: Of the row's distances.

    Example:
        >>> image_row({"case_id": "a", "dice_lesion": 0.5, "hd95_lesion": 2.0}, "px")
        {'case_id': 'a', 'dice_lesion': 0.5, 'iou_lesion': 0.3333333333333333, 'hd95px_lesion': 2.0}
    """
    overlaps = {name: value for name, value in row.items() if name.startswith("dice_")}
    # Both follow from the same counts: I / U = D / (2 - D).
    unions = {f"iou_{name[5:]}": float(value) / (2 - float(value)) for name, value in overlaps.items()}
    before = {name: value for name, value in row.items() if name in ("case_id", "patient_id")}
    others = {name: value for name, value in row.items() if name not in {**before, **overlaps}}
    if unit == "px":
        others = {name.replace("hd95_", "hd95px_", 1): value for name, value in others.items()}
    return {**before, **overlaps, **unions, **others}
