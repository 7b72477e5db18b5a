"""Tasks: what is learned from a batch and how it is scored."""

from medimg.tasks.schedules import CosineSchedule, PolynomialSchedule
from medimg.tasks.segmentation import ScoringOptions, SegmentationTask

__all__ = ["CosineSchedule", "PolynomialSchedule", "ScoringOptions", "SegmentationTask"]
