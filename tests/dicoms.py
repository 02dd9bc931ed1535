"""DICOM files made up for tests; each belongs to a patient whose name must never show up anywhere."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

SECRETS = ("Doe", "Jane", "MRN-4711", "Elm Street")


def dicom(pixels: np.ndarray, bits: int | None = None, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """A file with `pixels` [H, W], [F, H, W] (greyscale) or [H, W, 3]; `elements` override or, as None, remove."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.826.0.1.4711"
    data.PatientName, data.PatientID, data.PatientAddress = "Doe^Jane", "MRN-4711", "1 Elm Street"
    data.Modality = "CR"
    colour = pixels.shape[-1] == 3
    if pixels.ndim == 3 and not colour:
        data.NumberOfFrames = len(pixels)
    data.Rows, data.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = pixels.dtype.itemsize * 8
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for name, value in elements.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    return written.getvalue()


def recompressed(file: bytes, syntax: int, folder: Path) -> bytes:
    """The same picture in another of GDCM's transfer syntaxes."""
    import gdcm

    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(file)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target.read_bytes()


def gradient(bits: int = 12, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Smooth values over the whole range of `bits`."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    wave = (np.sin(columns / 9) * np.cos(rows / 7) + 1) / 2
    return np.rint(wave * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


SECRET_DATE, SECRET_UID = "19470811", "1.2.826.0.4711.815"
# A valid value of each kind of element in which somebody could be named.
_SECRET_VALUES = {"PN": "Doe^Jane", "DA": SECRET_DATE, "DT": SECRET_DATE + "101112", "TM": "081547", "UI": SECRET_UID,
                  **dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE", "CS"), "MRN-4711 DOE"), "AS": "047Y"}
ALL_SECRETS = ("Doe^Jane", "MRN-4711", "1 Elm Street", SECRET_DATE, SECRET_UID)


def full_of_secrets(file: bytes) -> bytes:
    """The file with every element of DICOM's dictionary in which somebody could be named, at the top, in a sequence and
    in private elements; but for what says how the picture is stored."""
    data = pydicom.dcmread(io.BytesIO(file))
    inner = Dataset()
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        free = keyword and not retired and tag not in data and tag >> 16 not in (0x0, 0x2, 0x4, 0x28)
        if free and vr in _SECRET_VALUES:
            data.add_new(tag, vr, _SECRET_VALUES[vr])
            inner.add_new(tag, vr, _SECRET_VALUES[vr])
    for name in ("RequestAttributesSequence", "ReferencedStudySequence", "SharedFunctionalGroupsSequence"):
        setattr(data, name, [inner])
    private = data.private_block(0x0009, "Doe^Jane", create=True)
    private.add_new(0x01, "LO", "MRN-4711")
    data.StudyInstanceUID = data.SeriesInstanceUID = data.SOPInstanceUID = SECRET_UID
    data.preamble = b"Doe^Jane".ljust(128, b"\0")
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    return written.getvalue()
