"""Heat maps: what in a case a trained network's answer rests on, and how far such a map can be trusted."""

from medimg.explain.curves import Curve, deletion_insertion
from medimg.explain.layers import Layer, find_layer, named_layer
from medimg.explain.methods import METHODS, Explanation, Method, Settings, explain_score
from medimg.explain.sanity import randomised, rank_correlation

__all__ = [
    "METHODS",
    "Curve",
    "Explanation",
    "Layer",
    "Method",
    "Settings",
    "deletion_insertion",
    "explain_score",
    "find_layer",
    "named_layer",
    "randomised",
    "rank_correlation",
]
