"""Identifiers left, and files a second, beside dicom-anonymizer 2.1.0, deid 0.4.13 and dicognito 0.19.0.

All four get the same folder of made-up studies: every place where DICOM can hold text carries an identifier that
occurs nowhere else. Each tool runs with its default settings, since those are what a person gets who trusts it; the
three others read DICOM alone, so only those files count here, and their names are those that each tool gives. An
identifier is left if any byte of the output, inflated where it is deflated, or a file's name holds it; the documents
that medimg does not copy are given to nobody. Text drawn into a picture counts for all: medimg is told by a table
where it is. A file that stops a tool leaves nothing, and is named.
Speed is the processor's time in one process, for the fastest of three passes.

Run: ``uv run --group bench python benchmarks/deidentify.py``

Expected before the first run: 0 left by ours; shares of a sixth to a half by the others, as on 64 identifiers in two
files; and a speed like theirs, since ours builds a new header and checks each word where they delete.
"""

import argparse
import logging
import shutil
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from pydicom import dcmread
from writers.identifiers import BOXES, Planter, plant

from medimg.curation.deidentify_dicom import Policy
from medimg.curation.deidentify_folder import Job, clean_folder
from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_pixels import read_boxes

NOT_IMAGES = ("document", "notes", "json", "png", "jpg", "nifti1", "nifti1gz", "nifti2gz")
Tool = Callable[[Path, Path], None]


def ours(source: Path, target: Path) -> None:
    """Our verb, without the command line."""
    boxes = source.parent / "boxes.csv"
    boxes.write_text(BOXES, encoding="utf-8")
    job = Job(source, target, Secret(b"a key for the benchmark"), Policy(boxes=read_boxes(boxes)))
    if any(done.status != "written" for done in clean_folder(job)):
        raise SystemExit("ours refused a file")


def dicom_anonymizer(source: Path, target: Path) -> None:
    """dicom-anonymizer, file by file, as its command line does."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dicom_file

    for path in _files(source):
        out = target / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        anonymize_dicom_file(str(path), str(out))


def deid(source: Path, target: Path) -> None:
    """Deid with its own recipe, as its first example does."""
    from deid.config import DeidRecipe
    from deid.dicom import get_identifiers, replace_identifiers

    for path in _files(source):
        out = target / path.parent.relative_to(source)
        out.mkdir(parents=True, exist_ok=True)
        found = get_identifiers([str(path)], force=True)
        replace_identifiers(
            [str(path)], ids=found, deid=DeidRecipe(), save=True, output_folder=str(out), overwrite=True
        )


def dicognito(source: Path, target: Path) -> None:
    """Dicognito with its default handlers."""
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer()
    for path in _files(source):
        dataset = dcmread(path, force=True)
        anonymizer.anonymize(dataset)
        out = target / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(out, enforce_file_format=False)


def _files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file())


def corpus(folder: Path) -> Planter:
    """Plant identifiers, and leave the DICOM images alone."""
    planter = plant(folder / "src")
    for kind in NOT_IMAGES:
        shutil.rmtree(planter.files.pop(kind).parent)
        planter.values = {
            value: place for value, place in planter.values.items() if not place.startswith(f"{kind}:")
        }
    return planter


def left(target: Path, planter: Planter) -> dict[str, str]:
    """Identifiers that stand in a name or a byte, and where they were planted."""
    content = []
    for path in _files(target):
        raw = path.read_bytes()
        content += [str(path.relative_to(target)).encode(), raw]
        if b"1.2.840.10008.1.2.1.99" in raw[:512]:
            start = 144 + int.from_bytes(raw[140:144], "little")
            content.append(zlib.decompressobj(-15).decompress(raw[start:]))
    every = b"\n".join(content)
    return {value: place for value, place in planter.values.items() if value.encode() in every}


def measure(
    tool: Tool, source: Path, folder: Path, planter: Planter, passes: int
) -> tuple[dict[str, str], int, float]:
    """Identifiers left, files written and files a second."""
    best, stopped = float("inf"), set()
    for number in range(passes):
        target = folder / f"{tool.__name__}{number}"
        seconds = 0.0
        # Each study lies in a folder of its own, so that one that stops a tool does not hide the rest.
        for part in [source] if tool is ours else sorted((source.parent / "apart").iterdir()):
            start = time.process_time()
            try:
                tool(part, target)
            except Exception as error:
                stopped.add(f"{type(error).__name__} on {next(part.rglob('*.dcm')).stem.split('-')[-1]}")
            seconds += time.process_time() - start
        best = min(best, seconds)
    for what in sorted(stopped):
        print(f"  {tool.__name__} stopped: {what}")
    written = len([path for path in _files(target) if path.suffix != ".csv"])
    return left(target, planter), written, written / best


def main() -> None:
    """Print the table and the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--show", action="store_true", help="name each place where one is left")
    arguments = parser.parse_args()
    passes, show = arguments.passes, arguments.show
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    counts, speeds = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planter = corpus(folder)
        total = len(planter.values)
        print(f"{total} identifiers in {len(planter.files)} DICOM files")
        for part in sorted((folder / "src").iterdir()):
            shutil.copytree(part, folder / "apart" / part.name / part.name)
        for tool in (ours, dicom_anonymizer, deid, dicognito):
            found, written, speeds[tool.__name__] = measure(tool, folder / "src", folder, planter, passes)
            counts[tool.__name__] = len(found)
            speed = f"{written} files, {speeds[tool.__name__]:.1f} files/s"
            nested = sum("in a sequence" in place for place in found.values())
            print(
                f"{tool.__name__:18} left {len(found):5} of {total} ({nested} of them in sequences), {speed}"
            )
            if show:
                print("  " + "\n  ".join(sorted(found.values())))
    peer = min((name for name in counts if name != "ours"), key=lambda name: counts[name])
    print(f"speed: ours {speeds['ours']:.1f} files/s, {peer} {speeds[peer]:.1f} files/s")
    ratio = counts["ours"] / max(counts[peer], 1)
    print(f"deidentify: ours {counts['ours']} left, best peer {peer} {counts[peer]} left, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
