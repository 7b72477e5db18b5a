"""``medimg explain``: heat maps of what a trained network's answers rest on, with tests of the maps."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: labels and cases are lists."""

# Here and not imported: the parser looks at what a signature names, and --help would wait for torch.
Method = Literal[
    "gradcam", "gradcam++", "hirescam", "integrated_gradients", "gradient_shap", "kernel_shap", "occlusion",
    "attention_rollout",
]  # fmt: skip
Baseline = Literal["blur", "zero", "min"]


def explain(
    source: Path,
    cases: Path,
    *,
    method: Method = "gradcam",
    labels: list[str] | None = None,
    layer: str | None = None,
    case: list[str] | None = None,
    limit: int = 20,
    out: Path | None = None,
    ckpt: Literal["best", "last"] = "best",
    baseline: Baseline = "blur",
    samples: int = 256,
    curve_steps: int = 20,
    sanity: bool = False,
    channel: int = 0,
    save_as: Literal["nifti", "seg.nrrd"] = "nifti",
    device: Literal["auto", "cpu"] = "auto",
    tensorboard: bool = False,
    trust_package: list[str] | None = None,
    overwrite: bool = False,
) -> int:
    """Draw what speaks for the answers of a trained network: labels of images, groups and volumes, or regions.

    Writes a folder a case with a picture an answer (and for volumes the heat map on the grid of the file), table.csv,
    and index.html, one page that needs no other file. Deletion and insertion areas say how well a map tells what the
    network uses.

    Args:
        source: Folder of a run, or one of its checkpoints.
        cases: Folder or file of images, as predict takes them; laid out as the run's data set, masks are drawn too.
        method: integrated_gradients, gradient_shap and occlusion need captum, kernel_shap needs shap.
        labels: Labels or regions; by default the most probable one and all above 0.5, and every predicted region.
        layer: Layer of a CAM by its name in the network; by default the last map.
        case: Ids of the cases to explain; by default the first ones.
        limit: Most cases; 0 takes all.
        out: Folder to write; by default explain/<method> in the run's folder.
        ckpt: Which checkpoint of a run's folder.
        baseline: What stands in for removed pixels, in curves, gradients and shap.
        samples: Samples of kernel_shap and gradient_shap.
        curve_steps: Steps of deletion and insertion; 0 leaves them out.
        sanity: Also draw each map with three sets of random weights; its rank correlation with them should be small.
        channel: Channel of the image that is drawn.
        save_as: Heat maps of volumes: nifti, or seg.nrrd with the hottest 10, 5 and 1 % as segments.
        device: auto takes the GPU if there is one.
        tensorboard: Also write the pictures as TensorBoard events.
        trust_package: Your own packages whose classes the config names.
        overwrite: Write into a folder that has files.
    """
    from medimg.commands.export import _prepare

    _prepare(trust_package or [])
    from medimg.commands.explain_cases import Cases
    from medimg.commands.explain_job import Job, summarise
    from medimg.commands.explain_task import check_task
    from medimg.commands.export_source import find_checkpoint, read_trained
    from medimg.explain import Settings
    from medimg.runs import from_here

    _check_numbers(limit=limit, samples=samples, curve_steps=curve_steps)
    checkpoint, config = find_checkpoint(source, ckpt)
    folder = out or config.parent / "explain" / method.replace("+", "p")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise ConfigError(f"{folder}: is there already. Give another --out, or --overwrite.")
    trained = read_trained(checkpoint, config)
    check_task(trained.task, labels)
    settings = Settings(method, layer, baseline=baseline, samples=samples)
    found = Cases(trained, cases, only=case, limit=limit)
    job = Job(folder, settings, labels, curve_steps, sanity, channel, save_as, tensorboard)
    rows = job.run(trained.task, found, source=str(from_here(checkpoint)), device=device)
    print("\n".join(summarise(rows, folder, cases=len(found), left_out=found.left_out)))
    return 0


def _check_numbers(**numbers: int) -> None:
    for name, value in numbers.items():
        lowest = 1 if name == "samples" else 0
        if value < lowest:
            raise ConfigError(f"--{name.replace('_', '-')}: expected {lowest} or more, found {value}")
