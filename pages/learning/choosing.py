"""What is trained, in the sidebar: data, network, weights to begin with, and how it learns. All of it is in the
address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from engine.data import Dataset
from engine.errors import EngineError
from engine.experiments.sources import opened
from engine.experiments.trainings import first
from engine.experiments.trainings.training import command_of, made_alike, spec_of
from engine.params import Param, Value, build, params_of
from engine.training.defenses import TRAINING_DEFENSES, TrainingDefense, defense_of, written
from engine.training.spec import IMAGENET, SCRATCH, TrainSpec
from engine.training.unfinished import all_unfinished, forget
from engine.work.jobs import jobs
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.registry import models, trained_path
from pages.learning.scope import SCOPE
from pages.ui import controls, sources
from pages.ui.address import Address, travel
from pages.ui.links import of_training
from pages.ui.text import capital, plain, source

# What stands in the sidebar itself; everything else is among the advanced settings.
_MAIN = ("limit", "epochs", "batch", "lr", "frozen_epochs", "augmentation", "balance", "patience", "seed")
_STARTS = {SCRATCH: "random weights", IMAGENET: "weights learned on ImageNet"}


@dataclass(frozen=True)
class Chosen:
    """What the sidebar says; `data` is the split that is learned from."""

    spec: TrainSpec
    data: Dataset
    device: str

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """The classes of the pictures that are learned from, looked at after each epoch, and tested on, by split."""
        return {split: opened(self.spec.dataset, split).labels
                for split in (self.spec.split, self.spec.validation, *self.spec.tests)}


def choose(address: Address) -> Chosen:
    """Every control; raises EngineError where one makes the rest impossible."""
    st.button("A first model", key=SCOPE.key("first"), on_click=travel, args=(SCOPE, {**first.FIRST}), width="stretch",
              help="A small network on 600 synthetic radiographs of 64 x 64 pixels: trained in about two minutes.")
    data, split = sources.dataset(address, "train")
    name = data.info.name
    if len(data) < 2:
        raise EngineError(f"{name}/{split} has too few images ({len(data)}); choose another split")
    arch = controls.choice(address, "arch", "Network", list(ARCHITECTURES), first.ARCH,
                           format_func=lambda one: ARCHITECTURES[one].title, always=True)
    st.caption(plain(ARCHITECTURES[arch].sentence))
    own = {entry.name: entry.card.arch for entry in models()}
    start = controls.choice(address, "start", "Begins with", first.starts(arch, own), SCRATCH,
                            format_func=lambda one: _STARTS.get(one, one), kind="weights to begin with",
                            help="A model of the same network has learned something already; its last layer is a new "
                                 "one where its classes are others.")
    defense = _defense(address)
    good, decided = first.suggested(data, arch, start, defense=defense), {} if defense is None else defense.settings
    address.carry(*decided)
    values = {p.name: _setting(address, p) for p in _suggested(good.values, decided, _MAIN)}
    with st.expander("Advanced settings"):
        parts = [_part(address, data, *part) for part in _PARTS]
        values |= {p.name: _setting(address, p) for p in _suggested(good.values, decided)}
        device = controls.device(address)
    spec = TrainSpec(dataset=name, arch=arch, name="", split=split, validation=parts[0], tests=(parts[1],),
                     start_from="" if start == SCRATCH else start, defense=written(defense), **values, **decided)  # type: ignore[arg-type]
    spec = replace(spec, name=_name(address, spec))
    return Chosen(replace(spec, command=command_of(spec)), data, device)


_PARTS = (("validation", "Best epoch chosen on"), ("test", "Tested on"))


def _part(address: Address, data: Dataset, part: str, label: str) -> str:
    """The split that belongs to the one that is learned from, unless another is chosen."""
    others = [split for split in data.info.splits if split != data.split] or list(data.info.splits)
    wished = (data.split.replace("train", part), data.split.replace("train", "test"), part, others[-1])
    return controls.choice(address, part, label, others, next(split for split in wished if split in others))


def _defense(address: Address) -> TrainingDefense | None:
    """The defense at training time, with its own settings."""
    def title(name: str) -> str:
        return TRAINING_DEFENSES[name].info.title if name else "none"

    name = controls.choice(address, "defense", "Defense", ["", *TRAINING_DEFENSES], "", format_func=title,
                           kind="defense at training time", help="How the network is hardened while it learns. To "
                           "harden one that has learned already, begin with that.")
    if not name:
        return None
    chosen = TRAINING_DEFENSES[name]
    info = chosen.info
    st.caption(f"{plain(info.sentence)} {source(info.paper)}", help=f"${info.formula}$  \n{plain(info.ours)}")
    found = build(chosen, {p.name: controls.param(address, p, SCOPE.control(f"defense.{name}.{p.name}"),
                                                  f"defense.{p.name}") for p in params_of(chosen)})
    for line in found.cautions():
        st.warning(plain(capital(line)))
    return found


def _suggested(good: Mapping[str, Value], decided: Mapping[str, Value], names: Sequence[str] = ()) -> list[Param]:
    """The parameters of these names, or all but those of the sidebar, with what is `good` as their default; without
    what is `decided`."""
    chosen = [p for p in params_of(TrainSpec) if p.name not in decided
              and (p.name in names if names else p.name not in _MAIN)]
    return [replace(p, default=good.get(p.name, p.default)) for p in chosen]


def _setting(address: Address, p: Param) -> Value:
    """Its control; another one where another default suits, so that what nobody has set follows what suits."""
    return controls.param(address, p, SCOPE.control(f"{p.name} {p.default}"), p.name)


def _name(address: Address, spec: TrainSpec) -> str:
    """What the model is called: something free, unless it is typed."""
    proposed = _proposed(spec)
    key = SCOPE.control(f"name {proposed}")

    def read(text: str) -> str:
        trained_path(text)
        return text

    seed = address.seed("name", key, read, proposed)
    typed = st.text_input("Name of the model", seed, key=key, max_chars=200,
                          help="Letters, digits, '-', '_', and '/' between folders.")
    name = typed.strip()
    address.note("name", None if name == proposed else name)
    trained_path(name)
    return name


def _proposed(spec: TrainSpec) -> str:
    """A name that is free, or that a model has which was trained just like that."""
    defense = defense_of(spec.defense)
    base = first.named(spec.dataset, spec.arch, "" if defense is None else defense.info.name)
    known = {entry.name: entry.card for entry in models()}
    number = 1
    while True:
        name = base if number == 1 else f"{base}-{number}"
        if name not in known or made_alike(known[name], spec):
            return name
        number += 1


# ---- what was not ended


def unfinished() -> None:
    """Trainings that were stopped and can go on."""
    working = {job.task.spec.spec.name for job in list(jobs()._jobs.values())
               if job.task.kind == "training" and not job.state.over}
    left = [one for one in all_unfinished() if one.name not in working]
    if not left:
        return
    st.subheader("Not ended", divider="gray", help="Each goes on after its last whole epoch, with the same result as "
                 "if it had never been stopped.")
    for one in left:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(plain(f"{one.name}: {len(one.history)} of {one.epochs} epochs"), width="content")
            try:
                texts = of_training(spec_of(one.spec))
            except EngineError:
                st.caption("of another version; it cannot go on")
                continue
            st.button("Set the page to it", key=SCOPE.key(f"resume {one.name}"), on_click=travel, args=(SCOPE, texts),
                      help="Run then goes on with it.")
            st.button("Forget", key=SCOPE.key(f"forget {one.name}"), type="tertiary", on_click=forget,
                      args=(trained_path(one.name),), help="It begins anew when it is asked for again.")
