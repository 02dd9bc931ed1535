"""TorchXRayVision's DenseNet-121, a network that many use for chest radiographs, as its tensors are kept.

Its files on the web hold whole pickled programs, which are not opened here; README says how its state_dict() is saved.
Nothing of the package is needed.
"""

from engine.zoo.variants import Variant

# What its outputs are, in their order, whichever data it was trained on.
FINDINGS = ("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis",
            "Effusion", "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion",
            "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum")
# Pictures from -1024 to 1024.
MEAN, STD = (0.5,), (1 / 2048,)
SIZE = 224


def is_xrayvision(network: Variant) -> bool:
    """Whether a recognised network is built as the package's are."""
    return (network.arch, network.channels, network.outputs) == ("densenet121", 1, len(FINDINGS))
