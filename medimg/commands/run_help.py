"""The short help of the run verbs, printed without loading lightning."""

_WHAT = {
    "fit": "Train a model. Settings, checkpoints and metrics go to <logs>/<experiment>/version_<k>/.",
    "validate": "Score the validation cases on the original grid. Results land in <run>/validate/.",
    "test": "Score a trained model on the original grid, each case once. Results land in <run>/test/.",
    "predict": "Write one prediction a case. Results land in <run>/predict/.",
}

_EXAMPLE = {
    "fit": "medimg fit --config configs/hippocampus.yaml --data.root DATA --trainer.max_epochs 20",
    "validate": "medimg validate --config lightning_logs/hippocampus/version_0/config.yaml",
    "test": "medimg test --config lightning_logs/hippocampus/version_0/config.yaml --ckpt_path best",
    "predict": "medimg predict --config lightning_logs/hippocampus/version_0/config.yaml --ckpt_path best",
}

_OPTIONS = """\
  --config FILE            settings in YAML; several are laid over each other, later ones win
  --ckpt_path WHICH        best, last or a path; best and last need a run's own config.yaml
  --experiment NAME        folder of the run (default: the name of the first config)
  --logs DIR               folder of all runs (default: lightning_logs)
  --out DIR                validate, test, predict: folder for the predictions instead of the run's
  --probabilities true     validate, test, predict: also write <case>.npz with the probabilities
  --calibration FILE       test, predict: file of `medimg calibrate` that the probabilities go through
  --tta NAME               mirror, flips, mirror-rot90, xray, mammography, ultrasound, full or none
  --seed_everything N      seed of every random choice (default: 0)
  --trainer.max_epochs N   and every other argument of lightning's Trainer
  --model.ARG, --data.ARG  every argument of the task and of the data module in the config
  --trust-package PKG      let configs name classes of your own package PKG
  --print_config           print the complete settings and end
  --help-all               every option (hundreds of lines)
  --model.help CLASS       the arguments of a class, such as medimg.tasks.SegmentationTask
  --debug                  the full traceback of an error"""


def help_text(verb: str) -> str:
    """The options of a run verb that matter most, and how to see the others.

    Args:
        verb: ``fit``, ``validate``, ``test`` or ``predict``.

    Returns:
        Text that ends in a newline.
    """
    usage = f"usage: medimg {verb} --config FILE [options]"
    return "\n\n".join([usage, _WHAT[verb], _OPTIONS, f"example:\n  {_EXAMPLE[verb]}\n"])
