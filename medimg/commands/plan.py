"""``medimg plan``: a config from a data set and a memory budget."""

from pathlib import Path
from typing import Literal


def plan(
    data: Path,
    *,
    out: Path,
    memory_gb: float = 8.0,
    workers: int = 2,
    max_epochs: int = 1000,
    scheduler: str | None = None,
    form: Literal["agree", "sform", "qform"] = "agree",
    convention: str | None = None,
) -> int:
    """Measure a data set and write a config for it, with the reason beside each number.

    Spacing, patch, batch, network and normalisation follow nnU-Net's rules, for the memory of the GPU that will
    train. `medimg fit --config OUT` takes the config as it is; change in it whatever you know better.

    Args:
        data: Folder of the data set: Decathlon, nnU-Net or BraTS.
        out: Config to write; an existing file is never overwritten.
        memory_gb: Memory of the GPU in GB.
        workers: Local processes that measure cases.
        max_epochs: Epochs of 250 batches to write into the config.
        scheduler: Address of a Dask scheduler, such as tcp://10.0.0.1:8786, instead of local processes.
        form: Which affine to trust in files whose sform and qform differ; "agree" refuses them.
        convention: Meaning of BraTS masks where names do not tell it, such as brats2024-ped.
    """
    import shlex

    from medimg.datasets import index_dataset
    from medimg.errors import ConfigError
    from medimg.io.files import atomic_write
    from medimg.preparation.fingerprint import take_fingerprint
    from medimg.preparation.plan import make_plan
    from medimg.preparation.plan_config import output_names, render_config

    if out.exists():
        raise ConfigError(f"{out} exists, and may hold your changes: give another --out, or remove it")
    if max_epochs < 1:
        raise ConfigError(f"--max_epochs: expected at least 1, found {max_epochs}")
    index = index_dataset(data, convention=convention)
    fingerprint = take_fingerprint(index, form=form, workers=workers, scheduler=scheduler)
    names, regions = output_names(index)
    outputs = len(names) if regions else len(names) + 1
    numbers = make_plan(fingerprint, index.channels, outputs, memory_gb=memory_gb)
    text = render_config(
        index,
        fingerprint,
        numbers,
        memory_gb=memory_gb,
        max_epochs=max_epochs,
        form=form,
        convention=convention,
    )
    with atomic_write(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    size = " x ".join(map(str, numbers.network.patch))
    print(f"{index.name}: {len(index.records)} labelled cases, {', '.join(index.channels)}")
    print(
        f"spacing {list(numbers.spacing_mm)} mm (D, H, W), {', '.join(dict.fromkeys(numbers.normalization))}"
    )
    print(
        f"patch {size}, batch {numbers.batch_size}, {len(numbers.network.filters)} levels, "
        f"about {numbers.memory_gb:.1f} GB"
    )
    print(f"written with the reasons: {out}")
    print(f"next: medimg fit --config {shlex.quote(str(out))}")
    return 0
