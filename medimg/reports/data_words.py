"""Data, split, preparation and augmentation of a config in the words of a paper's methods section."""

from collections.abc import Mapping, Sequence
from typing import Any

from medimg.reports.config_parts import Part, as_number, as_part
from medimg.reports.wording import counted, joined, number, sentence, spelled, times

_MODULES = {
    "BraTSDataModule": "brain tumour volumes in the layout of BraTS",
    "DecathlonDataModule": "volumes in the layout of the Medical Segmentation Decathlon",
    "NNUNetDataModule": "volumes in the layout of nnU-Net",
    "ImageDataModule": "2D images",
    "LabelledVolumeDataModule": "labelled volumes",
    "FusionDataModule": "cases with one input or several",
    "SliceFeatureDataModule": "kept features of slices",
}
_SETS = {
    "CheXpert": "CheXpert",
    "ChestXray14": "NIH ChestX-ray14",
    "FusionTable": "a table of cases",
    "GliomaGrade": "BraTS folders with a table of grades",
    "HistologyTiles": "histology tiles",
    "ISIC2020": "ISIC 2020",
    "ImageFolder": "a set with a folder for each class",
    "ImageTable": "a table of images",
    "LIDC": "LIDC-IDRI",
    "MIMICCXR": "MIMIC-CXR-JPG",
    "Nodules": "a table of nodules of LIDC-IDRI",
    "OpenI": "the Indiana University chest X-ray collection (Open-i)",
    "RANZCR": "RANZCR CLiP",
    "RSNAHemorrhage": "the RSNA 2019 intracranial hemorrhage challenge",
    "RSNAMammography": "the RSNA 2022 screening mammography challenge",
    "RSNAPneumonia": "the RSNA 2018 pneumonia challenge",
    "RSNAPulmonaryEmbolism": "the RSNA 2020 pulmonary embolism challenge",
    "RSNASpine": "the RSNA lumbar spine challenge",
    "SIIMPneumothorax": "the SIIM-ACR pneumothorax challenge",
    "VinBigData": "VinBigData chest X-rays",
    "VolumeTable": "a table of volumes",
}
_PUBLISHED = ("CheXpert", "MIMICCXR", "MedMNIST")
# Where files or a column may tell a split of their own, num_folds alone does not say that folds were dealt.
_PERHAPS_PUBLISHED = (
    *("ChestXray14", "FusionTable", "HistologyTiles", "ImageFolder", "ImageTable"),
    *("NNUNetDataModule", "VolumeTable"),
)
_NORMALISED = {
    "zscore": "standardised to mean 0 and standard deviation 1",
    "zscore_nonzero": "standardised to mean 0 and standard deviation 1 over their non-zero voxels",
    "range": "scaled from their range to -1 to 1",
    "bytes": "scaled from 0 to 255 to -1 to 1",
    "none": "left at their own intensities",
}
_TRANSFORMS = {
    "Affine": "affine transformations",
    "CoarseDropout": "cutout",
    "ElasticTransform": "elastic deformations",
    "GaussNoise": "Gaussian noise",
    "GaussianBlur": "Gaussian blur",
    "HorizontalFlip": "horizontal flips",
    "RandomBrightnessContrast": "changes of brightness and contrast",
    "RandomGamma": "changes of gamma",
    "RandomResizedCrop": "random resized crops",
    "RandomRotate90": "quarter turns",
    "Rotate": "rotations",
    "VerticalFlip": "vertical flips",
}
_AXES = ("D", "H", "W")


def data_words(data: Part) -> str:
    """What the cases are, and who trains and who validates, in sentences.

    Args:
        data: The data module.

    Example:
        >>> data_words(Part("medimg.datamodules.DecathlonDataModule", {"fold": 0, "split": {"num_folds": 5}}))
        'The data were volumes in the layout of the Medical Segmentation Decathlon. Fold 0 of five, dealt by patient,
        was held out for validation.'
    """
    dataset = data.part("dataset")
    what = _MODULES.get(data.name, f"the cases of {data.name}")
    source = f" from {_set_words(dataset)}" if dataset is not None else ""
    if data.group("phantom"):
        what = "phantoms of brain tumours, made by a computer and of no patient"
    return " ".join(
        filter(None, (sentence(f"the data were {what}{source}"), sentence(_split(data, dataset))))
    )


def _set_words(dataset: Part) -> str:
    if dataset.name == "MedMNIST":
        name = dataset.text("name")
        return f"MedMNIST{f' ({name})' if name else ''}"
    return _SETS.get(dataset.name, dataset.name)


def _split(data: Part, dataset: Part | None) -> str:
    split, name = data.group("split"), dataset.name if dataset is not None else data.name
    fold, folds = data.number("fold"), as_number(split.get("num_folds"))
    columns = dataset.group("columns") if dataset is not None else {}
    by = "case" if split.get("by") == "case" else "patient"
    if split.get("file"):
        which = f"fold {number(fold)}" if fold is not None else "one fold"
        return f"{which} of a given table of folds was held out for validation"
    if by == "patient" and name in _PUBLISHED:
        return "the published split into training and validation was used"
    if by == "patient" and (columns.get("split") or columns.get("fold")):
        return "training and validation cases were those that the table names"
    if fold is None:
        return f"cases were dealt into {counted(int(folds), 'fold')} by {by}" if folds is not None else ""
    if folds is None:
        return f"fold {number(fold)} was held out for validation"
    of = f"fold {number(fold)} of {counted(int(folds), '', ' ').strip()}"
    if by == "patient" and name in _PERHAPS_PUBLISHED:
        unless = "; folds were dealt by patient, unless the data name a split of their own"
        return f"{of} was held out for validation{unless}"
    return f"{of}, dealt by {by}, was held out for validation"


def preparation_words(data: Part) -> str:
    """What happens to every case before it is augmented, in sentences; empty where the config does not say.

    Example:
        >>> image = {"size": [160, 160], "channels": 1, "mean": [0.5], "std": [0.5]}
        >>> preparation_words(Part("medimg.datamodules.ImageDataModule", {"image": image}))
        'Images were scaled to 160 x 160 pixels in one channel and normalised by mean 0.5 and standard deviation 0.5.'
    """
    parts = [_prepared(data.group("preparation")), _image(data.group("image")), _volume(data.group("volume"))]
    for key, value in data.group("images").items():
        one = as_part(value)
        if one is not None:
            said = _image(one.group("image")) or _volume(one.group("volume"))
            parts.append(f"for the input {key}, {said}" if said and len(data.group("images")) > 1 else said)
    return " ".join(sentence(part) for part in parts if part)


def _prepared(options: Mapping[str, Any]) -> str:
    spacing, window, mean_std = (options.get(key) for key in ("spacing_mm", "window_hu", "mean_std"))
    kinds = options.get("normalization")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds or [])
    done = [
        f"reoriented to {options['orientation']}" if options.get("orientation") else "",
        "cropped to their non-zero region" if options.get("crop_nonzero") is True else "",
        f"resampled to {times(spacing)} mm" if spacing else "",
        "kept at their own spacing" if "spacing_mm" in options and spacing is None else "",
    ]
    if kinds == ["ct"] and window and mean_std:
        done.append(f"clipped to {_range(window)} HU")
        done.append(
            f"standardised by mean {number(mean_std[0])} and standard deviation {number(mean_std[1])} HU"
        )
    elif len(set(kinds)) == 1:
        done.append(_NORMALISED.get(str(kinds[0]), f"normalised by {kinds[0]}"))
    elif kinds:
        done.append(f"normalised channel by channel ({joined(kinds)})")
    return _volumes_were(done)


def _volumes_were(done: Sequence[str]) -> str:
    given = [one for one in done if one]
    return f"volumes were {joined(given)}" if given else ""


def _image(options: Mapping[str, Any]) -> str:
    size, channels, window = (options.get(key) for key in ("size", "channels", "window"))
    mean, std = (options.get(key) for key in ("mean", "std"))
    done = []
    if isinstance(window, list | tuple) and window:
        pairs = window if isinstance(window[0], list | tuple) else [window]
        each = ", a channel each" if len(pairs) > 1 else ""
        done.append(f"windowed to {joined(map(_range, pairs))} in the unit of the files{each}")
    elif window == "range":
        done.append("scaled from their lowest and highest value")
    if size:
        kept = " with their proportions kept" if options.get("keep_aspect") is True else ""
        many = f" in {counted(channels, 'channel')}" if isinstance(channels, int) else ""
        done.append(f"scaled to {times(size)} pixels{kept}{many}")
    if mean and std:
        several = "s" if len(mean) > 1 else ""
        values = joined(map(number, mean)), joined(map(number, std))
        done.append(f"normalised by mean{several} {values[0]} and standard deviation{several} {values[1]}")
    return f"images were {joined(done)}" if done else ""


def _volume(options: Mapping[str, Any]) -> str:
    size, spacing, windows = (options.get(key) for key in ("size", "spacing_mm", "windows_hu"))
    kind = str(options.get("normalization") or "")
    done = [
        f"reoriented to {options['orientation']}" if options.get("orientation") else "",
        "cropped to their foreground" if options.get("crop") == "foreground" else "",
        f"resampled to {times(spacing)} mm" if spacing else "",
        f"{'cropped or padded' if spacing else 'brought'} to {times(size)} voxels" if size else "",
        f"windowed to {joined(map(_range, windows))} HU" if windows else "",
        "" if windows or not kind else _NORMALISED.get(kind, f"normalised by {kind}"),
    ]
    return _volumes_were(done)


def _range(pair: Sequence[Any]) -> str:
    return f"{number(pair[0])} to {number(pair[1])}"


def augmentation_words(data: Part) -> str:
    """How training cases are changed by chance, in sentences; empty where the config does not say.

    Example:
        >>> aug = {"class_path": "medimg.transforms.NNUNetAugmentation", "init_args": {"mirror_axes": [2]}}
        >>> augmentation_words(Part("medimg.datamodules.DecathlonDataModule", {"augmentation": aug}))
        'Training cases were augmented by the scheme of nnU-Net (NNUNetAugmentation, mirroring along W).'
    """
    inputs = [part for value in data.group("images").values() if (part := as_part(value)) is not None]
    found, off = [], False
    for owner in (data, *inputs):
        for key in ("augmentation", "transform"):
            off = off or (key in owner.args and owner.args[key] is None)
            part = owner.part(key)
            if part is not None:
                found.append(_augmentation(part))
    if not found:
        return "No augmentation was applied." if off else ""
    return sentence(f"training cases were augmented by {joined(dict.fromkeys(found))}")


def _augmentation(part: Part) -> str:
    if part.name == "AlbumentationsTransform":
        return _albumentations(part)
    names = {
        "NNUNetAugmentation": "the scheme of nnU-Net",
        "VolumeViews": "strong random views",
        "Augment3D": "random motions and changes of intensity",
    }
    details = [part.name] if part.name in names else []
    if part.text("modality"):
        details.append(f"for {part.text('modality').upper()}")
    if "mirror_axes" in part.args:
        axes = [_AXES[axis] for axis in part.items("mirror_axes") if axis in (0, 1, 2)]
        details.append(f"mirroring along {joined(axes)}" if axes else "no mirroring")
    for key, title in (("rotation_probability", "rotation"), ("scale_probability", "scaling")):
        if (chance := part.number(key)) is not None:
            details.append(f"{title} with probability {number(chance)}" if chance else f"no {title}")
    degrees = part.args.get("rotation_deg")
    if degrees and part.number("rotation_probability") != 0:
        angles = list(degrees) if isinstance(degrees, list | tuple) else [degrees]
        details.append(f"turns of at most {joined(map(number, angles))} degrees")
    if part.number("elastic_probability"):
        details.append(f"elastic deformation with probability {number(part.number('elastic_probability'))}")
    inside = ", ".join(details)
    return f"{names.get(part.name, part.name)}{f' ({inside})' if inside else ''}"


def _albumentations(part: Part) -> str:
    preset = part.text("preset")
    parts = [one for value in part.items("transforms") if (one := as_part(value)) is not None]
    named = [_TRANSFORMS.get(one.name, spelled(one.name)) for one in parts]
    pieces = [f'the preset "{preset}" of medimg'] if preset and preset != "none" else []
    return f"{joined([*pieces, *named]) or 'no transform'} (Albumentations)"


def batch_words(data: Part) -> str:
    """What a training batch is made of, in a sentence; empty where the config does not say.

    Example:
        >>> patches = {"size": [8, 64, 48], "batch_size": 4, "batches_per_epoch": 100}
        >>> batch_words(Part("medimg.datamodules.DecathlonDataModule", {"patches": patches}))
        'Each batch held four patches of 8 x 64 x 48 voxels, with 100 batches in an epoch.'
    """
    patches, batch = data.group("patches"), data.group("batch")
    size = as_number(patches.get("batch_size", batch.get("batch_size")))
    kind = ("patch", "patches") if patches else ("case", "cases")
    held = counted(int(size), *kind) if size is not None else ""
    of = f" of {times(patches['size'])} voxels" if patches.get("size") else ""
    more = []
    if (per_epoch := as_number(patches.get("batches_per_epoch"))) is not None:
        more.append(f"with {number(per_epoch)} batches in an epoch")
    if (share := as_number(patches.get("foreground"))) is not None:
        more.append(f"{round(100 * share)} % of the patches centred on a labelled voxel")
    if (views := as_number(batch.get("views"))) is not None and views > 1:
        more.append(f"{counted(int(views), 'view')} of each")
    if most := as_number(batch.get("max_images")):
        drawn = "consecutive " if batch.get("consecutive") is True else ""
        more.append(f"with at most {counted(int(most), f'{drawn}image')} of a case")
    if balance := as_number(batch.get("balance")):
        more.append("rare classes drawn " + ("as often as frequent ones" if balance == 1 else "more often"))
    said = f"each batch held {held or 'patches'}{of}" if held or of else ""
    return sentence(", ".join([said, *more])) if said else ""
