"""In-run metrics that torchmetrics lacks."""

from medimg.metrics.dice import CaseDice

__all__ = ["CaseDice"]
