"""What labelled cases say of themselves, whatever they are made of."""

import numpy as np

from medimg.datamodules.image_samples import ImageCase
from medimg.datamodules.labelled import case_labels, has_label


def case(label):
    return ImageCase("c", "p", ("c",), None if label is None else np.float32(label), 1.0)


def test_only_known_labels_teach():
    nan = float("nan")
    assert [has_label(case(label)) for label in (None, [nan, nan], [nan, 0], [1, 0])] == [
        False,
        False,
        True,
        True,
    ]


def test_labels_are_stacked_without_unlabelled_cases():
    assert case_labels([case([1, 0]), case(None), case([0, 1])]).tolist() == [[1, 0], [0, 1]]
