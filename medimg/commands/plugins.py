"""The plugins that a run adds to its config's: safe checkpoints, and a SLURM that leaves signals to us."""

from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from medimg.callbacks.checkpoint_io import SafeCheckpointIO


def complete_plugins(given: Any, strategy: Any) -> list[Any]:
    """The config's plugins and ours, each of ours unless the config names its own of that kind.

    Args:
        given: Value of ``trainer.plugins``: None, one plugin or a list.
        strategy: Value of ``trainer.strategy``: a name or a strategy.

    Returns:
        The config's plugins in their order, then ours.
    """
    plugins = list(given) if isinstance(given, list) else [] if given is None else [given]
    if not _is_sharded(strategy) and not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(SafeCheckpointIO())
    if not _names_environment(plugins, strategy) and _under_slurm():
        # By default Lightning answers SIGUSR1 with a checkpoint beside ours and a requeued job, which would
        # begin a new run. Without that the signal comes to GracefulStop, which saves last.ckpt.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def _is_sharded(strategy: Any) -> bool:
    """Whether a strategy writes one file a process in its own format; it refuses a plugin for that."""
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    return name.lower().startswith(("fsdp", "deepspeed", "modelparallel"))


def _names_environment(plugins: list[Any], strategy: Any) -> bool:
    # Lightning refuses an environment given in both places.
    return getattr(strategy, "cluster_environment", None) is not None or any(
        isinstance(plugin, ClusterEnvironment) for plugin in plugins
    )


def _under_slurm() -> bool:
    """Whether Lightning would take SLURM's ranks; torchrun's come first, inside a SLURM job too."""
    return not TorchElasticEnvironment.detect() and SLURMEnvironment.detect()
