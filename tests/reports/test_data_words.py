import pytest

from medimg.reports.config_parts import Part
from medimg.reports.data_words import augmentation_words, batch_words, data_words, preparation_words


def data(name="ImageDataModule", **args):
    return Part(f"medimg.datamodules.{name}", args)


def reader(kind, **args):
    return {"class_path": f"medimg.datasets.{kind}", "init_args": args}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"dataset": reader("LIDC"), "fold": 2, "split": {"num_folds": 5, "by": "case"}},
         "Fold 2 of five, dealt by case, was held out for validation."),
        ({"dataset": reader("MedMNIST", name="organmnist3d"), "fold": 0, "split": {"num_folds": 5}},
         "The published split into training and validation was used."),
        ({"dataset": reader("ImageTable", columns={"split": "part"}), "fold": 0, "split": {"num_folds": 5}},
         "Training and validation cases were those that the table names."),
        ({"dataset": reader("ImageTable", columns={"split": None}), "fold": 0, "split": {"num_folds": 12}},
         "Fold 0 of 12 was held out for validation; folds were dealt by patient, unless the data name a split of their "
         "own."),
        ({"split": {"file": "folds.csv", "num_folds": 5}, "fold": 1},
         "Fold 1 of a given table of folds was held out for validation."),
        ({"split": {"num_folds": 5}}, "Cases were dealt into five folds by patient."),
        ({"fold": 3}, "Fold 3 was held out for validation."),
    ],
)  # fmt: skip
def test_who_validates(args, words):
    assert data_words(data(**args)).split(". ", 1)[1] == words


def test_what_the_data_are():
    assert data_words(data(dataset=reader("MedMNIST", name="x"))) == (
        "The data were 2D images from MedMNIST (x). The published split into training and validation was used."
    )
    assert data_words(data(dataset={"class_path": "mylab.Own"})) == "The data were 2D images from Own."


def test_preparation_of_volumes():
    options = {"spacing_mm": None, "orientation": "RAS", "crop_nonzero": True, "normalization": ["zscore"]}
    assert preparation_words(data("NNUNetDataModule", preparation=options)) == (
        "Volumes were reoriented to RAS, cropped to their non-zero region, kept at their own spacing and standardised "
        "to mean 0 and standard deviation 1."
    )
    mixed = {"normalization": ["zscore", "none"], "spacing_mm": [1, 1, 2.5]}
    assert preparation_words(data("NNUNetDataModule", preparation=mixed)) == (
        "Volumes were resampled to 1 x 1 x 2.5 mm and normalised channel by channel (zscore and none)."
    )
    volume = {
        "size": [48, 48, 48],
        "spacing_mm": None,
        "windows_hu": [[-1000, 400]],
        "normalization": "zscore",
    }
    assert preparation_words(data("LabelledVolumeDataModule", volume=volume)) == (
        "Volumes were brought to 48 x 48 x 48 voxels and windowed to -1,000 to 400 HU."
    )
    assert preparation_words(data()) == ""


def test_preparation_of_images():
    image = {
        "size": [256, 256],
        "keep_aspect": True,
        "window": [-160, 240],
        "channels": 3,
        "mean": [0.4, 0.5, 0.6],
    }
    assert preparation_words(data(image={**image, "std": [0.1, 0.2, 0.3]})) == (
        "Images were windowed to -160 to 240 in the unit of the files, scaled to 256 x 256 pixels with their "
        "proportions kept in three channels and normalised by means 0.4, 0.5 and 0.6 and standard deviations 0.1, 0.2 "
        "and 0.3."
    )
    inputs = {
        key: {"class_path": "medimg.datamodules.ImageInput", "init_args": {"image": {"size": [size, size]}}}
        for key, size in (("image", 64), ("image_2", 96))
    }
    assert preparation_words(data("FusionDataModule", images=inputs)) == (
        "For the input image, images were scaled to 64 x 64 pixels. For the input image_2, images were scaled to 96 x "
        "96 pixels."
    )


def test_augmentation():
    def words(name, **args):
        part = {"class_path": f"medimg.transforms.{name}", "init_args": args}
        return augmentation_words(data(augmentation=part)).removeprefix("Training cases were augmented by ")

    assert words(
        "NNUNetAugmentation", mirror_axes=[0, 2], rotation_deg=[15, 0, 0], elastic_probability=0.2
    ) == (
        "the scheme of nnU-Net (NNUNetAugmentation, mirroring along D and W, turns of at most 15, 0 and 0 degrees, "
        "elastic deformation with probability 0.2)."
    )
    assert words("NNUNetAugmentation", mirror_axes=[], rotation_probability=0.0, rotation_deg=30.0) == (
        "the scheme of nnU-Net (NNUNetAugmentation, no mirroring, no rotation)."
    )
    crop = [{"class_path": "albumentations.RandomResizedCrop"}, {"class_path": "albumentations.CLAHE"}]
    assert words("AlbumentationsTransform", preset="xray", transforms=crop) == (
        'the preset "xray" of medimg, random resized crops and CLAHE (Albumentations).'
    )
    assert augmentation_words(data(transform=None)) == "No augmentation was applied."
    assert augmentation_words(data()) == ""


def test_batches():
    assert batch_words(data(batch={"batch_size": 1, "balance": 1.0})) == (
        "Each batch held one case, rare classes drawn as often as frequent ones."
    )
    assert batch_words(data(patches={"size": [64, 64, 64], "foreground": 1 / 3})) == (
        "Each batch held patches of 64 x 64 x 64 voxels, 33 % of the patches centred on a labelled voxel."
    )
    assert batch_words(data()) == ""
