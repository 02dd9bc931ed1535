"""How pictures were made, and of what: which of them are alike enough for one model. Does not import torch."""

from engine.data.base import DatasetInfo

# What a DICOM file's modality is called in the records of data sets.
IN_DICOM = {"CR": "radiograph", "DX": "radiograph", "CT": "CT", "MR": "MR", "US": "ultrasound", "PT": "PET",
            "SM": "histology", "OP": "fundus photograph", "XC": "photograph"}
_OF = " of the "


def of(info: DatasetInfo) -> str:
    """A data set's modality without what a bracket adds; "" where nobody said."""
    return info.modality.partition("(")[0].strip()


def alike(one: str, other: str) -> bool:
    """Whether both are made in the same way, and of the same part of the body as far as both say."""
    ways, parts = zip(*(_split(text) for text in (one, other)), strict=True)
    return ways[0].casefold() == ways[1].casefold() and (parts[0] == parts[1] or not all(parts))


def _split(text: str) -> tuple[str, str]:
    way, _, part = text.partition(_OF)
    return way.partition(",")[0].strip(), part.strip()
