"""Breasts are judged as one, and pictures that an archive lists as copies stay together."""

import numpy as np

from medimg.datamodules import (
    BatchOptions,
    CacheOptions,
    ImageOptions,
    ISICDataModule,
    RSNAMammographyDataModule,
    SplitOptions,
)
from medimg.phantoms.mammography import write_mammography

IMAGE = ImageOptions(size=(32, 24), channels=1, bits=16, mean=(0.5,), std=(0.5,))


def test_breasts_of_phantoms(tmp_path):
    root = tmp_path / "phantoms"
    write_mammography(root, patients=6, size=(64, 64))
    data = RSNAMammographyDataModule(
        root, image=IMAGE, cache=CacheOptions(tmp_path / "kept"), split=SplitOptions(num_folds=2),
        batch=BatchOptions(batch_size=3, grouped=True),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch["sizes"].tolist() == [2, 2, 2]
    assert batch["image"].shape == (6, 1, 32, 24)
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert all(case.endswith(("_L", "_R")) for case in batch["case_id"])
    # MONOCHROME1 is turned around: the air around the breast is dark in every file.
    whole = np.concatenate([batch["image"].numpy() for batch in data.val_dataloader()])
    assert np.median(whole, axis=(1, 2, 3)).max() < 0.5
    unlabelled = data.read_unlabelled(root)
    assert len(unlabelled.records) == 24
    assert not any(record.labels for record in unlabelled.records)


def test_copies_that_the_archive_lists(tmp_path, write_table, write_picture):
    header = [
        "image_name",
        "patient_id",
        "sex",
        "age_approx",
        "anatom_site_general_challenge",
        "diagnosis",
        "benign_malignant",
        "target",
    ]
    rows = [[f"I{n}", f"P{n}", "", "", "", "", "", n % 2] for n in range(6)]
    write_table(tmp_path / "train.csv", header, rows)
    for number in range(6):
        write_picture(tmp_path / "jpeg" / "train" / f"I{number}.jpg", seed=number)
    write_table(
        tmp_path / "ISIC_2020_Training_Duplicates.csv", ["image_name_1", "image_name_2"], [["I0", "I3"]]
    )
    for fold in range(3):
        data = ISICDataModule(
            tmp_path, image=ImageOptions(size=(16, 16)), cache=CacheOptions(tmp_path / "kept"), fold=fold,
            split=SplitOptions(num_folds=3),
        )  # fmt: skip
        data.prepare_data()
        data.setup("fit")
        assert len({"I0", "I3"} & set(data.split.val)) in (0, 2)
