import pytest
import torch

from medimg.transforms.warp import crop_, label_extent, present_labels


def test_crop_converts_and_pads() -> None:
    out = torch.full((1, 4, 2, 3), 9.0)
    crop_(out, torch.ones(1, 3, 5, 3, dtype=torch.float16), ())
    assert out[0, :, 0, 0].tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_present_labels(dtype: torch.dtype) -> None:
    assert present_labels(torch.tensor([[0, 2], [200, 2]]).to(dtype)) == [2, 200]
    assert present_labels(torch.zeros(3, 3, dtype=dtype)) == []


def test_label_extent() -> None:
    mask = torch.zeros(5, 6, 7, dtype=torch.int16)
    assert label_extent(mask) is None
    mask[1, 2, 3] = 300
    mask[3, 2, 6] = -1
    assert label_extent(mask) == [(1, 4), (2, 3), (3, 7)]
