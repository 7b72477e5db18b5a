"""Where a report finds the pictures of a run's cases."""

from pathlib import Path

import yaml

from medimg.commands.split_source import index_to_split
from medimg.errors import MedimgError
from medimg.records import DatasetIndex
from medimg.reports.entries import Entry
from medimg.reports.report_cases import Pictures
from medimg.runs import CONFIG


def find_pictures(entry: Entry, data: Path | None) -> Pictures:
    """The files of a run's cases: its config says how the data set is read, and where it was.

    Args:
        entry: The run.
        data: Where the data set is now; ``None`` takes the config's word.

    Returns:
        Records by case; none, with the reason, where there is no config or the data set is elsewhere.
    """
    folder = entry.table.parent.parent
    config = next((p for p in (folder / "crossval.yaml", folder / CONFIG) if p.is_file()), None)
    if config is None:
        return Pictures(why_none="no config beside the table says how the data set is read")
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    root = data or content.get("data", {}).get("init_args", {}).get("root")
    if not root or not Path(root).exists():
        return Pictures(why_none="the data set is not where the run found it; name it as --data")
    try:
        index, _ = index_to_split(Path(root), config)
    except (MedimgError, OSError, ValueError, KeyError):
        return Pictures(why_none="the images of this kind of data set are not drawn")
    records = index.all_records if isinstance(index, DatasetIndex) else index.records
    labels = dict(index.labels) if isinstance(index, DatasetIndex) else {}
    return Pictures({record.case_id: record for record in records}, labels)
