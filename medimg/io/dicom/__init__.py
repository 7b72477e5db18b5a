"""DICOM files as float32 images, and series as volumes: headers not trusted, the fastest decoder for each syntax."""

from medimg.io.dicom.image import DicomImage, read_image
from medimg.io.dicom.parse import is_dicom
from medimg.io.dicom.stored import read_stored

__all__ = ["DicomImage", "is_dicom", "read_image", "read_stored"]
