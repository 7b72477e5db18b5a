"""The keep-list: what training needs of a DICOM header. Whatever is not named here goes.

Numbers are kept where they are numbers. Words are kept where they are known words, so that a name in a place meant for
a code does not pass.
"""

import re
from functools import cache

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_VR, tag_for_keyword

_PIXELS = """
SamplesPerPixel PhotometricInterpretation PlanarConfiguration Rows Columns BitsAllocated BitsStored HighBit
PixelRepresentation NumberOfFrames SmallestImagePixelValue LargestImagePixelValue PixelPaddingValue
PixelPaddingRangeLimit PixelAspectRatio RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData GreenPaletteColorLookupTableData
BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData
SegmentedBluePaletteColorLookupTableData LossyImageCompression LossyImageCompressionRatio
LossyImageCompressionMethod QualityControlImage BurnedInAnnotation
"""
_VALUES = """
RescaleIntercept RescaleSlope RescaleType WindowCenter WindowWidth VOILUTFunction PresentationLUTShape
ModalityLUTSequence VOILUTSequence LUTDescriptor LUTData ModalityLUTType PixelIntensityRelationship
PixelIntensityRelationshipSign RealWorldValueMappingSequence RealWorldValueIntercept RealWorldValueSlope
RealWorldValueFirstValueMapped RealWorldValueLastValueMapped MeasurementUnitsCodeSequence Units DecayCorrection
CorrectedImage
"""
_GEOMETRY = """
PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing PixelSpacingCalibrationType SliceThickness
SpacingBetweenSlices ImageOrientationPatient ImagePositionPatient SliceLocation GantryDetectorTilt
EstimatedRadiographicMagnificationFactor DistanceSourceToDetector DistanceSourceToPatient PatientPosition
PatientOrientation PhysicalDeltaX PhysicalDeltaY PhysicalUnitsXDirection PhysicalUnitsYDirection
SequenceOfUltrasoundRegions RegionLocationMinX0 RegionLocationMinY0 RegionLocationMaxX1 RegionLocationMaxY1
RegionSpatialFormat RegionDataType RegionFlags ReferencePixelX0 ReferencePixelY0 FrameOfReferenceUID
"""
_ACQUISITION = """
Modality ImageType BodyPartExamined Laterality ImageLaterality FrameLaterality ViewPosition ViewCodeSequence
ViewModifierCodeSequence AnatomicRegionSequence AnatomicRegionModifierSequence PrimaryAnatomicStructureSequence
KVP XRayTubeCurrent Exposure ExposureInuAs ExposureTime PositionerPrimaryAngle PositionerSecondaryAngle
CompressionForce BodyPartThickness ScanningSequence SequenceVariant ScanOptions MRAcquisitionType RepetitionTime
EchoTime InversionTime EchoNumbers EchoTrainLength FlipAngle MagneticFieldStrength NumberOfAverages
ImagingFrequency DiffusionBValue DiffusionGradientOrientation NumberOfTemporalPositions TemporalPositionIdentifier
PixelBandwidth ReconstructionDiameter DataCollectionDiameter SpiralPitchFactor SingleCollimationWidth
TotalCollimationWidth TableSpeed FrameTime FrameTimeVector CineRate FocalSpots PatientIdentityRemoved
LongitudinalTemporalInformationModified RecognizableVisualFeatures
"""
_IDENTITY = """
SpecificCharacterSet SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber InstanceNumber
AcquisitionNumber ImagesInAcquisition TemporalPositionIndex ConversionType ContentLabel
"""
_FRAMES = """
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlanePositionSequence
PlaneOrientationSequence FrameContentSequence PixelValueTransformationSequence FrameVOILUTSequence FrameAnatomySequence
CTImageFrameTypeSequence MRImageFrameTypeSequence FrameType MRDiffusionSequence MREchoSequence EffectiveEchoTime
DimensionOrganizationSequence DimensionOrganizationUID DimensionOrganizationType DimensionIndexSequence
DimensionIndexPointer FunctionalGroupPointer DimensionIndexValues StackID InStackPositionNumber FrameAcquisitionNumber
PixelPresentation VolumetricProperties VolumeBasedCalculationTechnique FrameIncrementPointer
"""
_SEGMENTS = """
SegmentationType SegmentSequence SegmentNumber SegmentLabel SegmentAlgorithmType SegmentedPropertyCategoryCodeSequence
SegmentedPropertyTypeCodeSequence SegmentedPropertyTypeModifierCodeSequence RecommendedDisplayCIELabValue
SegmentIdentificationSequence ReferencedSegmentNumber SegmentationFractionalType MaximumFractionalValue SegmentsOverlap
"""
_REFERENCES = """
ReferencedSeriesSequence ReferencedInstanceSequence ReferencedImageSequence SourceImageSequence DerivationImageSequence
ReferencedSOPClassUID ReferencedSOPInstanceUID ReferencedFrameNumber PurposeOfReferenceCodeSequence
DerivationCodeSequence
"""
_CODES = "CodeValue CodingSchemeDesignator CodeMeaning LongCodeValue"
# Not in the table, and of use with the option that keeps their kind.
_WITH_DEVICE = "Manufacturer ManufacturerModelName SoftwareVersions ConvolutionKernel FilterType"

_WORDS = """
CR CT DX ES GM IO IVOCT IVUS KO MG MR NM OCT OP OPT OT PR PT PX REG RF RTDOSE RTIMAGE RTPLAN RTSTRUCT RWV SC SEG SM SR
US XA XC BI DOC ECG
ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER OTHER MPR VOLUME NONE REFORMATTED AVERAGE MIXED SUBTRACT SUBTRACTION
MAX_IP MIN_IP PROJECTION M P R I ND NORM DIS2D DIS3D FM MFSPLIT ADC TRACEW DIFFUSION FA FFE SE IR MAGNITUDE PHASE
PHASE_MAP REAL IMAGINARY WATER FAT IN_PHASE OUT_PHASE STATIC DYNAMIC WHOLE BODY GATED TOMO TOMOSYNTHESIS GENERATED_2D
SINGLE BIPLANE CT_SOM5 SPI SPIRAL HELIX HELICAL MULTI_PHASE RESAMPLED MASK PROCESSED SCREEN SAVE SCREEN_SAVE EPI
T1 T2 T2_STAR PROTON_DENSITY STIR FLAIR PERFUSION ANGIO TIME_OF_FLIGHT CARDIAC LUNG BONE SOFT_TISSUE HARD
ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS CALF CAROTID
CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CHESTABDOMENPELVIS CHESTTOABDOMEN CHIN CLAVICLE COCCYX COLON
COLON CSPINE CTSPINE DUODENUM EAR ELBOW EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND HEAD
HEADNECK HEART HIP HUMERUS ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUMBAR MANDIBLE MAXILLA
MEDIASTINUM MOUTH NECK NECKCHEST NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RADIUS RECTUM
RETINA RIB SACRUM SCALP SCAPULA SCLERA SCROTUM SHOULDER SIJOINT SINUS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH
SUBMANDIBULAR TESTIS THIGH THUMB THYMUS THYROID TIBIA TLSPINE TOE TONGUE TRACHEA TSPINE UTERUS VAGINA VULVA WHOLEBODY
WRIST ZYGOMA
L B U AP PA LL RL RLD LLD RLO LLO CC MLO ML LM LMO XCCL XCC FB SIO LATERAL OBLIQUE SWIMMERS LAT
HFS HFP HFDR HFDL FFS FFP FFDR FFDL LFP LFS RFP RFS AFDR AFDL PFDR PFDL SITTING
A H F AR AL PR PL AF PF HR FR HL FL AH PH
LINEAR LINEAR_EXACT SIGMOID IDENTITY INVERSE HU US OD MGML Z_EFF ED EDW HU_MOD PCT LIN LOG DISP UNSPECIFIED
GML BQML CNTS MLMING CM2ML PROPCPS DECY ATTN SCAT DTIM MOTN PMOT CLN RAN RADL DCAL NORMALISED START ADMIN
MONOCHROME1 MONOCHROME2 RGB PALETTE COLOR YBR_FULL YBR_FULL_422 YBR_PARTIAL_420 YBR_ICT YBR_RCT HSV ARGB CMYK
ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_13818_2 ISO_14496_10 ISO_23008_2
YES NO GEOMETRY FIDUCIAL REMOVED MODIFIED UNMODIFIED TRUE_COLOR MONOCHROME DISTORTED SAMPLED
GR EP RM SK MTC SS TRSS SP MP OSP 2D 3D PER RG CG PPG FC PFF PFP FS CT_SC PFP_SP WE FILTERED_GEMS VASCTOF_GEMS
TILE3D 3D_TEMPORAL TILED_FULL TILED_SPARSE BINARY FRACTIONAL LABELMAP PROBABILITY OCCUPANCY AUTOMATIC SEMIAUTOMATIC
MANUAL UNDEFINED DV SD SI DF WSD SYN DRW SYNTHETIC NORMAL MAXIMUM MINIMUM SEGMENTATION CALIBRATION
"""
_CHARSETS = re.compile(
    r"(ISO_IR (6|100|101|109|110|126|127|138|144|148|166|192|203|13))|(ISO 2022 IR \d{1,3})|GB18030|GBK"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_STANDARD_ROOT = "1.2.840.10008."

WORDS = frozenset(_WORDS.split()) | {"PALETTE COLOR", "SCREEN SAVE", "WHOLE BODY"}
"""Words of which a code may consist; all that a code string can say."""


@cache
def kept_tags(option: str = "") -> frozenset[int]:
    """Tags of the keep-list, or those that an option adds to it.

    Example:
        >>> 0x00280010 in kept_tags(), 0x00080070 in kept_tags(), 0x00080070 in kept_tags("device")
        (True, False, True)
    """
    groups = (_PIXELS, _VALUES, _GEOMETRY, _ACQUISITION, _IDENTITY, _FRAMES, _SEGMENTS, _REFERENCES, _CODES)
    names = _WITH_DEVICE if option == "device" else " ".join(groups) if not option else ""
    tags = {name: tag_for_keyword(name) for name in names.split()}
    unknown = [name for name, tag in tags.items() if tag is None]
    if unknown:
        raise ValueError(f"the keep-list names what no DICOM dictionary has: {unknown}")
    pixel_data = {0x7FE00008, 0x7FE00009, 0x7FE00010} if not option else set()
    return frozenset(tag for tag in tags.values() if tag is not None) | pixel_data


def kept_word(tag: int, kind: str, value: str) -> str | None:
    """Return what may be kept of one value of a text attribute on the keep-list, ``None`` if nothing.

    Args:
        tag: The attribute.
        kind: Its value representation in the DICOM dictionary.
        value: One value.

    Example:
        >>> kept_word(0x00180015, "CS", "CHEST"), kept_word(0x00180015, "CS", "DOE^JOHN")
        ('CHEST', None)
        >>> kept_word(0x00280030, "DS", "0.5"), kept_word(0x00280030, "DS", "O'Hara")
        ('0.5', None)
    """
    stripped = value.strip(" \0")
    if kind in ("DS", "IS"):
        return stripped if _NUMBER.fullmatch(stripped) else None
    if tag == 0x00080005:
        return stripped if not stripped or _CHARSETS.fullmatch(stripped) else None
    if tag == 0x00209056:  # StackID, a short text that is a number in practice
        return stripped if stripped.isdecimal() and len(stripped) < 4 else None
    return stripped if not stripped or stripped.upper() in WORDS else None


def is_standard_uid(uid: str) -> bool:
    """Whether DICOM itself defines the UID, so that it tells nothing of a patient.

    Example:
        >>> is_standard_uid("1.2.840.10008.5.1.4.1.1.2"), is_standard_uid("1.2.840.10008.19550321")
        (True, False)
    """
    return uid.startswith(_STANDARD_ROOT) and uid in UID_dictionary


@cache
def kind_of(tag: int) -> str:
    """Value representation that the dictionary gives an attribute, empty if it has none: files may state another."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""
