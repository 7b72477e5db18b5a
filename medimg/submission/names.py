"""Names of the formats, apart from what they mean, so that the command line lists them at once."""

from typing import Literal

FormatName = Literal[
    "table",
    "rsna-mammography",
    "rsna-pe",
    "isic2020",
    "ranzcr",
    "rsna-miccai",
    "spine2022",
    "hubmap",
    "uw-madison",
    "siim-pneumothorax",
    "brats2018",
    "brats2019",
    "brats2020",
    "brats2021",
    "brats2022",
    "brats2023",
    "brats2024-gli",
    "brats2024-ped",
    "decathlon",
]
