"""Numbers defined once, in numpy: overlap, surface distances, lesion-wise scores, intervals and tables."""
