"""What the Transfer page lets choose besides: what the attacks are made on."""

from collections.abc import Sequence

import streamlit as st

from engine.attacks.base import Attack
from engine.attacks.spec import has_gradients
from engine.errors import EngineError, UnknownName
from engine.experiments.openings import TRANSFER
from engine.experiments.transfers.transfer import OTHERS, TOGETHER, Transfer, classes_of, ensembles, transfer_of
from pages.ui import controls, sources
from pages.ui.address import Address
from pages.ui.choosing import Chosen, Wants


def offered(attack: type[Attack]) -> bool:
    """Whether what the attack makes on one model can be shown to another without asking that."""
    return has_gradients(attack.info.knowledge)


WANTS = Wants(TRANSFER, offers=offered,
              models_help="These are to be fooled; where nothing else is said, they are also what the attacker has.")
_ENSEMBLES = {"": "none", TOGETHER: "all sources as one", OTHERS: "for every model all others as one"}


def transfer(address: Address, chosen: Chosen) -> Transfer:
    """The controls of the sources, and all that was chosen; raises EngineError."""
    single = _sources(address, chosen) or list(chosen.models)
    kind = controls.choice(address, "ensemble", "Ensembles as sources", tuple(_ENSEMBLES), "",
                           format_func=lambda name: _ENSEMBLES[name],
                           help="Several models attacked as one, by the mean of their logits: what fools all of them "
                                "often fools another one, too.")
    if len({*single, *chosen.models}) < 2:
        raise EngineError(f"transfer needs two models that know the same classes; choose another, or train one: "
                          f"python -m engine train --dataset {chosen.name} --arch resnet18 --name my/resnet18")
    every = [*single, *(ensembles(single, kind) if kind else ())]
    return transfer_of(chosen.name, chosen.split, chosen.indices, every, chosen.models, chosen.specs())


def _sources(address: Address, chosen: Chosen) -> list[str]:
    """The models that the attacker has, where they are not those to be fooled."""
    titles = {entry.name: entry.title for entry in sources.fitting(chosen.data.info) if _alike(entry.name, chosen)}
    options = list(dict.fromkeys([*titles, *chosen.models]))

    def read(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in options:
                raise UnknownName("source", name, options)
        return names

    def valid(names: Sequence[str]) -> bool:
        return all(name in options for name in names)

    key = address.scope.control_of("sources", chosen.name)
    seed = address.seed("sources", key, read, [], valid)
    names: list[str] = st.multiselect("The attacker has", options, controls.kept(options, seed), key=key,
                                      placeholder="the same models", format_func=lambda name: titles.get(name, name),
                                      help="The models that the images are made on, one after another. Empty: each of "
                                           "the models above.")
    address.note("sources", ",".join(names) or None)
    return names


def _alike(name: str, chosen: Chosen) -> bool:
    try:
        classes_of(name, chosen.models[0])
    except EngineError:
        return False
    return True
