"""What a reader must know besides a result."""

from collections.abc import Iterable, Iterator

from engine.attacks.spec import MASKS
from engine.experiments.defended import told
from engine.experiments.onepicture import suited
from engine.experiments.sources import Picture
from engine.zoo.registry import model_card
from pages.exploring.run import Run
from pages.ui import runs
from pages.ui.sweeping import origin

FINER = 1.05  # times as fine as 8 bits, from which it is worth a word


def of(run: Run) -> list[str]:
    """What a reader must know besides: about the picture, from the attack, about keeping the result."""
    # What the verdict has told already.
    known = ("so there was nothing to succeed on", "vanish when the image is saved with 8 bits")
    warnings = [warning for warning in run.explored.run.warnings if not warning.endswith(known)]
    lines = [*_origin(run), *_in_file(run), *warnings, run.job.note]
    return [*_besides(run.settings, run.picture), *_sentences(lines)]


def foreseen(settings: runs.Settings, picture: Picture) -> list[str]:
    """What a reader must know besides, as far as it is known before the attack has run; what stands before the model,
    too, which the verdict tells then."""
    front = [f"the model stands {told(settings.attack)}"] if settings.attack.defenses else []
    return [*_sentences(front), *_besides(settings, picture)]


def _besides(settings: runs.Settings, picture: Picture) -> list[str]:
    lines = [*picture.notes, *_confined(settings)]
    if settings.company:
        lines.append(f"attacked together with the {len(settings.company) - 1} others of its batch, as it was counted "
                     "there; choose another picture to attack one alone")
    lines += suited.reservations(model_card(settings.model), picture)
    return _sentences(lines)


def _origin(run: Run) -> Iterator[str]:
    """Where an example comes from, and what it lacks."""
    if run.job.example is not None:
        came = origin(run.job.example, run.explored.run.provenance).rstrip(".")
        yield f"{came}; pictures of its steps are left out, Run makes them"


def about(picture: Picture) -> list[str]:
    """What a reader must know of the picture itself."""
    return _sentences(picture.notes)


def _in_file(run: Run) -> Iterator[str]:
    """What finer steps than those of 8 bits change for the attacker."""
    file, eps, units = run.explored.in_file, run.settings.attack.eps, run.picture.stored_units
    if file is None or units is None or eps is None or run.settings.attack.norm != "linf" or file.finer < FINER:
        return
    here, there = (2 * int(eps * steps + 1e-6) for steps in (abs(units.scale) / file.step, 255))
    yield (f"the file stores steps of {file.step:.3g} {file.unit}, {file.finer:.3g} times finer than 8 bits: within "
           f"this epsilon each value has {here} others to move to, with 8 bits {there or 'none'}")


def _sentences(lines: Iterable[str]) -> list[str]:
    lines = [line.removeprefix("1 of 1 images: ") for line in lines]
    return [line[0].upper() + line[1:].rstrip(".") + "." for line in lines if line]


def _confined(settings: runs.Settings) -> Iterator[str]:
    """What was different for the attacker: another model's gradients, only a part of the picture."""
    if settings.attack.surrogate:
        yield f"the attack was made on {settings.attack.surrogate}, without a look into {settings.model}"
    if settings.attack.mask:
        yield f"only a part of the picture could change: {MASKS[settings.attack.mask.partition(':')[0]]}"
