"""DICOM files made up for tests; each belongs to a patient whose name must never show up anywhere."""

import io
from pathlib import Path
from typing import Any

import numpy as np
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
