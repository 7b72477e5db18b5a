"""Losses, optimisers and schedules of a config in the words of a paper's methods section."""

from collections.abc import Callable, Mapping

from medimg.reports.config_parts import Part, as_part
from medimg.reports.wording import counted, joined, number

_LOSSES = {
    "MaskedBCELoss": "binary cross-entropy",
    "WeightedCrossEntropyLoss": "cross-entropy",
    "DiceBCELoss": "soft Dice and binary cross-entropy",
    "DiceCELoss": "soft Dice and cross-entropy",
    "DiceFocalLoss": "soft Dice and the focal loss",
    "AsymmetricLoss": "the asymmetric loss",
    "FocalLoss": "the focal loss",
    "OrdinalLoss": "cross-entropy and the squared earth mover's distance between ordered classes",
    "RSNAPulmonaryEmbolismLoss": "the weighted log loss of the RSNA pulmonary embolism competition",
    "StudyLoss": "binary cross-entropy of the labels of studies and of slices",
    "ValueLoss": "the loss of standardised values",
}
_SETTINGS = {
    "gamma": "gamma",
    "alpha": "alpha",
    "gamma_neg": "gamma of negatives",
    "gamma_pos": "gamma of positives",
    "label_smoothing": "label smoothing",
    "image_weight": "weight of slices",
    "dice_weight": "weight of Dice",
    "ce_weight": "weight of cross-entropy",
    "bce_weight": "weight of cross-entropy",
    "emd_weight": "weight of the distance",
    "focal_weight": "weight of the focal loss",
}
# Of these a value of 0, and of those with "weight" one of 1, is what a reader expects without a word.
_QUIET = {"label_smoothing": 0} | {key: 1 for key in _SETTINGS if key.endswith("weight")}
# What a task takes where its config names nothing: medimg.tasks says so of each.
_DEFAULT_OPTIMIZERS = {
    "classification": Part("torch.optim.AdamW", {"lr": 3e-4, "weight_decay": 0.01}),
    "segmentation": Part("torch.optim.AdamW", {"lr": 1e-3, "weight_decay": 0.01}),
    "self_supervised": Part("torch.optim.AdamW", {"lr": 1e-3, "weight_decay": 1e-4}),
}


def loss_words(model: Part) -> str:
    """What a task minimises, by its class name too, where it has one; a task's own choice where none is named.

    Args:
        model: The task; of classes that are not known here only a loss that is named is told.

    Example:
        >>> loss = {"class_path": "medimg.losses.MaskedBCELoss", "init_args": {"label_smoothing": 0.1}}
        >>> loss_words(Part("medimg.tasks.ClassificationTask", {"loss": loss}))
        'binary cross-entropy (MaskedBCELoss, label smoothing 0.1)'
        >>> loss_words(Part("medimg.tasks.ClassificationTask", {"task": "multiclass"}))
        'cross-entropy (WeightedCrossEntropyLoss)'
    """
    named = model.part("loss") or default_loss(model)
    if named is not None:
        return _loss(named)
    words = _OWN_LOSSES.get(model.name)
    return words(model) if words is not None else ""


def default_loss(model: Part) -> Part | None:
    """The loss that a task of medimg takes where its config names none.

    Example:
        >>> default_loss(Part("medimg.tasks.SegmentationTask", {"head": "sigmoid"})).name
        'DiceBCELoss'
        >>> default_loss(Part("mylab.OtherTask")) is None
        True
    """
    match model.name if model.package == "medimg" else "":
        case "ClassificationTask" | "FusionTask":
            return _of_medimg(
                "WeightedCrossEntropyLoss" if model.text("task") == "multiclass" else "MaskedBCELoss"
            )
        case "SegmentationTask":
            return _of_medimg("DiceBCELoss" if model.text("head") == "sigmoid" else "DiceCELoss")
        case "ImageSegmentationTask":
            return _of_medimg("DiceCELoss")
        case "StudyTask":
            return _of_medimg("StudyLoss")
        case _:
            return None


def _of_medimg(loss: str) -> Part:
    return Part(f"medimg.losses.{loss}")


def own_parts(model: Part) -> list[Part]:
    """Loss, optimiser and schedule that a task of medimg takes by itself, where its config leaves them to it.

    A schedule and an optimiser count as left to the task only where a saved config says so.

    Example:
        >>> task = Part("medimg.tasks.ClassificationTask", {"task": "multiclass", "scheduler": None})
        >>> [part.name for part in own_parts(task)]
        ['WeightedCrossEntropyLoss', 'CosineSchedule']
    """
    loss = None if model.part("loss") else default_loss(model)
    parts = (loss, *(_own(model, key) for key in ("optimizer", "scheduler")))
    return [part for part in parts if part is not None]


def _own(model: Part, key: str) -> Part | None:
    given = model.part(key)
    if model.package != "medimg" or key not in model.args:
        return None
    if key == "scheduler" and given is None:
        return Part("medimg.tasks.CosineSchedule", {"eta_min": 0})
    if key == "optimizer" and given is not None and given.name == "default_optimizer":
        return _DEFAULT_OPTIMIZERS.get(given.path.split(".")[-2])
    return None


def optimizer_words(model: Part) -> str:
    """The optimiser with its settings; empty where the config names none.

    Example:
        >>> sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.99, "nesterov": True}}
        >>> optimizer_words(Part("Task", {"optimizer": sgd}))
        'SGD with Nesterov momentum (learning rate 0.01, momentum 0.99)'
    """
    optimizer = _own(model, "optimizer") or model.part("optimizer")
    if optimizer is None:
        return ""
    names = {"lr": "learning rate", "momentum": "momentum", "weight_decay": "weight decay"}
    given = {title: optimizer.number(key) for key, title in names.items()}
    settings = [f"{title} {number(value)}" for title, value in given.items() if value is not None]
    nesterov = " with Nesterov momentum" if optimizer.args.get("nesterov") is True else ""
    inside = ", ".join(settings)
    return f"{optimizer.name}{nesterov}{f' ({inside})' if inside else ''}"


def schedule_words(model: Part) -> str:
    """What becomes of the learning rate; empty where the config does not say.

    Example:
        >>> cosine = {"class_path": "medimg.tasks.CosineSchedule", "init_args": {"warmup": 0.1}}
        >>> schedule_words(Part("Task", {"scheduler": cosine}))
        'followed half a cosine after a linear warm-up over the first 10 % of the steps'
    """
    schedule = _own(model, "scheduler") or model.part("scheduler")
    if schedule is None:
        return ""
    warmup = schedule.number("warmup")
    after = f" after a linear warm-up over the first {number(100 * warmup)} % of the steps" if warmup else ""
    match schedule.name:
        case "CosineSchedule":
            end = schedule.number("eta_min")
            return f"followed half a cosine{f' down to {number(end)}' if end is not None else ''}{after}"
        case "PolynomialSchedule":
            power = schedule.number("power")
            return f"fell polynomially{f' with power {number(power)}' if power is not None else ''}{after}"
        case "MultiStepLR":
            steps, gamma = schedule.items("milestones"), schedule.number("gamma")
            by = f" by a factor of {number(gamma)}" if gamma is not None else ""
            return (
                f"was changed{by} after {joined(map(number, steps))} epochs"
                if steps
                else "followed MultiStepLR"
            )
        case name:
            return f"followed {name}"


def _loss(loss: Part) -> str:
    """A loss in words, with its class name and what was set."""
    settings = [
        f"{title} {number(value)}"
        for key, title in _SETTINGS.items()
        if (value := loss.number(key)) is not None and value != _QUIET.get(key)
    ]
    words = _LOSSES.get(loss.name)
    inner = {"studies": loss.part("loss"), "slices": loss.part("image_loss")}
    if loss.name == "StudyLoss" and any(inner.values()):
        words = joined(
            f"{_loss(one) if one else _LOSSES['MaskedBCELoss']} of {who}" for who, one in inner.items()
        )
    inside = ", ".join([*([loss.name] if words else []), *settings])
    return f"{words or loss.name}{f' ({inside})' if inside else ''}"


def _contrast(model: Part) -> str:
    temperature = model.number("temperature")
    at = f" at temperature {number(temperature)}" if temperature is not None else ""
    if model.name == "SimCLRTask":
        return f"the normalised temperature-scaled cross-entropy (NT-Xent){at}"
    size = model.number("queue_size") if model.text("version") != "v3" else None
    keys = f" against a queue of {counted(int(size), 'key')}" if size is not None else ""
    return f"the contrastive loss of MoCo (InfoNCE){at}{keys}"


def _of_targets(model: Part) -> str:
    own = [
        f"{_loss(part)} for {name}"
        for name, value in model.group("losses").items()
        if (part := as_part(value)) is not None
    ]
    named = f" ({joined(own)})" if own else ""
    balance = {
        "uncertainty": ", weighted by learned uncertainties",
        "fixed": ", with fixed weights",
    }.get(model.text("balance"), "")
    return f"the sum of the losses of all targets (TargetLoss){named}{balance}"


_OWN_LOSSES: Mapping[str, Callable[[Part], str]] = {
    "MoCoTask": _contrast,
    "MultiTargetTask": _of_targets,
    "SimCLRTask": _contrast,
}
