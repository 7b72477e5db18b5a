"""What a config says of its data, read without building the run."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from medimg.datasets import index_dataset
from medimg.datasets.decathlon import index_decathlon
from medimg.datasets.nnunet import index_nnunet
from medimg.datasets.recognise import index_brain_tumours
from medimg.errors import ConfigError
from medimg.preparation.prepare import Preparation
from medimg.records import DatasetIndex

# What a data module does where its config leaves the preparation out.
_DEFAULTS = {"BraTSDataModule": Preparation(normalization=("zscore_nonzero",))}
_STORE = Path("prepared")


@dataclass(frozen=True, slots=True)
class DataSettings:
    """The part of a config that decides what the patch store holds.

    Attributes:
        data_module: Name of the data module's class, without its package.
        preparation: What every case goes through.
        store: Folder under which prepared cases are kept.
        convention: Label convention of BraTS masks, where the config names one.
    """

    data_module: str = ""
    preparation: Preparation = field(default_factory=Preparation)
    store: Path = _STORE
    convention: str | None = None

    def index(self, root: Path) -> DatasetIndex:
        """Index a folder as the config's data module would.

        Args:
            root: Folder of the data set.

        Raises:
            DataError: If the folder is no such data set.
        """
        match self.data_module:
            case "DecathlonDataModule":
                return index_decathlon(root)
            case "NNUNetDataModule":
                return index_nnunet(root)
            case "BraTSDataModule":
                return index_brain_tumours(root, convention=self.convention)
            case _:
                return index_dataset(root, convention=self.convention)


def read_data_settings(config: Path) -> DataSettings:
    """Read the ``data`` section of a config.

    Args:
        config: YAML of a run.

    Raises:
        ConfigError: If the file cannot be read or holds an option that ``Preparation`` does not have.
    """
    module, given = data_section(config)
    chosen = given.get("preparation") or {}
    try:
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in chosen.items()
        }
        preparation = replace(_DEFAULTS.get(module, Preparation()), **plain)
    except (AttributeError, TypeError, ConfigError) as error:
        raise ConfigError(f"{config}: data.init_args.preparation: {error}") from error
    store = Path(given.get("store") or _STORE)
    return DataSettings(module, preparation, store, given.get("convention"))


def data_section(config: Path) -> tuple[str, dict[str, Any]]:
    """The data module's class, without its package, and its arguments, as a config gives them.

    Args:
        config: YAML of a run.

    Raises:
        ConfigError: If the file cannot be read or has no such section.
    """
    try:
        data: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))["data"]
        return str(data["class_path"]).rpartition(".")[2], dict(data.get("init_args") or {})
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{config}: expected the config of a run with data.class_path and data.init_args, found {error!r}"
        ) from error
