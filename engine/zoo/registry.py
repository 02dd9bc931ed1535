"""Which models there are: bundled ones, those trained here, and any checkpoint by its path. Listing needs no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine import digest
from engine.errors import EngineError, UnknownName, shortened
from engine.home import expanded, home
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import Card, found_card_path, read_card

if TYPE_CHECKING:
    from engine.zoo.classifier import Classifier

BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "checkpoints"
STYLES = BUNDLED.parent / "style"
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".pt2")
# What models are also kept in. They hold whole programs, or need another library, and are not opened here.
FOREIGN = (".onnx", ".jit", ".bin", ".pkl", ".pickle", ".joblib", ".h5", ".hdf5", ".keras", ".pb", ".tflite",
           ".mlmodel", ".engine", ".npz", ".tar", ".zip")
# Defenses at training time by what they are called on cards.
TRAINED_HOW = {
    "at": "trained on attacked pictures (AT)", "trades": "trained on clean and attacked pictures (TRADES)",
    "ant": "trained on attacked, noisy pictures (ANT)", "noise": "trained on noisy pictures",
    "augment": "trained on varied pictures"}
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be chosen by `name`, without its weights."""

    name: str
    title: str
    card: Card
    path: Path
    bundled: bool


def models() -> list[ModelEntry]:
    """Every bundled and trained model that has a sound card; one trained here hides a bundled one of its name."""
    found = {e.name: e for e in (*_entries(BUNDLED, bundled=True), *_entries(_trained(), bundled=False))}
    return list(found.values())


def load_model(name: str) -> Classifier:
    """The model of that name, or in the checkpoint at that path, on the CPU; loaded once. Raises EngineError."""
    path, label = _located(name)
    return _loaded(path, label, model_digest(name))


def model_card(name: str) -> Card:
    """The card of the model of that name, or of the checkpoint at that path; raises EngineError."""
    return read_card(_located(name)[0])


def checkpoint_at(name: str) -> Path | None:
    """The checkpoint that `name` is the path of, or None where it is a model's name; raises EngineError."""
    path, label = _located(name)
    return None if label == name else path


def reads_as_file(name: str) -> bool:
    """Whether a model's name ends as those of files do that hold models; nothing on disk is looked at."""
    return name.lower().endswith((*SUFFIXES, *FOREIGN))


def label_of(name: str) -> str:
    """What results call the model of that name: a checkpoint that was given by its path by its file's name alone."""
    return Path(name).stem if reads_as_file(name) else name


def names_file(name: str) -> bool:
    """Whether a model's name is the path of a file, of a kind that can be loaded or not."""
    return reads_as_file(name) or (bool(Path(name).suffix) and os.path.isfile(name))


def model_digest(name: str) -> str:
    """Identifies a model's weights and card from their bytes, without loading it; raises EngineError."""
    path, _ = _located(name)
    return digest.of_spec({"files": [_file_digest(p) for p in (path, found_card_path(path))]})


def trained_path(name: str) -> Path:
    """Where the model trained as `name` ("folder/name" is allowed) is kept; raises EngineError for any other name."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise EngineError(f"a model cannot be called '{shortened(name)}'; use letters, digits, '-', '_' and '/' "
                          "between folders")
    return _trained() / f"{name}.safetensors"


def style_path(name: str) -> Path:
    """The style network of that name: one trained here hides a bundled one. Raises EngineError."""
    folders = (home() / "style", STYLES)
    for folder in folders:
        if _NAME.fullmatch(name) and os.path.isfile(path := folder / f"{name}.safetensors"):
            return path
    raise UnknownName("style network", name, {p.stem for folder in folders for p in folder.glob("*.safetensors")})


def trained_style_path(name: str) -> Path:
    """Where the style network trained as `name` is kept; raises EngineError for any name that is no file's."""
    if not _NAME.fullmatch(name) or "/" in name or len(name) > 200:
        raise EngineError(f"a style network cannot be called '{shortened(name)}'; use letters, digits, '-' and '_'")
    return home() / "style" / f"{name}.safetensors"


def style_digest(name: str) -> str:
    """Identifies a style network by its bytes, without loading it; raises EngineError."""
    return _file_digest(style_path(name))


def check_kind(file: str) -> None:
    """Raises EngineError for a file whose name does not end as those of checkpoints do."""
    suffix = Path(file).suffix
    if suffix not in SUFFIXES:
        raise EngineError(f"files of the kind {suffix or 'without an ending'} are not taken as models ({file}); "
                          f"save the network's state_dict() in one of: {', '.join(SUFFIXES)}")


def _trained() -> Path:
    return home() / "models"


def _entries(root: Path, bundled: bool) -> list[ModelEntry]:
    entries: list[ModelEntry] = []
    if not os.path.isdir(root):
        return entries
    for path in sorted(root.rglob("*.safetensors")):
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            card = read_card(path)
        except EngineError:
            continue  # one broken file must not hide the others; asked for by name, it says what is wrong
        entries.append(ModelEntry(name, _title(name, card), card, path, bundled))
    return entries


def _title(name: str, card: Card) -> str:
    how = trained_how(card)
    # In front, as a narrow control cuts off what stands behind.
    return f"{f'{how[:1].upper()}{how[1:]}: ' if how else ''}{_arch(card)}, {card.dataset or name}"


def _arch(card: Card) -> str:
    return ARCHITECTURES[card.arch].title if card.arch in ARCHITECTURES else card.arch.capitalize()


def trained_how(card: Card) -> str:
    """With which defense a model was trained, in words: "trained on noisy pictures"; "" where with none."""
    defense = card.training.get("defense")
    if not isinstance(defense, Mapping):
        return ""
    name = str(defense.get("name", ""))
    return TRAINED_HOW.get(name) or f"trained with {shortened(str(defense.get('title') or name))}"


def in_words(names: Iterable[str]) -> dict[str, str]:
    """Models that results speak of, each as its kind of network and how it was trained; by its name alone where that
    does not tell it from the others, or there is no such model any more."""
    titles = {name: _called(name) for name in dict.fromkeys(names)}
    return {name: title if list(titles.values()).count(title) == 1 else name for name, title in titles.items()}


def trained_to_withstand(name: str) -> bool:
    """Whether the model that results speak of is known to have been trained with a defense."""
    card = _known_card(name)
    return card is not None and bool(trained_how(card))


def _called(name: str) -> str:
    card = _known_card(name)
    return name if card is None else " ".join(filter(None, (_arch(card), trained_how(card))))


def _known_card(name: str) -> Card | None:
    try:
        return model_card(name)
    except EngineError:
        return None


def _located(name: str) -> tuple[Path, str]:
    """A model's file, and the name under which results speak of it."""
    if _NAME.fullmatch(name):
        for root in (_trained(), BUNDLED):
            if os.path.isfile(path := root / f"{name}.safetensors"):
                return path, name
    path = expanded(name)
    if path.suffix in SUFFIXES:
        if not os.path.isfile(path):
            raise EngineError(f"there is no checkpoint at {name}; give a file that exists, or a model's name")
        return path.resolve(), path.stem
    if names_file(name):
        check_kind(path.name)
    raise UnknownName("model", name, [e.name for e in models()])


def _file_digest(path: Path) -> str:
    try:
        return digest.of_unchanged_file(path)
    except FileNotFoundError:
        return ""  # no card: loading says so
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read ({error.strerror}); change its permissions, or choose another "
                          "model") from None


@lru_cache(maxsize=4)
def _loaded(path: Path, label: str, content: str) -> Classifier:
    from engine.zoo import checkpoints

    classifier = checkpoints.load(path)
    classifier.name = label
    return classifier
