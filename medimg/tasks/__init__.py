"""Tasks: what is learned from a batch and how it is scored."""

from medimg.tasks.classification import ClassificationTask
from medimg.tasks.fusion import FusionTask
from medimg.tasks.image_segmentation import ImageScoring, ImageSegmentationTask
from medimg.tasks.label_options import LabelScoring, TrainingOptions
from medimg.tasks.learning_rates import RateOptions
from medimg.tasks.moco import MoCoTask
from medimg.tasks.schedules import CosineSchedule, PolynomialSchedule
from medimg.tasks.segmentation import ScoringOptions, SegmentationTask
from medimg.tasks.self_supervised import ProbeOptions
from medimg.tasks.simclr import SimCLRTask
from medimg.tasks.study import StudyTask
from medimg.tasks.targets import MultiTargetTask, TargetScoring

__all__ = [
    "ClassificationTask",
    "CosineSchedule",
    "FusionTask",
    "ImageScoring",
    "ImageSegmentationTask",
    "LabelScoring",
    "MoCoTask",
    "MultiTargetTask",
    "PolynomialSchedule",
    "ProbeOptions",
    "RateOptions",
    "ScoringOptions",
    "SegmentationTask",
    "SimCLRTask",
    "StudyTask",
    "TargetScoring",
    "TrainingOptions",
]
