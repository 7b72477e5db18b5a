import numpy as np
import pytest
import torch

from medimg.commands.explain_cases import CaseInput
from medimg.commands.explain_task import Subject
from medimg.commands.explain_write import draw, make_row
from medimg.explain import Explanation


def subject(dims, case, label="<b>mass"):
    return Subject(label, case, dims, 0.25, lambda x: x, lambda *_: None)


def explanation(shape, peak):
    heat = np.full(shape, 0.5, np.float32)
    heat[peak] = 1.5
    return Explanation(heat, heat)


def test_the_peak_is_judged_against_the_labels_own_part_of_the_mask():
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1, 2, 3], mask[0] = 2, 1
    case = CaseInput("a", torch.zeros(1, 1, 4, 4, 4), mask=mask, values={"core": (2,), "all": (1, 2)})
    found = explanation((1, 4, 4, 4), (0, 1, 2, 3))
    rows = {
        name: make_row(case, subject(3, case.image, name), found, method="gradcam", curve=None, random=None)
        for name in ("core", "all", "other")
    }
    assert (rows["core"].peak_d, rows["core"].peak_h, rows["core"].peak_w) == (1, 2, 3)
    assert [row.peak_in_reference for row in rows.values()] == [True, True, True]
    assert rows["core"].heat_in_reference == pytest.approx(1.5 / 33)
    away = explanation((1, 4, 4, 4), (0, 3, 3, 3))
    row = make_row(case, subject(3, case.image, "core"), away, method="gradcam", curve=None, random=None)
    assert row.peak_in_reference is False


def test_many_images_of_a_group_are_drawn_in_part():
    case = CaseInput("g/1", torch.rand(20, 1, 8, 8), 20, tuple(f"i{n}" for n in range(20)))
    about, found = subject(2, case.image[None]), explanation((20, 8, 8), (7, 2, 3))
    row = make_row(case, about, found, method="gradcam", curve=None, random=None)
    assert (row.peak_d, row.peak_in_reference) == (7, None)
    panel = draw(case, about, found, method="gradcam", channel=0, weights=None)
    assert panel.dtype == np.uint8 and panel.shape[1:] == (1000, 3)
