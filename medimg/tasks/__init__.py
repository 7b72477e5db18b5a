"""Tasks: what is learned from a batch and how it is scored."""

from medimg.tasks.classification import ClassificationTask, LabelScoring, TrainingOptions
from medimg.tasks.learning_rates import RateOptions
from medimg.tasks.schedules import CosineSchedule, PolynomialSchedule
from medimg.tasks.segmentation import ScoringOptions, SegmentationTask

__all__ = [
    "ClassificationTask",
    "CosineSchedule",
    "LabelScoring",
    "PolynomialSchedule",
    "RateOptions",
    "ScoringOptions",
    "SegmentationTask",
    "TrainingOptions",
]
