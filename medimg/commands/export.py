"""``medimg export``: a trained network as ONNX or torch.export, checked against itself."""

from __future__ import annotations

import json
import shlex
import sys
import warnings
from pathlib import Path
from typing import Literal

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: the shape is a list."""

TOLERANCE = 1e-4
"""Largest difference that a check lets pass; relative where logits exceed 1."""

# Here and not where it is used first: the parser imports what a signature names, and --help would wait for torch.
Format = Literal["onnx", "torch-export"]
_SUFFIX = {"onnx": ".onnx", "torch-export": ".pt2"}


def export(
    source: Path,
    *,
    format: Format = "onnx",
    ckpt: Literal["best", "last"] = "best",
    shape: list[int] | None = None,
    out: Path | None = None,
    check: bool = True,
    trust_package: list[str] | None = None,
    overwrite: bool = False,
) -> int:
    """Write the network of a run as one file that runs without medimg, and compare the two.

    The file takes batches of any size and gives logits, as the network does before sliding windows and test-time
    augmentation. Beside it a JSON of the same name says what goes in and what comes out: shapes, normalisation,
    classes, and the checkpoint it was made from.

    Args:
        source: Folder of a run, or one of its checkpoints.
        format: ONNX, for onnxruntime and others, or torch-export, for torch alone.
        ckpt: Which checkpoint of a run's folder.
        shape: Input of one case without the batch: C H W, or C D H W; by default that of training.
        out: File to write; by default export/<checkpoint>.onnx or .pt2 in the run's folder.
        check: Run random input through the file and the network, and write nothing if they differ by more than 1e-4.
        trust_package: Your own packages whose classes the config names.
        overwrite: Replace the files.
    """
    _prepare(trust_package or [])
    from medimg.commands.export_source import find_checkpoint

    checkpoint, config = find_checkpoint(source, ckpt)
    target = out or config.parent / "export" / f"{checkpoint.stem}{_SUFFIX[format]}"
    _check_target(target, format, overwrite=overwrite)
    if format == "onnx":
        from medimg.commands.export_network import need_onnx

        need_onnx()
    return _export(checkpoint, config, target, format, shape, check=check)


def _check_target(target: Path, format: str, *, overwrite: bool) -> None:
    if target.suffix != _SUFFIX[format]:
        raise ConfigError(f"--out {target}: a file of {format} ends in {_SUFFIX[format]}. Give such a name.")
    for path in (target, target.with_suffix(".json")):
        if path.is_dir() or (path.exists() and not overwrite):
            raise ConfigError(f"{path}: is there already. Give another --out, or --overwrite.")


def _prepare(packages: list[str]) -> None:
    """Set what configs may name, and silence what nobody can act on, before torch is imported."""
    from medimg.commands.silence import silence
    from medimg.commands.trust import set_policy, split_trusted

    _, trusted = split_trusted([word for name in packages for word in ("--trust-package", name)])
    set_policy(trusted)
    # A note of torch to the authors of extensions, given while torchvision is imported.
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.interface` is deprecated")
    silence()


def _export(
    checkpoint: Path, config: Path, target: Path, format: Format, shape: list[int] | None, *, check: bool
) -> int:
    from medimg.commands.export_facts import describe, example, input_shape, write_facts
    from medimg.commands.export_network import difference_of, trace, write
    from medimg.commands.export_source import read_trained
    from medimg.io.files import atomic_write
    from medimg.runs import from_here

    trained = read_trained(checkpoint, config)
    module, inputs = example(trained, shape or input_shape(trained))
    program = trace(module, inputs)
    difference: float | None = None
    try:
        with atomic_write(target) as temporary:
            write(program, temporary, format)
            if check:
                difference = difference_of(temporary, format, trained.answer, inputs)
                if not difference <= TOLERANCE:
                    raise _DiffersError
    except _DiffersError:
        sys.stderr.write(
            f"The file's answer differs from the network's by {difference:.2g}, more than {TOLERANCE:g}: nothing was "
            "written. Try the other --format.\n"
        )
        return 1
    facts = describe(trained, target, format, inputs, difference, TOLERANCE)
    write_facts(facts, target.with_suffix(".json"))
    print(f"{type(trained.network).__name__} of {from_here(checkpoint)}")
    for name, value in facts["inputs"].items():
        print(f"input {name}: {' x '.join(map(str, value['shape']))}, {value['dtype']}")
    print(f"output logits: {' x '.join(map(str, facts['output']['shape']))}")
    if difference is not None:
        print(f"largest difference from the network on random input: {difference:.1e}")
    print(f"\nwritten: {from_here(target)} and {target.with_suffix('.json').name}")
    print(_next_line(from_here(target), format))
    return 0


class _DiffersError(Exception):
    """The file does not answer as the network does."""


def _next_line(target: Path, format: Format) -> str:
    file = json.dumps(str(target))  # double quotes, because the shell takes the single ones
    opened = (
        f"import onnxruntime; print(onnxruntime.InferenceSession({file}).get_inputs()[0])"
        if format == "onnx"
        else f"import torch; print(torch.export.load({file}).module())"
    )
    return f"next: python -c {shlex.quote(opened)}"
