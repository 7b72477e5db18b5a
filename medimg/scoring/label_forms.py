"""How competitions of labels write their tables and which number of ``summarise_labels`` is their score."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from medimg.scoring.spine import SPINE_LABELS

RANZCR_LABELS = (
    "ETT - Abnormal",
    "ETT - Borderline",
    "ETT - Normal",
    "NGT - Abnormal",
    "NGT - Borderline",
    "NGT - Incompletely Imaged",
    "NGT - Normal",
    "CVC - Abnormal",
    "CVC - Borderline",
    "CVC - Normal",
    "Swan Ganz Catheter Present",
)


@dataclass(frozen=True, slots=True)
class LabelForm:
    """The tables of one competition.

    Attributes:
        title: What the score is.
        metrics: Metrics of ``summarise_labels`` to show; the first one is the score.
        unit: What a row is, in the plural.
        id_column: Column that names a row; empty: the first one.
        labels: Columns of the predictions; empty: all but the ids. The reference has the same.
        patient_column: Column of the reference that names the patient, where it has one.
        id_parts: Columns of the reference whose values, joined by ``_``, are the id, where it has no id column.
        grades: Number of grades where the one column holds a whole number instead of a probability.
        long: Columns of the id and the value, where the predictions have a row ``<id>_<label>`` for each label.
        hint: What to say of ids that do not fit.
    """

    title: str
    metrics: tuple[str, ...]
    unit: str = "images"
    id_column: str = ""
    labels: tuple[str, ...] = ()
    patient_column: str = "patient_id"
    id_parts: tuple[str, ...] = ()
    grades: int = 0
    long: tuple[str, ...] = ()
    hint: str = ""


LABEL_FORMS: Mapping[str, LabelForm] = MappingProxyType(
    {
        "auroc": LabelForm("mean AUROC of the labels", ("auroc",), "cases"),
        "medmnist": LabelForm("MedMNIST AUC and ACC", ("auroc", "accuracy"), "cases"),
        "isic2020": LabelForm("ISIC 2020: AUROC", ("auroc",), "images", "image_name", ("target",)),
        "ranzcr": LabelForm(
            "RANZCR CLiP: mean column AUROC",
            ("auroc",),
            "images",
            "StudyInstanceUID",
            RANZCR_LABELS,
            "PatientID",
        ),
        "rsna-miccai": LabelForm(
            "RSNA-MICCAI: AUROC",
            ("auroc",),
            "patients",
            "BraTS21ID",
            ("MGMT_value",),
            "BraTS21ID",
            hint="Ids have five digits, such as 00002.",
        ),
        "rsna-mammography": LabelForm(
            "RSNA mammography: probabilistic F1",
            ("pf1",),
            "breasts",
            "prediction_id",
            ("cancer",),
            id_parts=("patient_id", "laterality"),
            hint="Ids are <patient_id>_<L or R>.",
        ),
        "aptos": LabelForm(
            "APTOS 2019: quadratic weighted kappa",
            ("quadratic_kappa",),
            "images",
            "id_code",
            ("diagnosis",),
            grades=5,
        ),
    }
)
"""The form of each metric of the command line that is computed from one probability a label."""

SPINE_FORM = LabelForm(
    "RSNA cervical spine 2022: weighted log loss",
    (),
    "exams",
    "StudyInstanceUID",
    SPINE_LABELS,
    "StudyInstanceUID",
    long=("row_id", "fractured"),
    hint="Ids are <StudyInstanceUID>_C1 to _C7 and _patient_overall.",
)
"""The tables of the spine challenge; its loss is no metric of ``summarise_labels``."""
