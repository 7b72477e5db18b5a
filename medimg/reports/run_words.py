"""How a config trains, what is kept of it, how it is applied and scored, in the words of a methods section."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medimg.reports.config_parts import Part, as_group, as_number, as_part
from medimg.reports.loss_words import loss_words, optimizer_words, schedule_words
from medimg.reports.wording import counted, joined, number, sentence, times

_PRECISIONS = {
    "32-true": "single precision",
    "32": "single precision",
    "64-true": "double precision",
    "bf16-mixed": "bfloat16 mixed precision",
    "bf16-true": "bfloat16 precision",
    "16-mixed": "float16 mixed precision",
    "16-true": "float16 precision",
}
_AXES = ("D", "H", "W")
_EMPTY = {
    "brats": "; empty classes were scored by the rule of BraTS",
    "one": "; a class empty in both prediction and reference scored a Dice of 1",
    "skip": "; cases took no part in the scores of classes that are empty in their reference",
}
_METRICS = {"auroc": "AUROC", "dice": "Dice", "loss": "loss", "probe_auroc": "AUROC of the linear probe"}


def training_words(model: Part, trainer: Mapping[str, Any], seed: object) -> str:
    """Loss, optimiser, schedule, length, clipping, precision and seed, in sentences.

    Args:
        model: The task.
        trainer: Options of Lightning's trainer.
        seed: Seed of everything.

    Example:
        >>> adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}}
        >>> model = Part("medimg.tasks.ClassificationTask", {"task": "binary", "optimizer": adam})
        >>> training_words(model, {"max_epochs": 100, "precision": "32-true"}, 0)
        'Training minimised binary cross-entropy (MaskedBCELoss) using Adam (learning rate 0.001) for 100 epochs.
        Training ran in single precision, with seed 0.'
    """
    loss, optimizer, schedule = loss_words(model), optimizer_words(model), schedule_words(model)
    minimised = f"minimised {loss}" if loss else "ran"
    length = _length(trainer)
    main = f"training {minimised}{f' using {optimizer}' if optimizer else ''}{f' {length}' if length else ''}"
    said = [main if loss or optimizer or length else ""]
    said += [
        f"the learning rate {schedule}" if schedule else "",
        _rates(model),
        _mixing(model),
        _steps(trainer),
    ]
    return " ".join(sentence(one) for one in [*said, _machine(trainer, seed)] if one)


def _length(trainer: Mapping[str, Any]) -> str:
    epochs, steps, limit = (
        as_number(trainer.get(key)) for key in ("max_epochs", "max_steps", "limit_train_batches")
    )
    parts = [f"for {counted(int(epochs), 'epoch')}"] if epochs is not None and epochs >= 0 else []
    if steps is not None and steps >= 0:
        parts.append(f"for at most {counted(int(steps), 'step')}")
    if limit is not None:
        share = (
            f"{number(100 * limit)} % of the" if isinstance(limit, float) else f"the first {number(limit)}"
        )
        parts.append(f"with {share} batches of each epoch")
    return " and ".join(parts)


def _rates(model: Part) -> str:
    rates = model.group("rates") or as_group(model.group("training").get("rates"))
    scale, decay = as_number(rates.get("backbone_lr_scale")), as_number(rates.get("layer_decay"))
    slow = (
        [f"the layers before the head learned at {number(scale)} times that rate"]
        if scale not in (None, 1)
        else []
    )
    slow += (
        [f"the rate fell by a factor of {number(decay)} from layer to layer"]
        if decay not in (None, 1)
        else []
    )
    return joined(slow)


def _mixing(model: Part) -> str:
    options = model.group("training")
    alphas = {"mixup": options.get("mixup_alpha"), "CutMix": options.get("cutmix_alpha")}
    mixed = [f"{name} (alpha {number(alpha)})" for name, alpha in alphas.items() if as_number(alpha)]
    said = [f"images were mixed by {joined(mixed)}"] if mixed else []
    if options.get("count_weights") is True:
        said.append("classes were weighted by their counts in the training fold")
    if weight := as_number(options.get("mask_weight")):
        loss = as_part(options.get("mask_loss"))
        said.append(
            f"a second loss of masks{f' ({loss.name})' if loss else ''} had the weight {number(weight)}"
        )
    return joined(said)


def _steps(trainer: Mapping[str, Any]) -> str:
    clip, many = (
        as_number(trainer.get("gradient_clip_val")),
        as_number(trainer.get("accumulate_grad_batches")),
    )
    what = "by value" if trainer.get("gradient_clip_algorithm") == "value" else "to a norm of"
    said = [f"clipped {what} {'at ' if what == 'by value' else ''}{number(clip)}"] if clip else []
    said += (
        [f"accumulated over {counted(int(many), 'batch', 'batches')}"]
        if many is not None and many > 1
        else []
    )
    return f"gradients were {joined(said)}" if said else ""


def _machine(trainer: Mapping[str, Any], seed: object) -> str:
    precision, devices, nodes = (trainer.get(key) for key in ("precision", "devices", "num_nodes"))
    named = _PRECISIONS.get(str(precision), f"precision {precision}")
    said = [f"in {named}"] if precision not in (None, "auto") else []
    said += (
        ["in bfloat16 mixed precision where the device has it, else in single"] if precision == "auto" else []
    )
    count = len(devices) if isinstance(devices, list) else as_number(devices)
    said += [f"on {counted(int(count), 'device')}"] if count is not None and count > 1 else []
    said += [f"on {counted(int(nodes), 'node')}"] if isinstance(nodes, int) and nodes > 1 else []
    seeded = f"with seed {seed}" if as_number(seed) is not None else ""
    return f"training ran {', '.join(filter(None, [joined(said), seeded]))}" if said or seeded else ""


def kept_words(trainer: Mapping[str, Any]) -> str:
    """Which weights are kept, in sentences; empty where the config does not say.

    Example:
        >>> kept_words({"callbacks": [{"class_path": "ModelCheckpoint",
        ...                            "init_args": {"monitor": "val/dice", "mode": "max"}}]})
        'The weights with the highest validation Dice were kept.'
    """
    said = []
    callbacks = trainer.get("callbacks")
    for part in map(as_part, callbacks if isinstance(callbacks, list) else [callbacks]):
        if part is None:
            continue
        match part.name:
            case "ModelCheckpoint":
                said.append(_checkpoint(part))
            case "EMAWeightAveraging":
                decay = part.number("decay")
                by = f" (decay {number(decay)})" if decay is not None else ""
                said.append(f"an exponential moving average of the weights{by} was kept")
            case "WeightAveraging" | "StochasticWeightAveraging":
                said.append("weights were averaged over the course of training")
            case "EarlyStopping":
                said.append(
                    f"training stopped early once the {_metric(part.text('monitor'))} no longer improved"
                )
    return " ".join(map(sentence, dict.fromkeys(said)))


def _checkpoint(part: Part) -> str:
    monitor = part.text("monitor")
    if not monitor:
        return "the weights of the last epoch were kept"
    return f"the weights with the {'highest' if part.text('mode') == 'max' else 'lowest'} {_metric(monitor)} were kept"


def _metric(name: str) -> str:
    stage, _, metric = name.rpartition("/")
    title = _METRICS.get(metric, metric.replace("_", " "))
    return f"{'validation' if stage == 'val' else stage} {title}".strip()


def inference_words(model: Part, tta: object = None) -> str:
    """How the network is applied to a case, in a sentence; empty where the config does not say.

    Args:
        model: The task.
        tta: Name of a preset that took the place of the config's test-time augmentation.

    Example:
        >>> flip = {"class_path": "medimg.inference.FlipTTA", "init_args": {"axes": ["horizontal"]}}
        >>> inference_words(Part("medimg.tasks.ClassificationTask", {"scoring": {"inferer": flip}}))
        'At test time the outputs were averaged over the input and its horizontal flips.'
    """
    outer = (
        model.part("final_inferer") or model.part("inferer") or as_part(model.group("scoring").get("inferer"))
    )
    chain = list(_wrapped(outer))
    views = [said for one in chain if (said := _view(one))]
    window = next((_window(one) for one in chain if one.name == "SlidingWindowInferer"), "")
    average = f"averaged over the input and its {joined(views)}" if views else ""
    if isinstance(tta, str):  # took the place of what the config has
        average = f'averaged over the views of the preset "{tta}"' if tta != "none" else ""
    if not window:
        return sentence(f"at test time the outputs were {average}") if average else ""
    return sentence(
        f"the network was applied in {window}{f', its outputs {average} at test time' if average else ''}"
    )


def _wrapped(inferer: Part | None) -> Iterator[Part]:
    """An inferer and those that it wraps, outer ones first."""
    while inferer is not None:
        yield inferer
        inferer = inferer.part("inferer")


def _window(part: Part) -> str:
    size, overlap = part.items("roi_size"), part.number("overlap")
    details = [f"overlap {number(overlap)}"] if overlap is not None else []
    details += ["Gaussian weights"] if part.text("mode") == "gaussian" else []
    inside = joined(details)
    return f"a sliding window{f' of {times(size)} voxels' if size else ''}{f' ({inside})' if inside else ''}"


def _view(part: Part) -> str:
    match part.name:
        case "SlidingWindowInferer" | "SimpleInferer":
            return ""
        case "MirrorTTA":
            axes = [_AXES[axis] for axis in part.items("axes") if axis in (0, 1, 2)]
            return (
                "" if part.args.get("axes") == [] else f"mirrorings{f' along {joined(axes)}' if axes else ''}"
            )
        case "RotationTTA":
            degrees = part.number("degrees")
            return f"rotations{f' by {number(degrees)} degrees' if degrees is not None else ''}"
        case "FlipTTA":
            return f"{joined(part.items('axes'))} flips".strip()
        case "Rot90TTA":
            return "quarter turns"
        case "ScaleTTA":
            factors = part.items("factors")
            return f"rescalings{f' by {joined(map(number, factors))}' if factors else ''}"
        case "CropTTA":
            return "crops"
        case name:
            return f"views of {name}"


def scoring_words(model: Part) -> str:
    """How cases are scored, in sentences; empty for tasks that are not known here.

    Example:
        >>> scoring_words(Part("medimg.tasks.SegmentationTask", {"scoring": {"empty": "brats"}}))
        'Cases were scored by Dice, the 95th percentile of surface distances and the normalised surface Dice on the grid
        of the source files; empty classes were scored by the rule of BraTS.'
    """
    scoring = model.group("scoring")
    match model.name if model.package == "medimg" else "":
        case "SegmentationTask" | "ImageSegmentationTask":
            said = _of_masks(scoring)
        case "ClassificationTask" | "FusionTask" | "StudyTask":
            said = _of_labels(model, scoring)
        case "MultiTargetTask":
            said = f"targets were scored each by its kind{_intervals(scoring)}"
        case "SimCLRTask" | "MoCoTask":
            said = "the frozen encoder was scored by a logistic regression on its features, fitted to the labelled "
            said += f"training cases{_intervals(model.group('probe'))}"
        case _:
            said = ""
    return sentence(said)


def _of_masks(scoring: Mapping[str, Any]) -> str:
    unit = str(scoring.get("unit") or "mm")
    tolerance = as_number(scoring.get("nsd_tolerance_mm", scoring.get("nsd_tolerance")))
    within = f" (tolerance {number(tolerance)} {unit})" if tolerance is not None else ""
    empty = _EMPTY.get(str(scoring.get("empty")), "")
    return (
        "cases were scored by Dice, the 95th percentile of surface distances and the normalised surface Dice"
        f"{within} on the grid of the source files{empty}"
    )


def _of_labels(model: Part, scoring: Mapping[str, Any]) -> str:
    exclusive = model.text("task") == "multiclass"
    kappa = "quadratic kappa" if scoring.get("ordinal") is True else "kappa"
    named = ["AUROC", "average precision", *(["accuracy", kappa] if exclusive else ["F1"])]
    rules = {"youden": "the Youden index", "f1": "F1"}
    chosen = rules.get(str(scoring.get("threshold"))) if not exclusive else None
    by = f"; beside 0.5, thresholds were chosen on validation by {chosen}" if chosen else ""
    return f"cases were scored by {joined(named)}, among others{_intervals(scoring)}{by}"


def _intervals(options: Mapping[str, Any]) -> str:
    draws = as_number(options.get("resamples"))
    return f", with 95 % intervals from {number(draws)} bootstrap resamples of patients" if draws else ""


def aim_words(model: Part) -> str:
    """What is learned, in a sentence.

    Example:
        >>> aim_words(Part("medimg.tasks.ClassificationTask", {"task": "binary", "classes": ["malignant"]}))
        'The model was trained to tell whether a case is labelled malignant.'
    """
    named = joined(model.items("classes"))
    match model.name if model.package == "medimg" else "":
        case "SegmentationTask" | "ImageSegmentationTask" if named:
            regions = model.text("head") == "sigmoid"
            kind = ("region" if regions else "class") + (
                "" if len(model.items("classes")) == 1 else "s" if regions else "es"
            )
            aim = f"segment the {kind} {named}{', which may overlap' if regions else ''}"
        case "StudyTask" if named:
            count, slices = len(model.items("classes")), model.items("image_classes")
            aim = f"predict {counted(count, 'label')} of each study ({named})"
            aim += f" and {counted(len(slices), 'label')} of each slice ({joined(slices)})" if slices else ""
        case "ClassificationTask" | "FusionTask" if named:
            aim = _of_classes(model.text("task"), model.items("classes"))
        case "MultiTargetTask" if model.items("targets"):
            aim = f"predict {joined(map(_target, map(as_group, model.items('targets'))))} of each case"
        case "SimCLRTask":
            return "An encoder was pretrained without labels by SimCLR."
        case "MoCoTask":
            version = model.text("version")
            return f"An encoder was pretrained without labels by MoCo{f' {version}' if version else ''}."
        case _:
            return sentence(f"the model was trained as a {model.name}{f' for {named}' if named else ''}")
    return sentence(f"the model was trained to {aim}")


def _of_classes(task: str, classes: Sequence[Any]) -> str:
    match task:
        case "binary":
            return f"tell whether a case is labelled {joined(classes)}"
        case "multiclass":
            return f"assign each case to one of the classes {joined(classes, last='or')}"
        case _:
            return (
                f"predict {counted(len(classes), 'label')}, any number of which may hold ({joined(classes)})"
            )


def _target(target: Mapping[str, Any]) -> str:
    details = [str(target[key]) for key in ("kind", "unit") if target.get(key)]
    inside = ", ".join(details)
    return f"{target.get('name')}{f' ({inside})' if inside else ''}"
