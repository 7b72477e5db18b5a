"""A folder without identity: every file in parallel, its name too, with a table of what was done to each."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from medimg import __version__
from medimg.curation.deidentify_dicom import Policy, clean_dicom, write_dicom
from medimg.curation.deidentify_json import clean_json
from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_nifti import clean_nifti
from medimg.curation.deidentify_picture import JPEG_MAGIC, PNG_MAGIC, clean_picture
from medimg.curation.deidentify_streams import LeftOut, Refused
from medimg.curation.deidentify_table import EDITION
from medimg.curation.deidentify_verify import Originals, find_originals, originals_of, violations
from medimg.errors import ConfigError, DataError, MedimgError
from medimg.io.dicom.parse import header_warnings, is_dicom, open_dataset
from medimg.io.files import atomic_write, inside
from medimg.parallel import Outcome, map_cases

REPORT = "deidentified.csv"
_JOURNAL = "deidentified.partial.csv"
_COUNTED = ("dropped", "emptied", "replaced", "uids", "dates", "kept")
_COLUMNS = ("file", "kind", "status", *_COUNTED, "note", "settings", "source")
_SUFFIXES = {"DICOM": ".dcm", "JSON": ".json"}


@dataclass(frozen=True, slots=True)
class Job:
    """What every file needs to know.

    Attributes:
        source: Folder to read.
        target: Folder to write.
        secret: The project's key.
        policy: What was asked for.
        dry_run: Whether to write nothing.
        mapping: Whether to hand back which original became what.
    """

    source: Path
    target: Path
    secret: Secret
    policy: Policy
    dry_run: bool = False
    mapping: bool = False

    def settings(self) -> str:
        """A keyed mark of all that decides what a file becomes: work done under another is done again."""
        boxes = sorted(map(repr, self.policy.boxes))
        text = repr((__version__, EDITION, sorted(self.policy.retain), self.policy.faces, boxes))
        return self.secret.digest("settings", text).hex()[:16]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a file.

    Attributes:
        file: New name below the target folder; nothing of the old one is in it.
        kind: ``DICOM``, ``NIfTI``, ``picture``, ``JSON`` or ``other``.
        status: ``written``, ``left out`` or ``refused``.
        counts: How often what was done.
        note: Why it was not written, without a value of the file.
        detail: The same with the source's path, for the terminal alone.
        mapping: Kind, original and new value, where they were asked for.
        source: Keyed mark of the source's size and time.
    """

    file: str
    kind: str
    status: str
    counts: Counter[str] = field(default_factory=Counter)
    note: str = ""
    detail: str = ""
    mapping: tuple[tuple[str, str, str], ...] = ()
    source: str = ""


def list_files(source: Path) -> list[str]:
    """Every file below a folder, as paths with ``/``; links to folders are not followed."""
    found = []
    for folder, _, names in os.walk(source):
        found += [(Path(folder) / name).relative_to(source).as_posix() for name in names]
    return sorted(found)


def new_name(secret: Secret, name: str, kind: str) -> str:
    """Replace each part of a path by a keyed hash: alike everywhere, so that image, mask and sidecar still fit.

    Example:
        >>> one = new_name(Secret(bytes(16)), "images/doe_1.nii.gz", "NIfTI")
        >>> two = new_name(Secret(bytes(16)), "labels/doe_1.nii.gz", "NIfTI")
        >>> one.split("/")[0] == two.split("/")[0], one.split("/")[1] == two.split("/")[1], one.endswith(".nii.gz")
        (False, True, True)
    """
    *folders, last = PurePosixPath(name).parts
    low = last.lower()
    suffix = _SUFFIXES.get(kind, "")
    if kind == "NIfTI":
        suffix = ".nii.gz" if low.endswith(".gz") else ".nii"
    if kind == "picture":
        suffix = ".png" if low.endswith("png") else ".jpg"
    stem = last[: -len(suffix)] if suffix and low.endswith(suffix) else _stem(last, kind)
    return "/".join([secret.name("N", part) for part in folders] + [secret.name("N", stem) + suffix])


def _stem(last: str, kind: str) -> str:
    # Slices are often numbered in place of a suffix (1.2.3.17), so only known ones are cut off.
    known = {"DICOM": (".dicom", ".ima"), "picture": (".jpeg",)}.get(kind, ())
    return next((last[: -len(end)] for end in known if last.lower().endswith(end)), last)


def process(name: str, job: Job) -> Done:
    """Clean one file; a refusal is an outcome, not an error.

    Args:
        name: Path below the source folder.
        job: What every file needs to know.
    """
    kind, counts = "other", Counter[str]()
    mapping: list[tuple[str, str, str]] = []
    mark = ""
    try:
        path = inside(job.source, name)
        mark = _mark(path, job.secret)
        kind = _kind(path)
        clean = _CLEANERS.get(kind)
        if clean is None:
            raise LeftOut("a kind of file that medimg does not know; it may hold anything")
        target = job.target / new_name(job.secret, name, kind)
        counts, mapping = clean(path, name, target, job)
    except LeftOut as reason:
        status, note, detail = "left out", str(reason), f"{name}: {reason}"
    except Refused as error:
        status, note, detail = "refused", str(error), f"{name}: {error}"
    except (MedimgError, OSError) as error:
        status, note, detail = "refused", "cannot be read: damaged, or no such file", f"{name}: {error}"
    except Exception as error:  # a parser's own fault on a damaged header; its text may hold a value
        status, note, detail = "refused", f"cannot be read ({type(error).__name__})", f"{name}: {error}"
    else:
        status, note, detail = "written", "", ""
    file = new_name(job.secret, name, kind)
    pairs = (*mapping, ("file", name, file)) if job.mapping else ()
    return Done(file, kind, status, counts, note, detail, pairs, mark)


def _mark(path: Path, secret: Secret) -> str:
    state = path.stat()
    return secret.digest("source", f"{state.st_size} {state.st_mtime_ns}").hex()[:16]


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    low = path.name.lower()
    if low.endswith((".nii", ".nii.gz", ".hdr")):
        return "NIfTI"
    if head.startswith((PNG_MAGIC, JPEG_MAGIC)):
        return "picture"
    if low.endswith(".json"):
        return "JSON"
    return "DICOM" if is_dicom(path) else "other"


_Cleaned = tuple[Counter[str], list[tuple[str, str, str]]]


def _dicom(path: Path, name: str, target: Path, job: Job) -> _Cleaned:
    cleaned, syntax, counts, original = clean_dicom(path, name, job.secret, job.policy)
    mapping: list[tuple[str, str, str]] = []
    if job.mapping:
        for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            mapping.append((keyword, str(original.get(keyword, "")), str(cleaned.get(keyword, ""))))
    if not job.dry_run:
        with atomic_write(target, durable=False) as temporary:
            write_dicom(temporary, cleaned, syntax)
    return counts, mapping


def _nifti(path: Path, name: str, target: Path, job: Job) -> _Cleaned:
    if job.dry_run:
        return Counter(), []
    with atomic_write(target, durable=False) as temporary:
        cleared = clean_nifti(path, temporary)
    return Counter(emptied=cleared), []


def _bytes(path: Path, name: str, target: Path, job: Job, *, kind: str) -> _Cleaned:
    content = path.read_bytes()
    counts: Counter[str] = Counter()
    if kind == "JSON":
        cleaned, counts["dropped"] = clean_json(content)
    else:
        cleaned = clean_picture(content)
        counts["dropped"] = int(len(cleaned) != len(content))
    if not job.dry_run:
        with atomic_write(target, durable=False) as temporary:
            temporary.write_bytes(cleaned)
    return counts, []


_CLEANERS: dict[str, Callable[[Path, str, Path, Job], _Cleaned]] = {
    "DICOM": _dicom,
    "NIfTI": _nifti,
    "picture": partial(_bytes, kind="picture"),
    "JSON": partial(_bytes, kind="JSON"),
}


def clean_folder(job: Job, *, workers: int = 1) -> Iterator[Done]:
    """Clean every file of a folder; a stopped run goes on where it was.

    The table ``deidentified.csv`` in the target folder says what was done to each file, under its new name.

    Args:
        job: Folders, key and policy.
        workers: Local processes. The key goes to them through a pipe and is not sent to other machines.

    Yields:
        What became of each file, those of an earlier run first.

    Raises:
        ConfigError: If source and target lie within each other, or the target holds something else.
    """
    check_folders(job.source, job.target)
    names = list_files(job.source)
    if not names:
        raise ConfigError(f"{job.source}: holds no file. Give the folder of the images.")
    settings = job.settings()
    before = {} if job.mapping or job.dry_run else _read_table(job.target, settings)
    kept = {name: done for name in names if (done := _unchanged(name, job, before)) is not None}
    yield from kept.values()
    todo = [name for name in names if name not in kept]
    outcomes = map_cases(partial(process, job=job), todo, workers=workers, label="files")
    if job.dry_run:
        yield from (_value(outcome) for outcome in outcomes)
        return
    job.target.mkdir(parents=True, exist_ok=True)
    journal = job.target / _JOURNAL
    with journal.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_row(done, settings) for done in kept.values())
        for outcome in outcomes:
            done = _value(outcome)
            writer.writerow(_row(done, settings))
            file.flush()
            yield done
    head, *lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    with atomic_write(job.target / REPORT) as temporary:
        temporary.write_text("".join([head, *sorted(lines)]), encoding="utf-8", newline="")
    journal.unlink()


def check_folders(source: Path, target: Path) -> None:
    """Refuse folders within each other, and a target that holds what this verb did not write.

    Raises:
        ConfigError: If so, or the source is no folder.
    """
    if not source.is_dir():
        raise ConfigError(f"{source}: expected a folder of images; there is none of this name.")
    real, other = source.resolve(), target.resolve()
    if real == other or real in other.parents or other in real.parents:
        raise ConfigError(
            f"{target}: source and target must not lie within each other. Name a folder elsewhere."
        )
    if (
        target.is_dir()
        and any(target.iterdir())
        and not any((target / name).exists() for name in (REPORT, _JOURNAL))
    ):
        raise ConfigError(
            f"{target}: holds files that `medimg deidentify` did not write. Name a new or empty folder."
        )


def _read_table(target: Path, settings: str) -> dict[str, Done]:
    found: dict[str, Done] = {}
    for name in (REPORT, _JOURNAL):
        path = target / name
        if not path.exists():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                if line["settings"] == settings and line["source"] and line["status"] == "written":
                    counts = Counter({one: int(line[one]) for one in _COUNTED})
                    done = Done(line["file"], line["kind"], "written", counts, source=line["source"])
                    found[done.file] = done
    return found


def _unchanged(name: str, job: Job, before: dict[str, Done]) -> Done | None:
    if not before:
        return None
    path = job.source / name
    try:
        done = before.get(new_name(job.secret, name, _kind(path)))
        same = (
            done is not None and done.source == _mark(path, job.secret) and (job.target / done.file).exists()
        )
    except (OSError, DataError):
        return None
    return done if same else None


def _value(outcome: Outcome[Done]) -> Done:
    if outcome.value is None:  # `process` catches what a file can do; the rest is a fault of medimg
        raise RuntimeError(outcome.error)
    return outcome.value


def _row(done: Done, settings: str) -> dict[str, str | int]:
    counts = {name: done.counts[name] for name in _COUNTED}
    about = {"file": done.file, "kind": done.kind, "status": done.status, "note": " ".join(done.note.split())}
    return {**about, **counts, "settings": settings, "source": done.source}


def verify_folder(job: Job, *, workers: int = 1) -> list[tuple[str, list[str]]]:
    """Search every new file for the originals of its source, and for who and where of all sources.

    Args:
        job: As it was for ``clean_folder``.
        workers: Local processes.

    Returns:
        New names of files in which something was found, and where: ``name``, ``header``, ``pixels``, or the tag of an
        attribute that Table E.1-1 does not let stand.
    """
    written = _read_table(job.target, job.settings())
    names = []
    for name in list_files(job.source):
        kind = _safe_kind(job.source / name)
        if new_name(job.secret, name, kind) in written:
            names.append((name, kind))
    shared: set[str] = set()
    for outcome in map_cases(partial(_originals, job=job), names, workers=workers, label="sources"):
        shared |= outcome.value.shared if outcome.value else set()
    search = partial(_search, job=job, others=frozenset(shared))
    found = [outcome.value for outcome in map_cases(search, names, workers=workers, label="searched")]
    found += [(name, ["name"]) for name in _strangers(job.target, set(written))]
    return [one for one in found if one is not None and one[1]]


def _safe_kind(path: Path) -> str:
    try:
        return _kind(path)
    except (OSError, DataError):
        return "other"


def _originals(case: tuple[str, str], job: Job) -> Originals:
    name, kind = case
    return originals_of(job.source / name, name, kind, job.secret, job.policy.retain)


def _search(case: tuple[str, str], job: Job, others: frozenset[str]) -> tuple[str, list[str]]:
    name, kind = case
    new = new_name(job.secret, name, kind)
    found = find_originals(job.target / new, new, kind, _originals(case, job), others)
    if kind == "DICOM":
        with header_warnings():
            found += violations(open_dataset(job.target / new, pixels=False).dataset, job.policy.retain)
    return new, found


def _strangers(target: Path, written: set[str]) -> list[str]:
    """Files in the target that no table names."""
    return [name for name in list_files(target) if name not in written | {REPORT, _JOURNAL}]
