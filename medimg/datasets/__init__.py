"""Readers of public data set layouts: files on disk to Records."""

from medimg.datasets.chestxray14 import ChestXray14
from medimg.datasets.chexpert import MIMICCXR, CheXpert
from medimg.datasets.folder import ImageFolder
from medimg.datasets.fusion import FusionColumns, FusionSet, FusionTable
from medimg.datasets.glioma_grade import GliomaGrade
from medimg.datasets.image_set import ImageSet
from medimg.datasets.isic import ISIC2020
from medimg.datasets.lidc import LIDC
from medimg.datasets.medmnist import MedMNIST
from medimg.datasets.nodule_table import Nodules
from medimg.datasets.openi import OpenI
from medimg.datasets.ranzcr import RANZCR
from medimg.datasets.recognise import index_dataset
from medimg.datasets.rsna_hemorrhage import RSNAHemorrhage
from medimg.datasets.rsna_mammography import RSNAMammography
from medimg.datasets.rsna_pe import RSNAPulmonaryEmbolism
from medimg.datasets.rsna_pneumonia import RSNAPneumonia
from medimg.datasets.rsna_spine import RSNASpine
from medimg.datasets.siim import SIIMPneumothorax
from medimg.datasets.table import ImageTable
from medimg.datasets.tiles import HistologyTiles
from medimg.datasets.vinbigdata import VinBigData
from medimg.datasets.volume_table import VolumeTable
from medimg.records import TableColumns

__all__ = [
    "ISIC2020",
    "LIDC",
    "MIMICCXR",
    "RANZCR",
    "CheXpert",
    "ChestXray14",
    "FusionColumns",
    "FusionSet",
    "FusionTable",
    "GliomaGrade",
    "HistologyTiles",
    "ImageFolder",
    "ImageSet",
    "ImageTable",
    "MedMNIST",
    "Nodules",
    "OpenI",
    "RSNAHemorrhage",
    "RSNAMammography",
    "RSNAPneumonia",
    "RSNAPulmonaryEmbolism",
    "RSNASpine",
    "SIIMPneumothorax",
    "TableColumns",
    "VinBigData",
    "VolumeTable",
    "index_dataset",
]
