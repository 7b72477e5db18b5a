"""``medimg adjudicate``: two readers a case, blind and balanced; a third where they differ; a trail of all of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: the readings are a list."""

PLAN = "plan.json"
_SHOWN = 10


def plan(
    cases: Path,
    *,
    readers: str,
    third: str,
    out: Path,
    labels: str | None = None,
    masks: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Give each case to two readers, blind and balanced, and write a worklist for each.

    Readers and pairs of readers get equal numbers of cases, within one, each reader in an order of their own. A folder
    a reader, named by a code, can be handed over as it is; plan.json names the readers and stays with you.

    Args:
        cases: A table with a column case_id; or, for masks, a folder of .nii.gz images.
        readers: Two names or more, such as anna,ben.
        third: Who decides where two differ.
        out: Folder to write to.
        labels: Labels to be filled in, such as mass,calcification; with their values, as in mass=no|yes,grade=1|2|3,
            nothing else is taken for an answer.
        masks: Or labels to be drawn and their values, such as tumour=1,organ=2.
        seed: Draws who reads what, and in which order.
        overwrite: Put another plan in place of the one there, which is kept as <out>.before-1.
    """
    if (labels is None) == (masks is None):
        raise ConfigError("say what is read: --labels mass,calcification or --masks tumour=1, one of them.")
    from medimg.curation import worklists
    from medimg.curation.adjudication import refuse_third
    from medimg.curation.adjudication_trail import write_folder, write_json
    from medimg.curation.adjudication_values import parse_values

    names = [name.strip() for name in readers.split(",")]
    found = {one.case_id: one for one in worklists.find_cases(cases)}
    given = worklists.assign(list(found), names, seed)
    refuse_third(third, set(names), seed)
    drawn = _values(masks) if masks is not None else {}
    if drawn and any(one.image is None for one in found.values()):
        raise ConfigError(
            f"--masks: expected a folder of .nii.gz images to draw on, found the table {cases}."
        )
    asked = parse_values(labels or "")
    codes = {name: worklists.code_of(name, seed) for name in names}

    def make(folder: Path) -> None:
        for name, code in codes.items():
            own = worklists.in_own_order([case for case, pair in given.items() if name in pair], name, seed)
            patients = {"patient_id": [found[case].patient_id for case in own]} if labels else {}
            columns = patients | {label: [""] * len(own) for label in asked}
            worklists.write_worklist(folder / code / worklists.WORKLIST, code, own, columns)
            if drawn:
                images = {case: image for case in own if (image := found[case].image) is not None}
                worklists.write_viewer_files(folder / code, images, drawn, home=out / code)
        facts = {
            "readers": codes,
            "third": third,
            "seed": seed,
            "labels": {label: list(values) for label, values in asked.items()},
            "cases": {key: list(one) for key, one in given.items()},
        }
        write_json(folder / PLAN, facts)

    changed = write_folder(out, make, overwrite=overwrite)
    print(f"{len(found)} cases, {len(names)} readers{'' if changed else '; nothing has changed'}")
    for name, code in codes.items():
        print(f"  {name}: {sum(name in pair for pair in given.values())} cases in {out / code}")
    ends = [shlex.quote(str(out / code / ("" if drawn else worklists.WORKLIST))) for code in codes.values()]
    named = f" --labels {shlex.quote(labels or '')}" if any(asked.values()) else ""
    more = f" --images {shlex.quote(str(cases))} --masks {shlex.quote(masks or '')}" if drawn else named
    more += f" --third {shlex.quote(third)}" + (f" --seed {seed}" if seed else "")
    print(f"next: medimg adjudicate conflicts {' '.join(ends)}{more} --out DIR")


def conflicts(
    readings: list[Path],
    *,
    out: Path,
    third: str,
    rule: str = "differs",
    labels: str = "",
    case: str = "",
    reader: str = "",
    images: Path | None = None,
    masks: str | None = None,
    hide_answers: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Find the cases on which readers differ, and write the third reader's worklist without their names.

    Args:
        readings: Tables with a row for each case and reader; or folders of masks, one a reader.
        out: Folder to write to.
        third: Who decides.
        rule: Labels differs or distance>D; masks differs, dice<D or lesion, which only one has; several joined by or.
        labels: Columns of the tables to compare, all others by default; with their values, as in mass=no|yes, any other
            answer is refused, of the third reader too.
        case: Column of the cases; by default case_id, case or image_id.
        reader: Column of the readers; by default reader, reader_id or rad_id.
        images: Folder of the images, for masks.
        masks: Labels of masks and their values, such as tumour=1.
        hide_answers: Do not show the third reader what the others said.
        seed: Draws the order of cases and of the answers A and B.
        overwrite: Replace other conflicts in the folder, which are kept as <out>.before-1.
    """
    from medimg.curation import adjudication
    from medimg.curation.adjudication_rules import parse_rule

    asked, checked = adjudication.Third(third, seed, hide_answers), parse_rule(rule)
    if all(path.is_dir() for path in readings):
        from medimg.curation.adjudication_masks import mask_conflicts, write_mask_conflicts
        from medimg.curation.worklists import find_cases

        if images is None or masks is None:
            raise ConfigError(
                "for masks say where their images lie and what they hold: --images DIR --masks tumour=1."
            )
        seen = {one.case_id: one.image for one in find_cases(images) if one.image is not None}
        content = mask_conflicts(readings, seen, _values(masks), checked, asked)
        write_mask_conflicts(out, content, asked, overwrite=overwrite)
    else:
        from medimg.curation.adjudication_values import parse_values
        from medimg.curation.readings import Columns

        values = parse_values(labels)
        content = adjudication.label_conflicts(
            readings, checked, asked, Columns(case, reader, tuple(values)), values
        )
        adjudication.write_label_conflicts(out, content, asked, overwrite=overwrite)
    found, missing = adjudication.in_conflict(content), adjudication.unread(content)
    print(
        f"{len(content['cases'])} cases: {len(found)} in conflict by '{rule}', "
        f"{len(missing)} with fewer than two readings"
    )
    for name in missing[:_SHOWN]:
        print(f"  not read twice: {name}")
    for label, counts in adjudication.count_words(content).items():
        print(f"  {label}: {', '.join(f'{word} {times}' for word, times in counts.items())}")
    from medimg.curation.worklists import code_of

    print(f"{third} reads {out / code_of(third, seed)}")
    print(f"next: medimg adjudicate apply {shlex.quote(str(out))} --out DIR")


def apply(conflicts: Path, *, out: Path, leave_out: bool = False, overwrite: bool = False) -> None:
    """Merge agreement and the third reader's decisions into labels for training, with a trail.

    Writes labels.csv, or masks/ on the images' grids, and trail.json: who said what, in which files (SHA-256),
    when they were saved, and by which rule. The same again changes nothing; a missing or double decision writes
    nothing.

    Args:
        conflicts: Folder that medimg adjudicate conflicts wrote, with the third reader's worklist filled in.
        out: Folder to write to.
        leave_out: Leave out the cases that nobody decided, or fewer than two read.
        overwrite: Replace other decisions in the folder, which are kept as <out>.before-1.
    """
    from medimg.curation.adjudication import TABLE, apply_labels
    from medimg.curation.adjudication_trail import TRAIL, read_conflicts
    from medimg.curation.worklists import MASKS, WORKLIST, code_of

    content = read_conflicts(conflicts)
    desk = conflicts / code_of(content["third"], content["seed"])
    if content["kind"] == "masks":
        from medimg.curation.adjudication_masks import apply_masks

        changed = apply_masks(content, desk, out, leave_out=leave_out, overwrite=overwrite)
        print(
            f"masks in {out / MASKS}, their trail in {out / TRAIL}{'' if changed else '; nothing has changed'}"
        )
        print("next: put them beside the images as labelsTr/, and medimg audit DIR")
        return
    changed = apply_labels(content, desk / WORKLIST, out, leave_out=leave_out, overwrite=overwrite)
    print(
        f"labels in {out / TABLE}, their trail in {out / TRAIL}{'' if changed else '; nothing has changed'}"
    )
    print(
        f"next: name {shlex.quote(str(out / TABLE))} as data.source.file of medimg.datasets.ImageTable, and medimg fit"
    )


def _values(text: str) -> Mapping[str, int]:
    from medimg.commands.score_masks import parse_labels

    found = parse_labels(text)
    several = [name for name, values in found.items() if len(values) != 1]
    if several:
        raise ConfigError(
            f"--masks: expected one value a label, such as tumour=1, found several for {several[0]}."
        )
    return {name: values[0] for name, values in found.items()}


adjudicate = {"plan": plan, "conflicts": conflicts, "apply": apply}
"""The sub-verbs."""
