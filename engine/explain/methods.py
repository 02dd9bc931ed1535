"""How a heatmap (class activation map, CAM) is made of a layer's values and gradients.

The formulas are those of the grad-cam package (pytorch_grad_cam), whose classes are used without their hooks and
passes; those are `engine.explain.cam`'s own. Importing this file imports neither torch nor the package, so that a page
can list the methods at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.registry import Registry
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.variants import EXPORTED

Heat = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class CamMethod:
    """A heatmap method: `heat` turns values [N,K,h,w] of a layer and the class score's gradients at them (None where
    `needs_gradient` is false) into maps [N,h,w], before negative heat is cut off. `formula` is LaTeX.

    Where it `rolls_out`, the values are not those of one layer but what the attention of all layers leads to.
    """

    name: str
    title: str
    sentence: str
    formula: str
    paper: str
    heat: Heat
    needs_gradient: bool = True
    rolls_out: bool = False


CAMS: Registry[CamMethod] = Registry("heatmap method")
NO_HEATMAPS = "an exported program has no layers that could be looked into, so it has no heatmaps"


def methods_for(arch: str) -> list[str]:
    """The names of the methods that a network of that architecture (or "", another) can be explained with."""
    if arch == EXPORTED:
        return []
    attends = arch in ARCHITECTURES and ARCHITECTURES[arch].attends
    return [method.name for method in CAMS.values() if attends or not method.rolls_out]


def _from_package(class_name: str) -> Heat:
    """The formula of the grad-cam package's class of that name."""

    def heat(activations: np.ndarray, gradients: np.ndarray | None) -> np.ndarray:
        import pytorch_grad_cam

        formula_class = getattr(pytorch_grad_cam, class_name)
        # Made without __init__, which would hook a model; the empty recorder is what its __del__ releases.
        formula = formula_class.__new__(formula_class)
        formula.activations_and_grads = pytorch_grad_cam.ActivationsAndGradients(None, [], None)
        maps: np.ndarray = formula.get_cam_image(None, None, None, activations, gradients, False)
        return maps

    return heat


def eigen(activations: np.ndarray, gradients: np.ndarray | None = None) -> np.ndarray:
    """The first principal component of values [N,K,h,w] over the positions, as maps [N,h,w].

    Muhammad and Yeasin 2020, arXiv:2008.00299, centred as the grad-cam package does. A component's sign is arbitrary,
    and the package leaves it to the linear-algebra library; here it is chosen so that the map rises where the layer is
    active: its covariance with the sum of the layer's positive values is positive.
    """
    count, channels, height, width = activations.shape
    points = activations.reshape(count, channels, height * width).transpose(0, 2, 1).astype(np.float64)
    strength = np.maximum(points, 0).sum(axis=2)
    centred = points - points.mean(axis=1, keepdims=True)
    # The eigenvectors of the smaller of the two products: far cheaper than a full decomposition of a large layer.
    if channels <= height * width:
        directions = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred).eigenvectors[:, :, -1]
        component = (centred @ directions[:, :, None])[:, :, 0]
    else:
        values, vectors = np.linalg.eigh(centred @ centred.transpose(0, 2, 1))
        component = vectors[:, :, -1] * np.sqrt(np.maximum(values[:, -1:], 0))
    agrees = (component * strength).sum(axis=1, keepdims=True) >= 0
    return np.where(agrees, component, -component).reshape(count, height, width).astype(activations.dtype)


CAMS.add("grad-cam", CamMethod(
    name="grad-cam",
    title="Grad-CAM",
    sentence="Shows the regions whose features raise the class score, each feature weighted by its average influence.",
    formula=r"\mathrm{ReLU}\Big(\sum_k \alpha_k A^k\Big),\quad "
            r"\alpha_k = \frac{1}{hw}\sum_{ij}\frac{\partial y^c}{\partial A^k_{ij}}",
    paper="Selvaraju et al. 2017, arXiv:1610.02391",
    heat=_from_package("GradCAM"),
))
CAMS.add("grad-cam++", CamMethod(
    name="grad-cam++",
    title="Grad-CAM++",
    sentence="Like Grad-CAM, but counts only helpful influence and finds several small regions of one class better.",
    formula=r"\mathrm{ReLU}\Big(\sum_k w_k A^k\Big),\quad "
            r"w_k = \sum_{ij} a^k_{ij}\,\mathrm{ReLU}(g^k_{ij}),\quad "
            r"a^k_{ij} = \frac{(g^k_{ij})^2}{2 (g^k_{ij})^2 + (g^k_{ij})^3 \sum_{ab} A^k_{ab}},\quad "
            r"g^k_{ij} = \frac{\partial y^c}{\partial A^k_{ij}}",
    paper="Chattopadhay et al. 2018, arXiv:1710.11063",
    heat=_from_package("GradCAMPlusPlus"),
))
CAMS.add("layer-cam", CamMethod(
    name="layer-cam",
    title="LayerCAM",
    sentence="Weights every position by itself, which gives finer maps, also at early layers.",
    formula=r"\mathrm{ReLU}\Big(\sum_k \mathrm{ReLU}\Big(\frac{\partial y^c}{\partial A^k_{ij}}\Big) A^k_{ij}\Big)",
    paper="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
    heat=_from_package("LayerCAM"),
))
CAMS.add("eigen-cam", CamMethod(
    name="eigen-cam",
    title="Eigen-CAM",
    sentence="Shows the layer's main pattern without asking for any class: what the model attends to at all.",
    formula=r"\mathrm{ReLU}\big((A - \bar A)\, v_1\big),\quad "
            r"v_1\ \text{the first right singular vector of}\ A - \bar A",
    paper="Muhammad and Yeasin 2020, arXiv:2008.00299",
    heat=eigen,
    needs_gradient=False,
))
CAMS.add("attention-rollout", CamMethod(
    name="attention-rollout",
    title="Attention rollout",
    sentence="Follows the attention of a transformer's layers back to the patches; asks for no class, only for where "
             "the answer comes from.",
    formula=r"e\,\tilde A_L \cdots \tilde A_2 \tilde A_1,\quad \tilde A_l = \tfrac12 (I + \bar A_l),\quad "
            r"\bar A_l\ \text{the mean over the heads};\quad "
            r"e\ \text{picks the class token, or the mean of all (Swin)}",
    paper="Abnar and Zuidema 2020, arXiv:2005.00928",
    heat=lambda values, gradients: values.sum(axis=1),
    needs_gradient=False,
    rolls_out=True,
))
