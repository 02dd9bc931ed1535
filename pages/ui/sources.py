"""Which picture and which model: data set, split, thumbnails, uploads, and the models that fit."""

import random
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

import streamlit as st

from engine.data import DATASETS, PATHS, Dataset, DatasetInfo, find, findings, imaging, renamed
from engine.data.classmap import fits, likeness, match
from engine.data.upload import is_private, take_upload
from engine.errors import EngineError, UnknownName
from engine.experiments.further import training_split
from engine.experiments.onepicture import suited
from engine.experiments.openings import DATASET, FIRST_PICTURE
from engine.experiments.sources import Picture, Source, opened, picture
from engine.zoo.registry import ModelEntry, model_card, model_digest, models, reads_as_file
from pages.ui import consent, renaming, runs, views
from pages.ui.address import Address, force, forget, travel
from pages.ui.charts import percent
from pages.ui.controls import choice, kept, place
from pages.ui.picker import picker, sprite
from pages.ui.scope import Scope
from pages.ui.text import capital, plain

MODELS = ("model", "models", "sources")  # as addresses call what is chosen of them
FAR = (True, 9)  # from a data set that a model does not fit
PAGE = 8
THUMBNAIL = 96
# What is no widget's: which picture, which upload, which page of thumbnails, what an upload did wrong.
INDEX, UPLOAD, COMPANY, FURTHER, FIRST, TROUBLE = "index", "upload", "company", "further", "first", "upload trouble"


def dataset(address: Address, preferred: str = "") -> tuple[Dataset, str]:
    """The chosen data set's chosen split, at first the `preferred` one where it has that; raises EngineError where it
    is not here."""
    key = address.scope.control("dataset")
    seed = address.seed("dataset", key, _dataset_name, DATASET, lambda name: isinstance(name, str))
    names = list(dict.fromkeys([*DATASETS, address.current(key)]))
    name: str = st.selectbox("Data set", names, place(names, seed), key=key, format_func=title,
                             accept_new_options=True, on_change=_typed_dataset, args=(key,),
                             help="Or type folder:PATH for pictures of your own, one folder a class, or manifest:PATH "
                                  "for those that a CSV file lists with the columns path and label.")
    _dataset_name(name)
    entry = find(name)
    address.note("dataset", name)
    _let_go(address, name, entry.info)
    renaming.offer_back(address, name)
    if (reason := entry.missing()) is not None:
        raise EngineError(reason)
    info = entry.info
    _finding(address, key, info)
    first = preferred if preferred in info.splits else info.default_split
    split = choice(address, "split", "Split", list(info.splits), first, always=True,
                   help="  \n".join(f"**{split}**: {sentence}" for split, sentence in info.splits.items()))
    return opened(name, split), split


def _let_go(address: Address, name: str, info: DatasetInfo) -> None:
    """Where another data set was chosen, models that were chosen before are not meant for it, unless one of them suits
    it as well as that which is offered first."""
    if address.left("dataset") in ("", name) or not (known := fitting(info)):
        return
    distances = {entry.name: suited.distance(entry.card, info) for entry in known}
    for control in MODELS:
        chosen = address.left(control).split(",")
        if not any(is_path(one) or distances.get(one, FAR) <= distances[known[0].name] for one in chosen):
            address.give_up(control)


def _finding(address: Address, dataset: str, info: DatasetInfo) -> None:
    """Of images that may have several labels, which one is looked for; `dataset` is the control for data sets."""
    if not info.findings or info.name.startswith(renamed.PREFIX):
        return
    all_of_them, views = findings.whole(info.name), findings.names(info)
    words = dict(zip(views, info.findings, strict=True))
    key = address.scope.key(f"finding {info.name}")
    st.selectbox("Finding", [all_of_them, *views], [all_of_them, *views].index(info.name), key=key,
                 format_func=lambda name: words.get(name, "all together"),
                 on_change=lambda: force(dataset, st.session_state[key]),
                 help="A picture here may have several labels at once. Look for one of them, which it has or has not; "
                      "all together, what a picture has is one class.")


def _dataset_name(text: str) -> str:
    if (path := _path_in(text)):
        consent.check(path)
    find(text)
    return text


def _path_in(name: str) -> str:
    """The path that a data set's or a model's name holds; empty for the name of one that is known here."""
    if name.startswith((renamed.PREFIX, findings.PREFIX)):
        return _path_in(name.partition(":")[2].partition(":")[2])
    if (prefix := next((p for p in PATHS if name.startswith(p)), None)) is not None:
        return name.removeprefix(prefix)
    return name if is_path(name) else ""


def _typed(key: str) -> None:
    """In a callback: what the visitor chose in a control may be opened."""
    if (path := _path_in(st.session_state[key] or "")):
        consent.give(path)


def _typed_dataset(key: str) -> None:
    """The same for data sets, of which one that is known may be typed otherwise than it is written."""
    force(key, _dataset_meant(st.session_state[key] or ""))
    _typed(key)


def _dataset_meant(text: str) -> str:
    """The name of the data set that is called so, or whose name or title alone begins so; or the text as it is."""
    wanted = text.strip().casefold()
    called = {name: (name.casefold(), DATASETS[name].info.title.casefold()) for name in DATASETS}
    alike = [name for name, own in called.items() if wanted in own] or [
        name for name, own in called.items() if wanted and any(one.startswith(wanted) for one in own)]
    return alike[0] if len(alike) == 1 else text


def may_open(name: str) -> bool:
    """Whether a data set's name is one, and names no path about which the visitor would have to be asked."""
    try:
        _dataset_name(name)
    except EngineError:
        return False
    return True


def _typed_several(key: str) -> None:
    """The same for a control that takes several."""
    for name in st.session_state[key]:
        if (path := _path_in(name)):
            consent.give(path)


def ask(scope: Scope, path: str, texts: dict[str, str]) -> None:
    """The question about a path that a link or a run names, with the button that opens it and all else they ask for."""
    st.warning(plain(f"This link or run asks for {path} on this machine. Nothing there was looked at. Open it only if "
                     "you know why."))
    st.button("Open it", key=scope.key(f"open {path}"), on_click=_open, args=(scope, path, texts))


def say(address: Address, lines: Iterable[str | None]) -> None:
    """What a page must say before anything else: its questions about paths, and a line for each thing that is wrong."""
    for path, texts in address.questions.items():
        ask(address.scope, path, texts)
    for line in filter(None, lines):
        st.error(plain(line))


def _open(scope: Scope, path: str, texts: dict[str, str]) -> None:
    consent.give(path)
    travel(scope, texts)


def title(name: str) -> str:
    """A data set's title, or for one that a path names that path."""
    if name.startswith(findings.PREFIX):
        try:
            viewed = findings.read(name)
        except EngineError:  # as it was typed: whoever opens it says what is wrong
            return name
        return f"{title(viewed.inner)}: {viewed.finding}"
    return DATASETS[name].info.title if name in DATASETS else _path_in(name) or name


def model(address: Address, info: DatasetInfo, upload: Picture | None = None) -> str:
    """The chosen model among those that know this data set's classes, or of all models for a picture that belongs to
    no data set, those first that have seen its like; raises EngineError where there is none."""
    known = _known(address, info, "model") if upload is None else {e.name: e for e in _for_upload(info, upload.imaging)}
    key = address.scope.control_of("model", info.name)
    names = list(known)
    seed = address.seed("model", key, lambda text: _read_model(info, text, upload is not None), names[0],
                        lambda name: name in names or is_path(name))
    asked = address.current(key)
    names = list(dict.fromkeys([*names, asked]))
    name: str = st.selectbox("Model", names, place(names, seed), key=key, accept_new_options=True,
                             on_change=_typed, args=(key,),
                             format_func=lambda n: _model_title(known, n),
                             help=("Models that know this data set's classes" if upload is None else
                                   "All models, first those that have seen real pictures like this one")
                                  + "; or type the path of a checkpoint.  \n"
                                  + (_card_help(known[asked]) if asked in known else ""))
    address.note("model", name)
    if name not in known:
        consent.check(name)
    model_digest(name)
    if name in known:
        st.caption(plain(card_line(known[name])))
    return name


def several_models(address: Address, info: DatasetInfo, name: str, label: str, first: int, help: str = ""
                   ) -> tuple[str, ...]:
    """Some of the models that know this data set's classes, by default the `first` few that tell the same ones apart;
    raises EngineError where there is none, or none was chosen."""
    known = _known(address, info, name)
    key, names = address.scope.control_of(name, info.name), list(known)

    def read(text: str) -> list[str]:
        return [_read_model(info, one.strip()) for one in text.split(",") if one.strip()]

    def valid(chosen: list[str]) -> bool:
        return all(one in names or is_path(one) for one in chosen)

    alike = [one for one in names if len(known[one].card.classes) == len(known[names[0]].card.classes)]
    seed = address.seed(name, key, read, alike[:first], valid)
    options = list(dict.fromkeys([*names, *address.current(key)]))
    chosen: list[str] = st.multiselect(label, options, kept(options, seed), key=key, accept_new_options=True,
                                       on_change=_typed_several, args=(key,),
                                       format_func=lambda n: _model_title(known, n),
                                       help=f"Models that know this data set's classes; or type the path of a "
                                            f"checkpoint. {help}".strip())
    address.note(name, ",".join(chosen))
    for one in chosen:
        if one not in known:
            consent.check(one)
        model_digest(one)
    if not chosen:
        raise EngineError("choose at least one model")
    _reserve({one: _model_title(known, one) for one in chosen}, info)
    return tuple(chosen)


def _reserve(chosen: Mapping[str, str], info: DatasetInfo) -> None:
    """What is to be known of models (name to title) that have not seen such pictures as these, each line once."""
    lines: dict[str, list[str]] = {}
    for name, title in chosen.items():
        for line in suited.reservations(model_card(name), info):
            lines.setdefault(line, []).append(title)
    for line, titles in lines.items():
        whose = titles[0] if len(titles) == 1 else f"Each of these ({'; '.join(titles)})"
        st.warning(plain(f"{whose}: {line}."))


def _known(address: Address, info: DatasetInfo, control: str) -> dict[str, ModelEntry]:
    """The models that know these classes, by name; raises EngineError where there is none, and asks which class of
    which model each is."""
    known = {entry.name: entry for entry in fitting(info)}
    if not known:
        renaming.ask(address, info, control)
        raise EngineError(_no_model(info))
    return known


def _for_upload(info: DatasetInfo, kind: str) -> list[ModelEntry]:
    """All models, for a picture of that kind of imaging; where its file does not tell, it is taken to be the chosen
    data set's."""
    fit = [entry.name for entry in fitting(info)]
    ordered = sorted(models(), key=lambda e: (fit.index(e.name) if e.name in fit else len(fit), *_standing(e)))
    return suited.first(ordered, kind or imaging.of(info))


def _read_model(info: DatasetInfo, text: str, any_classes: bool = False) -> str:
    """A model's name or path as the address writes it; raises EngineError."""
    if text not in (known := [entry.name for entry in models()]):
        if not reads_as_file(text):
            raise UnknownName("model", text, known)
        consent.check(text)
    model_digest(text)
    if not any_classes and not is_path(text) and text not in [entry.name for entry in fitting(info)]:
        match(info.classes, model_card(text).classes, text)
    return text


def _model_title(known: dict[str, ModelEntry], name: str) -> str:
    return known[name].title if name in known else PurePath(name).name


def is_path(name: object) -> bool:
    """Whether a model's name is the path of a checkpoint."""
    return isinstance(name, str) and reads_as_file(name)


def fitting(info: DatasetInfo) -> list[ModelEntry]:
    """Models that know these classes by name; first those trained on this data set, then those with no other class,
    those that come with the program (of which there are examples) before one's own, small networks before large
    ones, undefended ones before defended ones, those that are oftener right before others."""
    fitting = [entry for entry in models() if fits(info.classes, entry.card.classes)]
    return sorted(fitting, key=lambda e: (e.card.dataset != info.name, len(e.card.classes) > len(info.classes),
                                          *_standing(e)))


def _standing(entry: ModelEntry) -> tuple[bool, bool, bool, float, str]:
    """What puts one model before another of the same classes."""
    right = entry.card.evaluations.get("test", {}).get("accuracy", 0.0)
    return (not entry.bundled, entry.card.arch != "resnet18", "defense" in entry.card.training, -float(right),
            entry.name)


def _no_model(info: DatasetInfo) -> str:
    """Why no model can be chosen, and what to do: which names differ from those of the model that is nearest."""
    train = (f"train one: python -m engine train --dataset {shlex.quote(info.name)} --arch resnet18 "
             f"--name my/resnet18")
    if not (known := models()):
        return f"There is no model yet; {train}"
    nearest = max(known, key=lambda e: likeness(info.classes, e.card.classes))
    try:
        match(info.classes, nearest.card.classes, nearest.name)
    except EngineError as error:
        return f"No model knows all classes of {info.title} by name. {error}. Or {train}"
    raise AssertionError("a model that fits was not listed")


def others(name: str) -> dict[str, str]:
    """The models besides `name` that tell the same classes apart, name to title."""
    classes = model_card(name).classes
    return {entry.name: entry.title for entry in models()
            if entry.name != name and len(entry.card.classes) == len(classes) and fits(classes, entry.card.classes)}


def card_line(entry: ModelEntry) -> str:
    """The model's quality in one line."""
    for split, scores in entry.card.evaluations.items():
        recall = scores.get("recall", {})
        worst = min(recall, key=recall.get) if recall else None
        weakest = f", lowest recall {percent(recall[worst])} ({worst})" if worst else ""
        return f"{percent(scores['accuracy'])} right on its {split} split{weakest}"
    return "not evaluated"


def _card_help(entry: ModelEntry) -> str:
    card = entry.card
    lines = [f"**{plain(entry.name)}**, {plain(f'{card.arch}, trained on {card.dataset}/{card.split}')}"]
    for split, scores in card.evaluations.items():
        recall = ", ".join(f"{name} {percent(value)}" for name, value in scores.get("recall", {}).items())
        lines.append(plain(f"{split}: accuracy {percent(scores['accuracy'])}; recall {recall}"))
    return "  \n".join([*lines, plain(card.limits)])


def source(address: Address, data: Dataset, split: str) -> Source:
    """The picture that is chosen now."""
    def read_index(text: str) -> int:
        try:
            return data.checked(int(text))
        except ValueError as error:
            raise error if isinstance(error, EngineError) else EngineError("it must be a whole number") from None

    def read_digest(text: str) -> str:
        picture(Source(data.info.name, split, 0, text))
        return text

    first = FIRST_PICTURE.get(data.info.name, 0)
    index = address.value("index", address.scope.control(INDEX), read_index, min(first, len(data) - 1),
                          lambda index: 0 <= index < len(data))
    upload = address.value("upload", address.scope.control(UPLOAD), read_digest, "")
    address.note("index", str(index))
    address.note("upload", upload or None)
    frame, window = views.chosen(address, upload) if upload else (0, "")
    return Source(data.info.name, split, index, upload, frame, window)


def company(address: Address, data: Dataset, chosen: Source) -> tuple[int, ...]:
    """The images that the chosen one is attacked with, where a link from a table asks for that."""
    def read(text: str) -> tuple[int, ...]:
        numbers = _numbers(text, data)
        if len(numbers) > runs.MOST_COMPANY or chosen.index not in numbers:
            raise EngineError(f"it must name at most {runs.MOST_COMPANY} images, among them the chosen one")
        return numbers

    numbers = address.value("company", address.scope.control(COMPANY), read, (),
                            lambda numbers: not numbers or (chosen.index in numbers and not chosen.upload))
    address.note("company", ".".join(map(str, numbers)) or None)
    return numbers


def further(address: Address, data: Dataset, together: tuple[int, ...]) -> tuple[int, ...]:
    """The attacker's further images, where a link from a table names them and the images of its batch, `together`."""
    def read(text: str) -> tuple[int, ...]:
        numbers = _numbers(text, training_split(data))
        if len(numbers) > runs.MOST_FURTHER:
            raise EngineError(f"it must name at most {runs.MOST_FURTHER:,} images")
        return numbers

    numbers = address.value("further", address.scope.control(FURTHER), read, (),
                            lambda numbers: not numbers or bool(together))
    address.note("further", ".".join(map(str, numbers)) or None)
    return numbers


def _numbers(text: str, data: Dataset) -> tuple[int, ...]:
    """The images of `data` that an address names; raises EngineError."""
    try:
        return tuple(data.checked(int(word)) for word in text.split("."))
    except ValueError as error:
        raise error if isinstance(error, EngineError) else EngineError("it must be image numbers such as 3.17") \
            from None


def chooser(scope: Scope, data: Dataset, chosen: Source) -> None:
    """Thumbnails to click, a random picture, an upload."""
    session, total, turned = st.session_state, len(data), scope.control(FIRST)
    place = (data.info.name, data.split)
    first, of = session.get(turned, (None, None))
    if of != place or first is None:
        first = chosen.index // PAGE * PAGE
    first = min(max(first, 0), (total - 1) // PAGE * PAGE)
    session[turned] = (first, place)
    numbers = range(first, min(first + PAGE, total))

    def pick(number: int) -> None:
        if number < 0:
            number = random.randrange(total)
            session[turned] = (number // PAGE * PAGE, place)
        session[scope.control(INDEX)], session[scope.control(UPLOAD)] = number, ""
        session.pop(scope.control(TROUBLE), None)

    def page(step: int) -> None:
        session[turned] = (first + step * PAGE, place)

    picker(_sprite(*place, tuple(numbers), data.digest), [data.classes[data.labels[i]] for i in numbers],
           first=first, total=total, chosen=None if chosen.upload else chosen.index,
           badge="SYNTHETIC" if data.info.synthetic else "", on_pick=pick, on_page=page, key=scope.key("picker"))
    _uploader(scope, chosen)


@st.cache_data(max_entries=128, show_spinner=False)
def _sprite(name: str, split: str, numbers: Sequence[int], digest: str) -> str:
    return sprite(opened(name, split).thumbnails(numbers, THUMBNAIL))


ONE, FOLDER = "Files", "A folder"
UPLOAD_MIB = 256  # of a ZIP; a picture alone, and all files together, have limits of their own


def _uploader(scope: Scope, chosen: Source) -> None:
    with st.popover("Use your own picture", width="stretch"):
        kind = st.segmented_control("What to bring along", [ONE, FOLDER], default=ONE, required=True,
                                    label_visibility="collapsed", key=scope.control("upload kind"))
        key = scope.key(f"upload {kind} {st.session_state.setdefault(scope.key('upload turn'), 0)}")
        st.file_uploader("PNG, JPEG or DICOM; a series as its slices or a ZIP; or a run saved here as JSON"
                         if kind == ONE else "A folder of DICOM slices", key=key, on_change=_take_upload,
                         args=(scope, key), accept_multiple_files=True if kind == ONE else "directory",
                         max_upload_size=UPLOAD_MIB,
                         help="It stays on this machine. Of a DICOM file only the picture is read and what its values "
                              "mean: nothing that tells who it is.")
    if chosen.upload and st.button("Back to the data set's pictures", key=scope.key("back"), width="stretch"):
        st.session_state[scope.control(UPLOAD)] = ""
        st.rerun()


def _take_upload(scope: Scope, key: str) -> None:
    """Read files that were just uploaded; what is wrong with them becomes a line, and everything else stays."""
    session = st.session_state
    files = session[key]
    session.pop(scope.control(TROUBLE), None)
    if not files:
        return
    contents = [(file.getvalue(), PurePath(file.name).suffix) for file in files]
    try:
        if len(files) == 1 and contents[0][0].lstrip()[:1] == b"{":
            travel(scope, runs.address_of(contents[0][0]))
        else:
            session[scope.control(UPLOAD)] = digest = take_upload(contents)
            forget(scope, *views.NAMES)
            _suit(scope, digest)
    except EngineError as error:
        # Where a file may be a patient's, its name may be the patient's, too.
        named = len(files) == 1 and not is_private(*contents[0])
        session[scope.control(TROUBLE)] = f"{files[0].name}: {error}" if named else capital(error)
    # A new uploader: this one would otherwise go on showing the files.
    session[scope.key("upload turn")] += 1


def _suit(scope: Scope, upload: str) -> None:
    """In a callback: go on with a model that has seen real pictures like what was just uploaded, if the chosen one has
    not and there is one, and with the data set that it was trained on, if that is here."""
    texts: dict[str, str] = st.session_state.get(scope.key("texts"), {})
    if "model" not in texts or "dataset" not in texts:
        return
    shown, info = picture(Source(texts["dataset"], texts.get("split", ""), 0, upload)), find(texts["dataset"]).info
    kind = shown.imaging or imaging.of(info)
    best = _for_upload(info, kind)[0]
    if not kind or suited.rank(best.card, kind) or not suited.rank(model_card(texts["model"]), kind):
        return
    kept = {name: text for name, text in texts.items() if name not in ("index", "company", "target", *views.NAMES)}
    trained_on = suited.trained_on(best.card)
    if trained_on is not None and trained_on.name in DATASETS and DATASETS[trained_on.name].missing() is None:
        kept |= {"dataset": trained_on.name, "split": trained_on.default_split}
    travel(scope, {**kept, "upload": upload, "model": best.name})


def trouble(scope: Scope) -> str | None:
    """What was wrong with the last upload."""
    return st.session_state.get(scope.control(TROUBLE))
