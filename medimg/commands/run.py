"""``medimg fit | validate | test | predict``: one Lightning run from one or more configs.

The verb's own settings (``--experiment``, ``--logs``, ``--ckpt_path``) are added to LightningCLI, and what
can be wrong is refused before data are read: class paths, checkpoints, and a folder that cannot be written.
"""

import os
import shlex
import traceback
from pathlib import Path
from typing import Any, Literal

from jsonargparse import set_parsing_settings
from lightning.fabric.plugins.precision.precision import _PRECISION_INPUT
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger

from medimg.callbacks import RunRecord
from medimg.callbacks.checkpoint_io import DamagedCheckpointError, load_checkpoint
from medimg.commands.interrupt import StopAfterStep
from medimg.commands.parser import ShortErrors
from medimg.commands.parts import check_parts
from medimg.commands.run_folder import RunFolderCallback
from medimg.commands.run_trainer import complete_settings, direct_predictions, network_line
from medimg.commands.run_tta import choose_tta
from medimg.commands.run_words import config_files, configs_first
from medimg.commands.silence import show_own_lines, silence
from medimg.commands.suggestions import shorten
from medimg.ensembling.calibration_file import Calibration, read_calibration
from medimg.errors import CheckpointError, ConfigError
from medimg.inference.presets import Preset
from medimg.io.mask_export import SaveAs
from medimg.runs import (
    BEST,
    CONFIG,
    LAST,
    RunFolder,
    discard_if_empty,
    find_run,
    from_here,
    new_version,
    newest_advice,
    next_version,
    probe_writable,
    resolve_checkpoint,
    versions,
)

VERSION_VARIABLE = "MEDIMG_RUN_VERSION"
"""How the first process tells those that Lightning starts for it which run they belong to."""

INTERRUPTED = 130

# Lightning switches remote configs on when it is imported; a config is a local file here.
set_parsing_settings(config_read_mode_fsspec_enabled=False)


class RunParser(ShortErrors, LightningArgumentParser):
    """Lightning's parser with short errors."""


class RunCLI(LightningCLI):
    """LightningCLI in subclass mode, for one verb.

    Args:
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
        words: Words after the verb.
        configs: The config files among them.
    """

    def __init__(self, verb: str, words: list[str], configs: list[Path]) -> None:
        self.verb = verb
        self.words = words
        self.configs = configs
        self.ckpt_path: Path | None = None
        self.source_run: RunFolder | None = None
        self.calibration: Calibration | None = None
        self.continues = False
        self.interrupt = StopAfterStep()
        self.run_folder: RunFolder | None = None
        try:
            self._build()
        except BaseException:
            self.give_back()
            raise

    def _build(self) -> None:
        super().__init__(
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            # Our samplers already give each process its share of the cases.
            trainer_defaults={"use_distributed_sampler": False},
            parser_class=RunParser,
            parser_kwargs={"allow_abbrev": False, "default_env": False, "prog": f"medimg {self.verb}"},
            auto_configure_optimizers=False,
            run=False,
        )

    @property
    def folder(self) -> RunFolder:
        """The run's folder, once the settings are read."""
        if self.run_folder is None:
            raise RuntimeError("The run's folder is chosen after the settings are parsed.")
        return self.run_folder

    def give_back(self) -> None:
        """Leave no empty folder behind when the run ends before it wrote anything."""
        if self.run_folder is not None and not self.continues and _is_first():
            discard_if_empty(self.run_folder)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Lightning's arguments, with ``auto`` as one more precision."""
        parser.add_class_arguments(
            Trainer, "trainer", skip={"precision"}, fail_untyped=False, instantiate=False, sub_configs=True
        )
        parser.add_argument(
            "--trainer.precision",
            type=_PRECISION_INPUT | Literal["auto"] | None,
            default=None,
            help="as in lightning; auto takes bf16-mixed where the device computes with it, else 32-true",
        )
        parser.set_defaults({f"trainer.{key}": value for key, value in self.trainer_defaults.items()})
        parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
        parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's folder and checkpoint."""
        parser.add_argument(
            "--experiment", type=str | None, default=None, help="folder of the run below --logs"
        )
        parser.add_argument("--logs", type=str, default="lightning_logs", help="folder of all runs")
        help_of = {
            "score_best": "fit: score the best checkpoint on the validation cases at the end",
            "probabilities": "validate, test and predict: also write <case>.npz with the probabilities",
            "out": "validate, test and predict: folder for the predictions instead of the run's",
            "calibration": "test and predict: file of `medimg calibrate` that the probabilities go through",
            "save_as": "predict: format of the masks; dicom-seg is for --data.predict_root DICOM_FOLDER",
            "tta": "test-time augmentation instead of the config's, everywhere but between epochs",
        }
        parser.add_argument("--score_best", type=bool, default=True, help=help_of["score_best"])
        parser.add_argument("--probabilities", type=bool, default=False, help=help_of["probabilities"])
        parser.add_argument("--out", type=Path | None, default=None, help=help_of["out"])
        parser.add_argument("--calibration", type=Path | None, default=None, help=help_of["calibration"])
        parser.add_argument("--save_as", type=SaveAs | None, default=None, help=help_of["save_as"])
        parser.add_argument("--tta", type=Preset | None, default=None, help=help_of["tta"])
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="best, last or a path")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse without Lightning's warning that the words were passed in."""
        self.config = parser.parse_args(self.words)

    def _parse_ckpt_path(self) -> None:
        """Keep the given config: a checkpoint must not change the settings."""

    def before_instantiate_classes(self) -> None:
        """Settle everything that can be wrong before anything is built."""
        if self.config.trainer.use_distributed_sampler:
            raise ConfigError(
                "trainer.use_distributed_sampler must stay false: the data modules already share the cases "
                "between processes, and Lightning's sampler would repeat some. Remove the line."
            )
        check_parts(self.config)
        self.calibration = self._read_calibration()
        if self.config.experiment is None:
            self.config.experiment = self.configs[0].stem if self.configs else "unnamed"
        self.source_run = next((run for path in self.configs if (run := find_run(path))), None)
        self.ckpt_path = self._find_checkpoint()
        self.continues = self.source_run is not None and not (self.verb == "fit" and self.ckpt_path is None)
        self.run_folder = self._choose_run_folder()

    def instantiate_classes(self) -> None:
        """Build the parts; a value that a part itself refuses is the config's fault."""
        try:
            super().instantiate_classes()
        except (TypeError, ValueError, MisconfigurationException) as fault:
            raise ConfigError(f"A part of the config cannot be built: {shorten(str(fault))}") from fault

    def _read_calibration(self) -> Calibration | None:
        path = self.config.calibration
        if path is not None and self.verb not in ("test", "predict"):
            raise ConfigError(f"--calibration is for test and predict, not for {self.verb}. Leave it away.")
        return None if path is None else read_calibration(Path(path))

    def _find_checkpoint(self) -> Path | None:
        which = self.config.ckpt_path
        logs, experiment = Path(self.config.logs), self.config.experiment
        if which is None and self.verb == "fit":
            return None
        if which is None:
            if self.source_run is None:
                raise CheckpointError(
                    f"`medimg {self.verb}` needs trained weights: give the config.yaml of a run, "
                    f"or --ckpt_path PATH. {newest_advice(logs, experiment)}"
                )
            which = BEST
            _say(f"No --ckpt_path given: taking the best checkpoint of {from_here(self.source_run.path)}.")
        path = resolve_checkpoint(self.source_run, which, logs=logs, experiment=experiment)
        try:
            # Read once ahead of time: a bad file is refused before the data are prepared.
            load_checkpoint(path)
        except DamagedCheckpointError as fault:
            # For the last one SafeCheckpointIO takes the one before it, and says so. Taking other weights
            # in place of any other one would give another score under the same name.
            if path.stem != LAST:
                others = sorted(other.name for other in path.parent.glob("*.ckpt") if other != path)
                beside = ", ".join(others) or "no others"
                raise CheckpointError(f"{fault} Beside it stand: {beside}.") from fault
        return path

    def _choose_run_folder(self) -> RunFolder:
        """Go on in the folder of the given run, or take the next free one."""
        if self.continues and self.source_run is not None:
            if _is_first():
                probe_writable(self.source_run.path)
            return self.source_run
        # Absolute, because Lightning compares these paths with those in a checkpoint.
        logs, experiment = Path(self.config.logs).absolute(), self.config.experiment
        if _is_first():
            run = new_version(logs, experiment)
            os.environ[VERSION_VARIABLE] = str(run.version)
            return run
        if VERSION_VARIABLE in os.environ:
            return RunFolder(logs / experiment / f"version_{os.environ[VERSION_VARIABLE]}")
        # torchrun or SLURM: corrected once the processes are connected (RunFolderCallback, _score_best).
        existing = versions(logs, experiment)
        return existing[-1] if existing else next_version(logs, experiment)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer with this run's loggers, checkpoints and precision."""
        run = self.folder
        settings = complete_settings(dict(self.config_init.trainer), self.verb, run)
        callbacks: list[Callback] = settings["callbacks"]
        choose_tta(self.model, self.datamodule, self.config.tta)
        if self.verb != "fit":
            direct_predictions(
                callbacks,
                self.model,
                probabilities=self.config.probabilities,
                folder=self.config.out,
                calibration=self.calibration,
                save_as=self.config.save_as,
            )
        callbacks.append(self.interrupt)
        if not settings["fast_dev_run"]:
            callbacks.append(RunFolderCallback(run, self._settings_yaml(), self._settings_file(run)))
            callbacks.append(RunRecord(run.path))
        return Trainer(**settings)

    def _settings_yaml(self) -> str:
        """All settings but the checkpoint, which belongs to one call and not to the run."""
        settings = self.config.clone()
        settings.ckpt_path = settings.out = settings.calibration = settings.save_as = None
        text: str = self.parser.dump(settings, skip_none=False)
        return text

    def _settings_file(self, run: RunFolder) -> Path:
        if not self.continues:
            return run.config
        if self.verb != "fit":
            return run.path / self.verb / CONFIG
        # The config that began the run stays; what a resume changed is seen beside it.
        return run.path / f"resumed_{len(list(run.path.glob('resumed_*.yaml')))}.yaml"

    def start(self) -> int:
        """Run the verb.

        Returns:
            The exit status.
        """
        common: dict[str, Any] = {"model": self.model, "datamodule": self.datamodule, "weights_only": True}
        common["ckpt_path"] = None if self.ckpt_path is None else str(self.ckpt_path)
        try:
            match self.verb:
                case "fit":
                    _say(network_line(self.model))
                    self.trainer.fit(**common)
                    self._score_best(common)
                case "validate":
                    self.trainer.validate(**common, verbose=False)
                case "test":
                    self.trainer.test(**common, verbose=False)
                case "predict":
                    self.trainer.predict(**common, return_predictions=False)
        except SystemExit as leave:
            # This is how Lightning leaves after Ctrl-C.
            if self.interrupt.asked or (self.trainer.interrupted and leave.code == 1):
                return INTERRUPTED
            raise
        except MisconfigurationException as fault:
            raise ConfigError(shorten(str(fault))) from fault
        except (TypeError, ValueError) as fault:
            # An optimizer or a scheduler is built late, and then refuses its arguments.
            if _raised_in_building(fault):
                raise ConfigError(f"A part of the config cannot be built: {shorten(str(fault))}") from fault
            raise
        except RuntimeError as fault:
            if self.interrupt.asked:
                # Ctrl-C reaches the data workers too, and the loader misses them before the step ends.
                return INTERRUPTED
            if "loading state_dict" not in str(fault):
                raise
            raise CheckpointError(
                f"{self.ckpt_path} was made by another configuration:\n{shorten(str(fault))}"
            ) from fault
        if self.trainer.is_global_zero:
            self._say_what_next()
        return 0

    def _score_best(self, common: dict[str, Any]) -> None:
        """Score the best checkpoint on the validation cases, as the last thing that a fit shows."""
        strategy = self.trainer.strategy
        # The other processes of torchrun and SLURM have only guessed the folder, and must decide as the first.
        self.run_folder = RunFolder(Path(strategy.broadcast(str(self.folder.path))))
        best = self.folder.checkpoints / f"{BEST}.ckpt"
        finished = self.trainer.state.finished and not self.trainer.interrupted
        wanted = self.config.score_best and not self.config.trainer.fast_dev_run
        if strategy.broadcast(wanted and finished and best.is_file()):
            # The table goes into its own files; metrics.csv is the record of the training.
            self.trainer.loggers = [log for log in self.trainer.loggers if not isinstance(log, CSVLogger)]
            self.trainer.validate(**{**common, "ckpt_path": str(best)}, verbose=False)

    def _say_what_next(self) -> None:
        folder = from_here(self.folder.path)
        print(f"\nrun folder: {folder}")
        if self.verb == "fit":
            which = BEST if (self.folder.checkpoints / f"{BEST}.ckpt").is_file() else LAST
            print(f"next: medimg test --config {shlex.quote(str(folder / CONFIG))} --ckpt_path {which}")
            print(f"      tensorboard --logdir {shlex.quote(str(folder))}")


def _raised_in_building(fault: BaseException) -> bool:
    """Whether an exception came out of a class that the config named, while it was being built."""
    frames = traceback.walk_tb(fault.__traceback__)
    return any(frame.f_globals.get("__name__") == "jsonargparse._instantiation" for frame, _ in frames)


def _is_first() -> bool:
    """Whether this is the first process of the run, or the only one."""
    return _get_rank() in (None, 0)


def _say(text: str) -> None:
    if _is_first():
        print(text)


def run(verb: str, words: list[str]) -> int:
    """Run one verb.

    Args:
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
        words: Words after the verb.

    Returns:
        The exit status.
    """
    silence()
    show_own_lines()
    words = ["--help" if word == "--help-all" else word for word in words]
    try:
        cli = RunCLI(verb, configs_first(words), config_files(words))
        try:
            return cli.start()
        finally:
            cli.give_back()
    finally:
        os.environ.pop(VERSION_VARIABLE, None)
