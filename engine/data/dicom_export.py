"""Adversarial pictures as DICOM files: derived, de-identified, and marked as what they are.

Of the file that the picture comes from there is only what `scan.Header` has kept, which is no more than PS3.15's basic
profile retains; dicognito gives the new file identifiers of its own.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid
from pydicom.valuerep import DSfloat

import engine.data.dicom  # noqa: F401  (keeps pydicom from quoting what it reads and writes)
from engine.data.base import eight_bit
from engine.data.scan import Header
from engine.data.stored import MARK, Coloured, Stored
from engine.data.windows import Grid, Look, Meaning, Table, Window, grid_of
from engine.errors import EngineError

CURVES = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_GREY_16 = Meaning(16)
# What such files have to have, and may have without a value.
_EMPTY = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "SeriesNumber",
          "PatientBirthDate", "PatientSex", "Manufacturer", "PatientOrientation", "KVP", "AcquisitionNumber",
          "PositionReferenceIndicator", "Laterality")


def adversarial_dicom(image: np.ndarray, stored: Stored | None, made_by: str, mark: bool = False) -> bytes:
    """The adversarial picture `image` [C, S, S] as a DICOM file: written in the values of the file that the clean one
    comes from, or, where there is none that is known, as models see it, grey with 16 bits or colours with 8. `made_by`
    says by which attack; `mark` burns the warning into a corner. Raises EngineError."""
    header, data = Header() if stored is None else stored.header, Dataset()
    _say_what_it_is(data, header, made_by)
    _say_where_it_is(data, header)
    if isinstance(stored, Coloured):
        _put_colours(data, stored.written(image), stored.grid.meaning.bits, mark)
    elif stored is not None:
        _put_values(data, stored.written(image), stored.grid, mark)
    elif len(image) == 3:
        _put_colours(data, eight_bit(image), 8, mark)
    else:
        grid = grid_of(_GREY_16, Look(Window(32767.5, 65535, "linear-exact")), np.dtype(np.uint16))
        assert grid is not None
        _put_values(data, np.rint(image[0] * 65535).astype(np.uint16), grid, mark)
    if mark or header.burned_in is not None:
        data.BurnedInAnnotation = "YES" if mark or header.burned_in else "NO"
    _identify_anew(data)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _say_what_it_is(data: Dataset, header: Header, made_by: str) -> None:
    data.SOPClassUID = _kind(header)
    data.ImageType = ["DERIVED", "SECONDARY", *(["AXIAL"] if data.SOPClassUID == uid.CTImageStorage else [])]
    data.Modality = "OT" if header.modality == "other" else header.modality
    if data.SOPClassUID == uid.SecondaryCaptureImageStorage:
        data.ConversionType = "WSD"
    data.StudyDescription = data.SeriesDescription = data.ImageComments = MARK
    data.DerivationDescription = f"{MARK}: {made_by[:800]}. Made to fool a classifier. Not for diagnosis."
    data.BodyPartExamined, data.ViewPosition = header.body_part, header.view
    if header.laterality:
        data.ImageLaterality = header.laterality
    data.LossyImageCompression = "01" if header.lossy else "00"
    data.InstanceNumber = 1


def _kind(header: Header) -> str:
    """The original's class where all that it asks for is known, else a secondary capture."""
    placed = header.spacing and header.position and header.orientation
    if header.sop_class == uid.CTImageStorage and placed:
        return uid.CTImageStorage
    if header.sop_class == uid.ComputedRadiographyImageStorage:
        return uid.ComputedRadiographyImageStorage
    return uid.SecondaryCaptureImageStorage


def _say_where_it_is(data: Dataset, header: Header) -> None:
    if header.spacing:
        data.PixelSpacing = [_short(number) for number in header.spacing]
    elif header.aspect != 1:
        data.PixelAspectRatio = [round(1000 * header.aspect), 1000]
    data.SliceThickness = None if header.thickness is None else _short(header.thickness)
    if header.position and header.orientation:
        data.ImagePositionPatient = [_short(number) for number in header.position]
        data.ImageOrientationPatient = [_short(number) for number in header.orientation]


def _short(number: float) -> DSfloat:
    return DSfloat(number, auto_format=True)


def _say_how_it_is_shown(data: Dataset, grid: Grid) -> None:
    meaning, by = grid.meaning, grid.look.by
    if meaning.table is not None:
        data.ModalityLUTSequence = [_table(meaning.table)]
        data.ModalityLUTSequence[0].ModalityLUTType = "US"
    else:
        data.RescaleSlope, data.RescaleIntercept = _short(meaning.slope), _short(meaning.intercept)
        data.RescaleType = "HU" if meaning.unit == "HU" else "US"
    if isinstance(by, Table):
        data.VOILUTSequence = [_table(by)]
    else:
        data.WindowCenter, data.WindowWidth = _short(by.centre), _short(by.width)
        data.VOILUTFunction = CURVES[by.curve]
    if meaning.padding is not None:
        data.PixelPaddingValue, limit = meaning.padding
        if limit != data.PixelPaddingValue:
            data.PixelPaddingRangeLimit = limit


def _table(table: Table) -> Dataset:
    item = Dataset()
    signed = "SS" if table.first < 0 else "US"
    item.add_new("LUTDescriptor", signed, [len(table.values) % 65536, table.first, table.bits])
    item.add_new("LUTData", "OW", np.array(table.values, "<u2").tobytes())
    return item


def _put_values(data: Dataset, pixels: np.ndarray, grid: Grid, mark: bool) -> None:
    """Stored values [H, W], what they mean, and how they are shown."""
    meaning = grid.meaning
    _say_how_it_is_shown(data, grid)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME1" if meaning.inverted else "MONOCHROME2"
    if mark:
        pixels = pixels.copy()
        label = _label(*pixels.shape)
        corner = pixels[-label.shape[0]:, :label.shape[1]]
        corner[:] = grid.stored(label, np.where(meaning.padded(corner), grid.first, corner))
    _put(data, pixels, meaning.bits, meaning.signed)


def _put_colours(data: Dataset, pixels: np.ndarray, bits: int, mark: bool) -> None:
    """Colours [H, W, 3] of so many bits."""
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    if mark:
        label = _label(*pixels.shape[:2])
        pixels = pixels.copy()
        pixels[-label.shape[0]:, :label.shape[1]] = np.rint((2**bits - 1) * label[..., None])
    _put(data, pixels, bits, False)


def _put(data: Dataset, pixels: np.ndarray, bits: int, signed: bool) -> None:
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated = 8 * pixels.dtype.itemsize
    data.BitsStored = min(bits, data.BitsAllocated)
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(signed)
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    data.add_new("PixelData", "OW", raw + b"\0" * (len(raw) % 2))


def _label(height: int, width: int) -> np.ndarray:
    """MARK in white on black, for the lower left corner of a picture of that size."""
    font = ImageFont.load_default(max(8, min(height // 32, width // 20)))
    left, top, right, bottom = font.getbbox(MARK)
    picture = Image.new("L", (int(right - left) + 6, int(bottom - top) + 6))
    ImageDraw.Draw(picture).text((3 - left, 3 - top), MARK, fill=255, font=font)
    return np.asarray(picture, dtype=np.float64)[-height:, :width] / 255


def _identify_anew(data: Dataset) -> None:
    """New identifiers, none of which leads back."""
    try:
        from dicognito.anonymizer import Anonymizer
    except ImportError:
        raise EngineError("a DICOM file is written with dicognito, which is not installed here: "
                          "pip install dicognito") from None
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(data, name, generate_uid())
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.PatientID = MARK
    Anonymizer().anonymize(data)
    for name in _EMPTY:
        setattr(data, name, None)
    # What dicognito makes up looks like a person's.
    data.PatientName = "ADVERSARIAL^RESEARCH"
    data.PatientIdentityRemoved = "YES"
    data.LongitudinalTemporalInformationModified = "REMOVED"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    data.DeidentificationMethodCodeSequence = [code]
