"""``medimg deidentify``: identity out of DICOM, NIfTI, pictures and sidecars."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError

if TYPE_CHECKING:
    from medimg.curation.deidentify_folder import Job

PARSER = WordListParser
"""``medimg.cli`` reads the words with this parser: what is retained is a list."""

_SHOWN = 20


def deidentify(
    src: Path,
    dst: Path,
    *,
    key_file: Path,
    new_key: bool = False,
    profile: Literal["basic"] = "basic",
    retain: list[Literal["dates", "full_dates", "uids", "device", "patient", "institution"]] | None = None,
    boxes: Path | None = None,
    faces: Literal["defaced", "kept"] | None = None,
    mapping: Path | None = None,
    dry_run: bool = False,
    verify: bool = False,
    workers: int = 1,
) -> int:
    """Copy a folder of images without identity: DICOM, NIfTI, PNG, JPEG and sidecar JSON, their names too.

    What training needs is kept and all else goes; DICOM's Table E.1-1 (2024b) is the second check. UIDs, patient ids,
    file names and date shifts come from the key: the same key maps alike on every machine. The source is only read.
    Files that may show burned-in text, or a head, are refused until --boxes or --faces says what to do. A stopped run
    goes on where it was. Other kinds of files are left out. DST/deidentified.csv says what was done to each file.

    Args:
        src: Folder to read.
        dst: New folder to write.
        key_file: Secret of the project, readable by its owner alone. Whoever has it can recognise known patients.
        new_key: Make the key file first.
        profile: The basic profile of Table E.1-1.
        retain: What to leave as an exception: dates (shifted by one number of days a patient, intervals exact),
            full_dates, uids, device, patient (sex, age, size), institution.
        boxes: Table match,left,top,width,height: rectangles to blank in files by path below SRC (with *) or series UID;
            four empty fields say that someone looked and found no text.
        faces: Statement on heads in CT, MR and PET: their faces were removed, or are accepted.
        mapping: Table of original and new values to write, readable by its owner alone.
        dry_run: Write nothing, and say what would happen.
        verify: Then search every byte and name of the copy for anything that identified.
        workers: Local processes.
    """
    from medimg.curation.deidentify_dicom import Policy
    from medimg.curation.deidentify_folder import Job, check_folders, clean_folder
    from medimg.curation.deidentify_key import make_key, read_key
    from medimg.curation.deidentify_pixels import read_boxes

    kept = frozenset(retain or [])
    if {"dates", "full_dates"} <= kept:
        raise ConfigError("--retain: dates are either shifted (dates) or left (full_dates), not both.")
    check_folders(src, dst)
    _check_private(key_file, "--key_file", src, dst)
    if mapping is not None:
        _check_private(mapping, "--mapping", src, dst)
        if mapping.exists():
            raise ConfigError(f"--mapping {mapping}: exists already. Name another file.")
    policy = Policy(kept, faces, read_boxes(boxes) if boxes is not None else ())
    secret = make_key(key_file) if new_key else read_key(key_file)
    job = Job(src, dst, secret, policy, dry_run, mapping is not None)
    tally, reasons = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    first: dict[tuple[str, str], str] = {}
    pairs: set[tuple[str, str, str]] = set()
    for done in clean_folder(job, workers=workers):
        tally[done.kind, done.status] += 1
        pairs.update(done.mapping)
        if done.status != "written" and done.detail:
            reasons[done.status, done.note] += 1
            first.setdefault((done.status, done.note), done.detail)
    for (status, note), count in reasons.most_common(_SHOWN):
        others = f" (and {count - 1:,} more for the same reason)" if count > 1 else ""
        sys.stderr.write(f"{status}: {first[status, note]}{others}\n")
    if len(reasons) > _SHOWN:
        sys.stderr.write(f"and {len(reasons) - _SHOWN:,} more reasons\n")
    _summary(tally, job)
    if mapping is not None and not dry_run:
        _write_mapping(mapping, pairs)
        print(f"mapping written: {mapping}, which undoes the work: keep it as the key")
    clean = True
    if verify and not dry_run:
        clean = _verify(job, workers)
    refused = sum(count for (_, status), count in tally.items() if status == "refused")
    print(f"next: {_next(job, refused, clean=clean, verified=verify)}")
    return int(bool(refused) or not clean)


def _check_private(path: Path, option: str, src: Path, dst: Path) -> None:
    for folder in (src, dst):
        if folder.resolve() in path.resolve().parents:
            raise ConfigError(
                f"{option} {path}: lies in {folder}, which is read or handed on. Keep it elsewhere."
            )


def _summary(tally: Counter[tuple[str, str]], job: Job) -> None:
    for (kind, status), count in sorted(tally.items()):
        word = f"would be {status}" if job.dry_run else status
        print(f"{kind:8} {word:18} {count:8,}")
    pictures = sum(tally[kind, "written"] for kind in ("NIfTI", "picture"))
    if pictures:
        print(
            f"look yourself: {pictures:,} NIfTI, PNG or JPEG files do not say what they show, so nobody checked "
            "them for burned-in text or faces"
        )
    if job.dry_run:
        print("nothing was written (--dry_run)")


def _verify(job: Job, workers: int) -> bool:
    from medimg.curation.deidentify_folder import verify_folder

    found = verify_folder(job, workers=workers)
    for name, places in found[:_SHOWN]:
        sys.stderr.write(f"found again: {name}: {', '.join(places)}\n")
    print(f"verified: originals found again in {len(found):,} files")
    return not found


def _write_mapping(path: Path, pairs: set[tuple[str, str, str]]) -> None:
    import csv

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "original", "new"])
        writer.writerows(sorted(pairs))


def _next(job: Job, refused: int, *, clean: bool, verified: bool) -> str:
    if not clean:
        return "do not hand on the files named above; report them to the authors without their content"
    if refused:
        return f"read the reasons above{'' if job.dry_run else f' and in {job.target}/deidentified.csv'}, and run again"
    again = "medimg deidentify with the same words"
    if job.dry_run:
        return f"{again} and without --dry_run"
    if not verified:
        return f"{again} and --verify"
    return f"medimg convert {shlex.quote(str(job.target))} --out {shlex.quote(f'{job.target}-nifti')}"
