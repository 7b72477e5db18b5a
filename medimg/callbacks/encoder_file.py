"""Start any task from the encoder of a self-supervised run, and find out whether it has seen what will be scored."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from medimg.errors import ConfigError
from medimg.models.encoder_file import encoder_facts, put_encoder, seen_names
from medimg.models.weights import read_weights

logger = logging.getLogger(__name__)


class EncoderWeights(Callback):
    """Put an ``encoder.safetensors`` into the part of the task's network that has its layers.

    For networks without an argument ``weights``: segmentation networks over encoders of timm, 2D networks that go
    slice by slice. A run that goes on from a checkpoint keeps the checkpoint's weights. Before anything is trained or
    scored, the cases and patients that the encoder was fitted to are compared with those of this run that validate
    or test.

    Args:
        path: The encoder; ``None`` when a network of medimg has read one itself and only the comparison is wanted.
        allow_seen: Go on with an encoder that has seen cases to be scored, with a warning; without their labels it
            may be meant so (transductive), and the scores then say nothing of new patients.
    """

    def __init__(self, path: Path | None = None, allow_seen: bool = False) -> None:
        self.path, self.allow_seen = path, allow_seen

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare, and load where a fit begins.

        Raises:
            ConfigError: If the encoder fits no part of the network, or has seen what will be scored.
        """
        network: Any = getattr(pl_module, "network", pl_module)
        read = [facts for part in pl_module.modules() if (facts := getattr(part, "pretraining", None))]
        facts = read[0] if read else {}
        if self.path is not None and self.path.is_file():
            facts = encoder_facts(self.path)
        if stage != "predict":
            self._compare(facts, trainer.datamodule)  # type: ignore[attr-defined]
        if stage == "fit" and trainer.ckpt_path is None and self.path is not None:
            where = put_encoder(network, read_weights(self.path), str(self.path))
            logger.info(
                "%s starts from %s (%s)",
                f"network.{where}" if where else "network",
                self.path,
                facts.get("method"),
            )

    def _compare(self, facts: dict[str, Any], data: Any) -> None:
        name = getattr(getattr(data, "index", None), "name", None)
        if not facts or name is None or not hasattr(data, "split_facts"):
            return
        held = data.split_facts()
        scored = {*held["validation"], *held["test"]}
        records = getattr(data.index, "all_records", getattr(data.index, "records", ()))
        patients = {record.patient_id for record in records if record.case_id in scored}
        if seen := seen_names(facts, name, scored | patients):
            text = (
                f"the encoder was trained on {len(seen)} of the cases or patients that this run validates or tests on, "
                f"such as {seen[0]} (fold {facts.get('fold')} of split {facts.get('whole')})"
            )
            if not self.allow_seen:
                raise ConfigError(
                    f"{text}: take the encoder of this run's own fold, or set allow_seen to true to have the run "
                    "marked"
                )
            logger.warning("LEAKY ENCODER: %s; scores of this run are too good to be quoted", text)
