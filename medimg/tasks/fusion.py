"""Classification from several inputs at once."""

from contextlib import nullcontext
from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from medimg import keys
from medimg.errors import ConfigError
from medimg.models.fusion import FusionClassifier
from medimg.models.table_encoder import TableEncoder
from medimg.tasks.classification import ClassificationTask

_ARGUMENTS = ("image", "image_2", "table", "category", "text", "present")


class FusionTask(ClassificationTask):
    """Say for each case which labels it has, from images, a table and text.

    The arguments are those of `ClassificationTask`; the network is a `medimg.models.FusionClassifier`, and the data
    come from a `medimg.datamodules.FusionDataModule`. Statistics of the table are counted on the training cases when a
    fit begins. Test-time augmentation changes ``image`` alone.
    """

    def _check_settings(self, *, compile: bool) -> None:
        super()._check_settings(compile=compile)
        options = self.training_options
        if not isinstance(self.network, FusionClassifier):
            raise ConfigError(
                "medimg.tasks.FusionTask: expected a medimg.models.FusionClassifier as the network, found "
                f"{type(self.network).__name__}; a network of images alone goes with ClassificationTask"
            )
        if compile or self.pooling is not None or options.mixup_alpha or options.cutmix_alpha:
            raise ConfigError(
                "medimg.tasks.FusionTask: compile, pooling, mixup and cutmix are for images alone; leave them out"
            )

    def setup(self, stage: str) -> None:
        """Compare the inputs with the data's, and count the statistics of the table.

        Raises:
            ConfigError: If the network asks for what the data do not give.
        """
        super().setup(stage)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        network = self.fusion_network
        if absent := [name for name in network.branches if name not in getattr(data, "inputs", ())]:
            raise ConfigError(
                f"the network has branches for {', '.join(network.branches)}, and the data give "
                f"{', '.join(getattr(data, 'inputs', ())) or 'none of them'}: remove {', '.join(absent)} from "
                "model.init_args.network.init_args.branches, or name it in the data"
            )
        table = dict(network.branches.items()).get("table")
        if isinstance(table, TableEncoder):
            _expect_same_columns(table, data.schema)
        if stage == "fit":
            if self.trainer.ckpt_path is None:
                network.check_available()
            if isinstance(table, TableEncoder) and "table" not in data.drop:
                table.fit(torch.from_numpy(data.train_table).to(self.device))
            network.note_shapes(data.input_shapes)

    @property
    def fusion_network(self) -> FusionClassifier:
        """The network by its type."""
        assert isinstance(self.network, FusionClassifier)  # checked when it was built
        return self.network

    def _logits(self, batch: dict[str, Any]) -> Tensor:
        self._check_groups(batch)
        given = {name: batch.get(name) for name in _ARGUMENTS}
        return self._checked(self.network(**given))

    def _probs(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        if keys.IMAGE in batch:
            return super()._probs(batch)
        # Full precision where cases are scored, as for images; there is no image to be augmented.
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        with nullcontext() if fitting else torch.autocast(self.device.type, enabled=False):
            logits = self._logits(batch)
        return logits, self.probabilities(logits)


def _expect_same_columns(table: TableEncoder, schema: Any) -> None:
    own = (table.numeric, {name: tuple(values) for name, values in table.categorical.items()})
    data = (tuple(schema.numeric), {name: tuple(values) for name, values in schema.categorical.items()})
    if own[0] != data[0] or list(own[1].items()) != list(data[1].items()):
        raise ConfigError(
            f"the network's table has numeric {list(own[0])} and categorical {own[1]}, the data's has "
            f"{list(data[0])} and {data[1]}: name the same columns and values in the same order in both"
        )
