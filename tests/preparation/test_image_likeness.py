import io

import numpy as np
import pytest
from PIL import Image

from medimg.preparation.image_likeness import alike, find_alike, likeness


def changed(picture, size, quality):
    """The picture through another size, a lossy JPEG, another brightness and contrast."""
    held = io.BytesIO()
    Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held), dtype=np.float32) * 0.7 + 20


def test_a_recompressed_copy_is_alike_and_others_are_not(make_picture):
    pictures = [make_picture(seed, (160, 200)) for seed in range(20)]
    found = [likeness(picture.astype(np.float32)) for picture in pictures]
    copies = [likeness(changed(picture, (140, 120), 50)) for picture in pictures]
    for place, one in enumerate(found):
        assert [alike(one, other) for other in copies] == [place == other for other in range(20)]


def test_pairs_are_those_of_comparing_each_with_each(make_picture):
    pictures = [make_picture(seed % 40, (64, 64)).astype(np.float32) for seed in range(60)]
    noise = np.random.default_rng(0)
    found = [likeness(picture + noise.normal(0, 2, picture.shape).astype(np.float32)) for picture in pictures]
    found[5] = None
    expected = [
        (a, b) for b in range(60) for a in range(b) if found[a] and found[b] and alike(found[a], found[b])
    ]
    assert find_alike(found) == sorted(expected)
    assert len(expected) >= 19


def test_constant_pictures_resemble_nothing():
    assert likeness(np.full((40, 40), 7, np.float32)) is None
    assert find_alike([None, None]) == [] and find_alike([]) == []


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (28, 28), (8, 400)])
def test_small_and_narrow_pictures_are_taken(shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = likeness(image)
    assert found is None if shape == (1, 1) else found.thumb.shape == (1024,)
