import numpy as np
import pytest
import torch

from medimg.explain.curves import deletion_insertion


def test_a_right_map_deletes_early_and_a_wrong_one_late():
    case, baseline = torch.ones(1, 2, 4, 5), torch.zeros(1, 2, 4, 5)
    truth = np.zeros((1, 4, 5))
    truth[0, 1, :4] = 1  # 4 of 20 pixels hold the whole answer

    def prob(cases):
        return cases[:, 0, 1, :4].mean(1)

    right = deletion_insertion(prob, case, baseline, truth, steps=5, batch=2)
    wrong = deletion_insertion(prob, case, baseline, -truth, steps=5)
    assert right.deletion.tolist() == [1, 0, 0, 0, 0, 0] and right.insertion.tolist() == [0, 1, 1, 1, 1, 1]
    assert (right.deletion_area, right.insertion_area) == pytest.approx((0.1, 0.9))
    assert (wrong.deletion_area, wrong.insertion_area) == pytest.approx((0.9, 0.1))


def test_the_images_of_a_group_share_one_order():
    heat = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 2.0)])
    case = torch.ones(1, 2, 3, 2, 2)
    curve = deletion_insertion(
        lambda cases: cases[:, 1].flatten(1).mean(1), case, torch.zeros_like(case), heat, steps=2
    )
    assert curve.deletion.tolist() == [1, 0, 0]
