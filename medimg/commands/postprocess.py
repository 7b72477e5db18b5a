"""``medimg postprocess``: mend predicted masks by rules and a dense CRF."""

from __future__ import annotations

import difflib
import shlex
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medimg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medimg.ensembling.description import Description
    from medimg.postprocessing.cases import CaseReport
    from medimg.postprocessing.dense_crf import CrfSettings
    from medimg.postprocessing.refine import Refinement
    from medimg.postprocessing.rules import Rule, RuleKind

    Classes = Mapping[str, tuple[int, ...]]


def postprocess(
    masks: Path,
    *,
    out: Path,
    keep_largest: str | None = None,
    min_volume: str | None = None,
    replace_small: str | None = None,
    fill_holes: str | None = None,
    fill_slices: str | None = None,
    inside: str | None = None,
    connectivity: Literal[6, 18, 26] = 26,
    rules: Path | None = None,
    labels: str | None = None,
    regions: str | None = None,
    search: bool = False,
    references: Path | None = None,
    empty: Literal["brats", "skip", "one"] = "brats",
    crf: Path | None = None,
    crf_weight: float = 3.0,
    crf_sigma_mm: float = 2.0,
    crf_sigma_value: float = 0.25,
    crf_smooth_weight: float = 0.5,
    crf_smooth_sigma_mm: float = 1.0,
    crf_iterations: int = 5,
    nest: str | None = None,
    probabilities: bool = False,
    part: Literal["test", "predict"] = "test",
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
) -> int:
    """Mend predicted masks: components, holes, small regions, a dense CRF.

    NAME is a class of predictions.json, --labels or --regions, a label value, or several joined by +. Rules
    apply in the order inside, keep_largest, min_volume, replace_small, fill_holes, fill_slices; a rule file has its
    own order. What is removed takes the label most common around it. Volumes of pictures are pixels.

    Args:
        masks: Folder of masks (NIfTI or PNG), or a run folder.
        out: Folder to write to.
        keep_largest: NAME,...: keep the largest component of each.
        min_volume: NAME=MM3,...: remove smaller components.
        replace_small: FROM:TO:MM3,...: in a case with less of FROM, all of it becomes TO, such as ET:NCR:200.
        fill_holes: NAME,...: fill the background that each encloses.
        fill_slices: NAME,...: the same, each slice along D by itself.
        inside: INNER:OUTER,...: remove components of INNER that touch nothing else of OUTER, such as TC:WT.
        connectivity: Neighbours that belong together: 6 across faces, 18 and edges, 26 and corners; in 2D 4, 8, 8.
        rules: Rules that --search wrote, in place of the options above.
        labels: Label values of the classes, such as NCR=1,ED=2,ET=3; 1+2 joins two.
        regions: Regions of a challenge: brats2018 to brats2023, brats2024-gli, brats2024-ped, decathlon-brats.
        search: Try rules on out-of-fold masks, and keep those that help patients who had no part in the choice.
        references: Folder of the reference masks, for --search.
        empty: What an empty mask scores in --search, as in `medimg score`.
        crf: Folder of the images: refine the probabilities (`<case>.npz`) by a dense CRF first.
        crf_weight: Weight of its appearance kernel: near voxels of like value agree; 0 leaves it out.
        crf_sigma_mm: How near, in mm (pixels in a picture); less than the size of what is segmented.
        crf_sigma_value: How alike, in standard deviations of the channel over voxels other than 0.
        crf_smooth_weight: Weight of its smoothness kernel: near voxels agree; 0 leaves it out.
        crf_smooth_sigma_mm: How near, in mm.
        crf_iterations: Rounds of mean field.
        nest: OUTER,...,INNER: let no region be more probable than the one around it, for regions that a
            network predicts by themselves (head sigmoid), such as WT,TC,ET.
        probabilities: Also write the refined `<case>.npz`.
        part: Predictions of a run folder to take.
        overwrite: Replace an earlier postprocessing in the output folder.
        workers: Processes that work on cases side by side.
        scheduler: Address of a Dask scheduler to send the cases to, such as tcp://host:port.
    """
    from medimg.commands.ensemble_search import check_unseen
    from medimg.commands.postprocess_search import find_rules
    from medimg.ensembling.members import find_member
    from medimg.ensembling.output import staged
    from medimg.postprocessing.cases import find_masks
    from medimg.postprocessing.output import check_out, clear_out, read_facts, write_facts

    member = find_member(masks, part=part)
    facts, files = read_facts(member.folder), find_masks(member.folder)
    classes = _classes(member.description, labels, regions)
    words: dict[RuleKind, str | None] = {
        "inside": inside,
        "keep_largest": keep_largest,
        "min_volume": min_volume,
        "replace_small": replace_small,
        "fill_holes": fill_holes,
        "fill_slices": fill_slices,
    }
    chosen = _rules(words, rules, classes, connectivity, search=search)
    refined = crf is not None or nest is not None
    if search:
        check_unseen([member], "rules", "--rules")
    _check_options(
        chosen,
        search=search,
        references=references,
        refined=refined,
        probabilities=probabilities,
    )
    settings = None
    if crf is not None:
        numbers = (crf_smooth_weight, crf_smooth_sigma_mm, crf_weight, crf_sigma_mm, crf_sigma_value)
        settings = _crf(*numbers, crf_iterations)
    sources = [path for path in (masks, member.folder, references, crf) if path is not None]
    check_out(out, sources, overwrite=overwrite)
    own: Mapping[str, Sequence[Rule]] = {}
    with staged(out) as folder:
        if search and references is not None:
            objective = _objective(member.description, labels, regions)
            chosen, own = find_rules(files, references, objective, classes, empty, folder, workers, scheduler)
        relabel = None
        if refined:
            relabel = _refinement(
                member.description, member.folder, crf, settings, nest, folder if probabilities else None
            )
        chains = {case: own.get(case, chosen) for case in files}
        reports = _mend(files, chains, folder, relabel, workers, scheduler)
        how: dict[str, Any] = {"source": str(member.folder), "rules": [asdict(rule) for rule in chosen]}
        how["crf"] = asdict(settings) if settings is not None else None
        write_facts(folder, facts, reports, how)
        clear_out(out)
    _report(reports, chosen, out)
    print(_next_step(out, labels, regions, classes, search=search))
    return 0


def _classes(description: Description, labels: str | None, regions: str | None) -> Classes:
    """Label values of every name that a rule may use."""
    from medimg.commands.score_masks import parse_labels
    from medimg.scoring.regions import BRATS_REGIONS

    classes: dict[str, tuple[int, ...]] = {}
    # The labels of a sigmoid head are what is written last into a region, and not what the region consists of.
    if description.labels and description.head != "sigmoid":
        classes |= {name: (value,) for name, value in description.labels.items()}
    if labels is not None:
        classes |= parse_labels(labels)
    if regions is not None:
        if regions not in BRATS_REGIONS:
            near = difflib.get_close_matches(regions.lower(), BRATS_REGIONS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"--regions {regions}: expected one of {', '.join(BRATS_REGIONS)}.{hint}")
        classes |= BRATS_REGIONS[regions]
    return classes


def _objective(description: Description, labels: str | None, regions: str | None) -> Classes:
    """The classes whose mean Dice the search raises."""
    # Of labels and regions together, the regions are what is scored, and the labels names for rules.
    classes = _classes(replace(description, labels=None), None if regions else labels, regions)
    classes = classes or _classes(description, None, None)
    if not classes:
        raise ConfigError("--search: say what to score: --regions brats2023, or --labels kidney=1,tumour=2.")
    return classes


def _rules(
    words: Mapping[RuleKind, str | None],
    file: Path | None,
    classes: Classes,
    connectivity: Literal[6, 18, 26],
    *,
    search: bool,
) -> tuple[Rule, ...]:
    from medimg.postprocessing.rule_words import parse_rules
    from medimg.postprocessing.rules import read_rules

    given = [f"--{kind}" for kind, text in words.items() if text is not None]
    if given and (file is not None or search):
        other = "--search" if search else "--rules"
        raise ConfigError(f"{given[0]} and {other}: rules come from one place only. Leave one of them away.")
    if file is not None and search:
        raise ConfigError("--rules and --search: rules are read or searched. Leave one of them away.")
    return read_rules(file) if file is not None else parse_rules(words, classes, connectivity=connectivity)


def _check_options(
    rules: Sequence[Rule],
    *,
    search: bool,
    references: Path | None,
    refined: bool,
    probabilities: bool,
) -> None:
    if search != (references is not None):
        raise ConfigError("--search and --references DIR belong together: give both or none.")
    if search and refined:
        raise ConfigError(
            "--search takes masks as they are: write those of --crf or --nest first, then search there."
        )
    if probabilities and not refined:
        raise ConfigError("--probabilities: rules change masks only. Add --crf or --nest, or leave it away.")
    if not (rules or search or refined):
        raise ConfigError(
            "nothing to do: give a rule such as --keep_largest 1, --rules FILE, --search with --references DIR, "
            "or --crf IMAGES."
        )


def _crf(
    smooth_weight: float,
    smooth_sigma_mm: float,
    weight: float,
    sigma_mm: float,
    sigma_value: float,
    iterations: int,
) -> CrfSettings:
    from medimg.postprocessing.dense_crf import CrfSettings

    try:
        return CrfSettings(smooth_weight, smooth_sigma_mm, weight, sigma_mm, sigma_value, iterations)
    except ValueError as error:
        raise ConfigError(f"--crf_...: {error}.") from error


def _refinement(
    description: Description,
    folder: Path,
    images: Path | None,
    settings: CrfSettings | None,
    nest: str | None,
    out: Path | None,
) -> Refinement:
    from medimg.ensembling.averages import labels_of
    from medimg.ensembling.description import channel_scheme
    from medimg.postprocessing.refine import Refinement

    scheme = channel_scheme(description)
    order: tuple[int, ...] = ()
    if nest is not None:
        names, known = nest.split(","), description.classes or ()
        if (
            scheme.head != "sigmoid"
            or not set(names) <= set(known)
            or len(set(names)) != len(names)
            or len(names) < 2
        ):
            raise ConfigError(
                f"--nest {nest}: expected two or more of the regions of predictions.json (head sigmoid), found head "
                f"{scheme.head} and classes {', '.join(known) or 'none'}. The regions of a label map nest already; "
                "--inside removes inner parts that stand alone."
            )
        order = tuple(known.index(name) for name in names)
    return Refinement(
        folder=folder,
        to_labels=partial(labels_of, scheme=scheme),
        exclusive=scheme.head == "softmax",
        images=images,
        crf=settings,
        nest=order,
        out=out,
    )


def _mend(
    files: Mapping[str, Path],
    chains: Mapping[str, Sequence[Rule]],
    folder: Path,
    relabel: Refinement | None,
    workers: int,
    scheduler: str | None,
) -> list[CaseReport]:
    from medimg.parallel import map_cases, raise_failures

    mend = partial(_mend_one, out=folder, relabel=relabel)
    items = [(case, path, chains[case]) for case, path in files.items()]
    return raise_failures(map_cases(mend, items, names=list(files), workers=workers, scheduler=scheduler))


def _mend_one(work: tuple[str, Path, Sequence[Rule]], *, out: Path, relabel: Refinement | None) -> CaseReport:
    from medimg.postprocessing.cases import mend_case

    case, path, rules = work
    return mend_case((case, path), rules=rules, out=out, relabel=relabel)


def _report(reports: Sequence[CaseReport], rules: Sequence[Rule], out: Path) -> None:
    for number, rule in enumerate(rules, start=1):
        print(f"rule {number}: {rule}")
    changed = [report for report in reports if report.changed]
    voxels = sum(report.changed for report in changed)
    print(f"{len(changed)} of {len(reports)} masks changed, {voxels:,} voxels: {out}")
    emptied = [report.case_id for report in reports if report.emptied]
    if emptied:
        shown = ", ".join(emptied[:5]) + (", ..." if len(emptied) > 5 else "")
        sys.stderr.write(f"warning: {len(emptied)} of {len(reports)} masks are empty now: {shown}\n")


def _next_step(out: Path, labels: str | None, regions: str | None, classes: Classes, *, search: bool) -> str:
    from medimg.postprocessing.rules import RULES_FILE

    if search:
        file = shlex.quote(str(out / RULES_FILE))
        return f"next: medimg postprocess TEST_PREDICTIONS --rules {file} --out FOLDER"
    what = f"--regions {regions}" if regions is not None else "--labels NAME=VALUE"
    if regions is None and classes:
        text = labels or ",".join(f"{name}={'+'.join(map(str, values))}" for name, values in classes.items())
        what = f"--labels {shlex.quote(text)}"
    return f"next: medimg score {shlex.quote(str(out))} REFERENCES {what}"
