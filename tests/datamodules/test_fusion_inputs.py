"""How a single input is read, finished and put into a batch."""

import numpy as np
import pytest
import torch

from medimg.datamodules import CacheOptions, ImageInput, ImageOptions, TextOptions, VolumeInput, VolumeOptions
from medimg.datamodules.fusion_inputs import (
    FusionDataset,
    KeptTexts,
    PictureReader,
    RowReader,
    collate_fusion,
    trimmed,
)
from medimg.datamodules.image_samples import ImageCase, scale_images
from medimg.datamodules.samplers import SampleKey
from medimg.datamodules.volume_samples import scale_volumes
from medimg.errors import ConfigError
from medimg.records import Record
from medimg.transforms import AlbumentationsTransform, Augment3D, Brightness, RandomSpatial

BYTES = ImageOptions(size=(6, 5), channels=1, mean=(0.5,), std=(0.25,))
STILL = RandomSpatial(rotation_probability=0, scale_probability=0, mirror_axes=())


def pixels(case_id):
    return np.full((1, 6, 5), int(case_id) * 10, np.uint8)


def cases(count):
    return [ImageCase(str(n), f"p{n}", (str(n),), np.float32([n % 2]), 0.5) for n in range(count)]


def test_a_picture_travels_as_bytes_and_is_finished_as_its_own_options_say():
    one = ImageInput(BYTES)
    reader = PictureReader("image", one, [Record("3", "p", ()), Record("1", "p", ())], pixels)
    found = reader("3", None)["image"]
    assert (found.shape, found.dtype) == ((1, 6, 5), torch.uint8)
    assert (found == 30).all()
    assert torch.equal(one.finish(found[None], None), scale_images(found[None], (0.5,), (0.25,)))
    assert torch.equal(reader("1", 7)["image"], reader("1", None)["image"])  # no transform, no chance
    assert reader.blank["image"].dtype == torch.uint8


def test_a_transform_that_normalises_is_not_normalised_twice():
    import albumentations

    one = ImageInput(BYTES, AlbumentationsTransform([albumentations.Normalize(mean=0.2, std=0.5)]))
    reader = PictureReader("image", one, [Record("5", "p", ())], pixels)
    found = reader("5", None)["image"]
    assert found.dtype == torch.float32 == reader.blank["image"].dtype
    expected = torch.full((1, 6, 5), (50 / 255 - 0.2) / 0.5)
    torch.testing.assert_close(one.finish(found[None], None)[0], expected)


def test_volumes_change_by_chance_in_training_alone():
    options = VolumeOptions(size=(4, 4, 4), normalization="range", bits=8)
    one = VolumeInput(
        options, lambda size: Augment3D(size, spatial=STILL, intensity=[Brightness(probability=1.0)])
    )
    image = torch.arange(2 * 64, dtype=torch.uint8).reshape(2, 1, 4, 4, 4)
    assert torch.equal(one.finish(image, None), scale_volumes(image))
    seed = torch.tensor([1, 2])
    changed = one.finish(image, seed)
    assert torch.equal(changed, one.finish(image, seed))
    assert not torch.allclose(changed, scale_volumes(image))
    assert (one.shape, one.dtype) == ((1, 4, 4, 4), torch.uint8)
    assert VolumeInput(VolumeOptions(size=(4, 4, 4))).dtype == torch.float16


def test_samples_hold_blanks_where_an_input_is_missing():
    table = {"table": np.arange(6, dtype=np.float32).reshape(3, 2), "category": np.ones((3, 1), np.int64)}
    noted = []
    data = FusionDataset(
        cases(3),
        {
            "image": PictureReader("image", ImageInput(BYTES), [Record("1", "p", ())], pixels),
            "table": RowReader(table, ["0", "1", "2"], {"table": np.nan, "category": 0}),
        },
        {"image": frozenset("1"), "table": frozenset("02"), "text": frozenset("012")},
        before=noted.append,
    )
    batch = collate_fusion([data[SampleKey(at, 5 + at)] for at in range(3)])
    # Nothing reads text here, so it is there for none.
    assert batch["present"].tolist() == [
        [False, False, True, False],
        [True, False, False, False],
        [False, False, True, False],
    ]
    assert batch["table"][[0, 2]].tolist() == [[0, 1], [4, 5]]
    assert batch["table"][1].isnan().all()
    assert batch["category"].tolist() == [[1], [0], [1]]
    assert [int(image.max()) for image in batch["image"]] == [0, 10, 0]
    assert batch["seed"].tolist() == [5, 6, 7]
    assert batch["weight"].tolist() == [0.5] * 3
    assert batch["label"].tolist() == [[0], [1], [0]]
    assert noted == batch["case_id"] == ["0", "1", "2"]
    assert "seed" not in data[0]


def test_a_batch_of_empty_texts_keeps_a_column():
    assert trimmed(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 1)


def test_texts_are_made_again_when_they_or_the_options_change(tmp_path):
    cache = CacheOptions(tmp_path)
    first = KeptTexts("a", ["Clear.", "Large heart."], TextOptions(limit=8), cache)
    first.fill()
    rows = np.array(first.read())
    assert rows.shape == (2, 8)
    same = KeptTexts("a", ["Clear.", "Large heart."], TextOptions(limit=8), cache)
    others = [
        KeptTexts("a", ["Clear.", "Small heart."], TextOptions(limit=8), cache),
        KeptTexts("a", ["Clear.", "Large heart."], TextOptions(limit=9), cache),
    ]
    assert same.folder == first.folder
    assert len({one.folder for one in [first, *others]}) == 3
    with pytest.raises(ConfigError, match="expected a folder with a BERT's"):
        KeptTexts("a", ["x"], TextOptions(weights=str(tmp_path / "none")), cache).fill()


def test_an_interrupted_pass_is_made_again(tmp_path, monkeypatch):
    texts = KeptTexts("a", ["Clear.", "Large heart."], TextOptions(limit=8), CacheOptions(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr("medimg.datamodules.fusion_inputs.Tokens.__call__", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            texts.fill()
    texts.fill()
    assert np.array(texts.read())[:, 0].all()
