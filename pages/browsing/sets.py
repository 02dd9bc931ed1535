"""Which data sets there are, what the chosen one has, and what is wrong with it."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from engine.data import DATASETS, DatasetEntry, find
from engine.data.check import Checked
from engine.data.download import folder
from engine.data.overview import Overview, Part, Sizes, gap_lines, overview
from engine.errors import EngineError
from engine.experiments.datasets.checking import checked_of, checking_task
from engine.experiments.datasets.downloading import downloading_task
from engine.work.jobs import jobs
from engine.work.kinds import Task
from engine.work.room import size_text
from pages.browsing.scope import SCOPE
from pages.ui import figures, own, progress, sources
from pages.ui.address import Address, force
from pages.ui.charts import PALETTE, counted, percent
from pages.ui.text import capital, literal, plain

SETTINGS = ("dataset", "split")
FRESH = 60  # seconds for which what lies on the disk is taken to be as it was seen last
MOST_CLASSES = 24  # that a figure shows
LISTED = 200  # damaged files that a table lists


def show(address: Address) -> None:
    """The table of all, the chosen one below it."""
    with st.sidebar:
        wrong = _chosen(address)
    name = address.current(SCOPE.control("dataset"))
    _all(name)
    sources.say(address, [wrong])
    try:
        entry = find(name)
    except EngineError:
        return  # said already
    st.subheader(plain(entry.info.title), divider="gray")
    reason = entry.missing()
    if reason is not None:
        st.info(plain(reason))
        _offer(entry)
    _facts(entry)
    if reason is None and wrong is None:
        _inside(name)


def _chosen(address: Address) -> str | None:
    """The controls for the data set and its split; what is wrong with what they say."""
    try:
        sources.dataset(address)
    except EngineError as error:
        address.carry("split")
        missing = _missing(address.current(SCOPE.control("dataset")))
        return None if missing else capital(error)
    return None


def _missing(name: str) -> bool:
    try:
        return find(name).missing() is not None
    except EngineError:
        return False


def _all(name: str) -> None:
    names = list(DATASETS)
    rows = [_row(DATASETS[one]) for one in names]
    here = sum(row["here"] for row in rows)
    st.markdown(f"**{counted(here, 'data set')} here, {len(rows) - here} to be had.** "
                "Choose one in the table; type `folder:PATH` or `manifest:PATH` on the left for your own.")
    key = SCOPE.key(f"all sets {name}")
    st.dataframe(pd.DataFrame(rows), hide_index=True, key=key, height=282, row_height=34,
                 on_select=lambda: _pick(key, names), selection_mode="single-row", column_config=_COLUMNS,
                 selection_default={"selection": {"rows": [names.index(name)] if name in names else []}})


_COLUMNS = {"here": st.column_config.CheckboxColumn("here", width=50),
            "data set": st.column_config.TextColumn(width=290), "classes": st.column_config.TextColumn(width=250)}


def _row(entry: DatasetEntry) -> dict[str, object]:
    info = entry.info
    modality = info.modality or ("synthetic" if info.synthetic else "")
    return {"here": entry.missing() is None, "name": info.name, "data set": info.title, "modality": modality,
            "classes": ", ".join(info.classes), "licence": info.terms}


def _pick(key: str, names: list[str]) -> None:
    """In a callback: the data set whose row was clicked is the chosen one."""
    if chosen := st.session_state[key].selection.rows:
        force(SCOPE.control("dataset"), names[chosen[0]])


def _facts(entry: DatasetEntry) -> None:
    info = entry.info
    st.markdown(plain(info.sentence))
    lines = {"Classes": _some(info.classes), "Findings": _some(info.findings), "Source": info.source,
             "Licence": info.terms, "How to get it": info.obtain, "Where it is looked for": "; ".join(info.layouts),
             "How splits keep pictures together": info.grouping}
    st.markdown("\n".join(f"- **{name}**: {plain(text)}" for name, text in lines.items() if text))


def _some(names: tuple[str, ...]) -> str:
    more = f", and {len(names) - MOST_CLASSES:,} more" if len(names) > MOST_CLASSES else ""
    return ", ".join(names[:MOST_CLASSES]) + more


def _offer(entry: DatasetEntry) -> None:
    """The download, where the licence allows it, the checksum is known, and visitors may."""
    info, remote = entry.info, entry.info.remote
    if remote is None:
        st.caption("It is not offered for download here: its terms ask for a registration, or its publisher gives no "
                   "checksum by which what comes could be believed.")
        return
    if not own.keeps():
        st.caption("Whoever runs this server can download it.")
        return
    size = f", {size_text(remote.size)}" if remote.size else ""
    task = downloading_task(info.name)
    payload = progress.on_request(
        SCOPE, task, plain(f"From {remote.host}{size}, under {info.terms}. It is believed only with the published "
                           f"{remote.checksum.split(':')[0].upper()}; what was cut off or stopped goes on from there. "
                           f"It goes to {folder()}."), "Download", name="download")
    if payload is None:
        return
    if entry.missing() is not None and (job := jobs().find(task)) is not None:  # removed again since
        jobs().renew(job)
    _overview.clear()
    _check.clear()
    st.rerun()


@st.cache_data(ttl=FRESH, max_entries=16, show_spinner="Looking at the files")
def _overview(name: str) -> Overview:
    return overview(name)


@st.cache_data(ttl=FRESH, max_entries=16, show_spinner=False)
def _check(name: str) -> Task:
    return checking_task(name)


def _inside(name: str) -> None:
    try:
        found = _overview(name)
    except EngineError as error:
        st.error(plain(capital(error)))
        return
    balance, files = st.columns([3, 2], gap="large")
    with balance:
        st.markdown("**Class balance**")
        st.plotly_chart(_balance(found.parts), width="stretch", key=SCOPE.key("balance"))
        figures.table(SCOPE, _table(found.parts), "splits")
        if found.parts[0].findings:
            st.markdown("**Findings**, of which a picture may have several")
            figures.table(SCOPE, _findings(found.parts), "findings")
        if found.closed:
            st.caption(plain(f"Too small for: {', '.join(found.closed)}."))
    with files:
        st.markdown("**Files**")
        _sizes(found.sizes)
        for line in gap_lines(found.gaps) or ["No damage, no label without a file, no file without a label at first "
                                              "sight."]:
            st.markdown(plain(line))
        _damaged([(one.name, one.reason) for one in found.gaps.damaged], "at first sight")
    st.markdown("**Every picture, and what splits share**")
    _checked(name)


def _sizes(sizes: Sizes | None) -> None:
    if sizes is None:
        st.warning("None of the pictures that were looked at can be read.")
        return
    same = sizes.smallest == sizes.largest
    st.markdown(plain(f"Pixels: {sizes.smallest}" if same else
                      f"Pixels: from {sizes.smallest} over {sizes.median} to {sizes.largest}"))
    depths = ", ".join(f"{name} ({count / sizes.looked_at:.0%})" if len(sizes.depths) > 1 else name
                       for name, count in sizes.depths.items())
    st.markdown(plain(f"Stored as: {depths}"))
    st.caption(f"By the heads of {counted(sizes.looked_at, 'file')}. Models see {_SEEN}.")


_SEEN = "them with 224 x 224 pixels, those of MedMNIST as they are"


def _checked(name: str) -> None:
    """The look at every picture, which takes a while."""
    try:
        task = _check(name)
    except EngineError as error:
        st.error(plain(capital(error)))
        return
    payload = progress.on_request(
        SCOPE, task, "Looks at every picture once: damage inside, patients and nearly identical pictures that two "
                     "splits share.", "Check every picture", name="check")
    if payload is not None:
        _result(checked_of(payload))


def _result(found: Checked) -> None:
    if not found.warnings:
        st.success("Every picture was read; nothing is wrong with it that can be seen.")
    for line in found.warnings:
        st.warning(plain(capital(line)))
    _damaged([(one.name, one.reason) for one in found.damaged], "found by the check")
    pairs = [{"in": leak.splits[0], "picture": one, "and in": leak.splits[1], "nearly the same": other,
              "bits apart": bits} for leak in found.leaks for one, other, bits in leak.pairs]
    if pairs:
        with st.expander("Nearly identical pictures"):
            figures.table(SCOPE, pd.DataFrame(pairs), "pairs")
    shared = [{"in": leak.splits[0], "picture": one, "and in": leak.splits[1], "of the same patient": other}
              for leak in found.leaks for one, other in leak.examples]
    if shared:
        with st.expander("Patients in two splits"):
            figures.table(SCOPE, pd.DataFrame(shared), "patients")
    if found.sizes is not None:
        _sizes(found.sizes)


def _damaged(files: list[tuple[str, str]], when: str) -> None:
    if not files:
        return
    with st.expander(f"{counted(len(files), 'damaged file')}, left out ({when})"):
        figures.table(SCOPE, pd.DataFrame(files[:LISTED], columns=["file", "what is wrong"]), f"damaged {when}")


def _table(parts: tuple[Part, ...]) -> pd.DataFrame:
    """A row a split; of very many classes the numbers stand in the file to be downloaded only."""
    rows = []
    for part in parts:
        facts: dict[str, object] = {"split": part.split, "images": part.images,
                                    "patients": "unknown" if part.patients is None else f"{part.patients:,}"}
        if len(part.classes) <= MOST_CLASSES:
            facts |= part.classes
        else:
            counts = list(part.classes.values())
            facts |= {"classes": len(counts), "smallest class": min(counts), "largest class": max(counts)}
        rows.append(facts)
    return pd.DataFrame(rows)


def _findings(parts: tuple[Part, ...]) -> pd.DataFrame:
    """A row a finding, a column a split."""
    return pd.DataFrame([{"finding": name} | {
        part.split: f"{part.findings[name]:,} ({percent(part.findings[name] / part.images)})" if part.images else "0"
        for part in parts} for name in parts[0].findings])


def _balance(parts: tuple[Part, ...]) -> go.Figure:
    """A bar a split, parted into its classes, the largest ones where there are very many."""
    largest = set(sorted(parts[0].classes, key=lambda name: -max(p.classes[name] for p in parts))[:MOST_CLASSES])
    names = [name for name in parts[0].classes if name in largest]
    rest = "all other classes"
    figure, splits = go.Figure(), [literal(part.split) for part in parts]
    shown: list[tuple[str, list[int]]] = [(name, [part.classes[name] for part in parts]) for name in names]
    if len(names) < len(parts[0].classes):
        shown.append((rest, [part.images - sum(part.classes[name] for name in names) for part in parts]))
    for number, (name, counts) in enumerate(shown):
        shares = [count / part.images if part.images else 0 for count, part in zip(counts, parts, strict=True)]
        label = literal(_short(name))
        figure.add_bar(y=splits, x=shares, name=label, orientation="h", marker={"color": PALETTE[number % 8]},
                       customdata=counts, text=[f"{count:,}" for count in counts], textposition="inside",
                       insidetextanchor="middle", textangle=0,
                       hovertemplate="%{y}, " + label + ": %{customdata:,} (%{x:.1%})<extra></extra>")
    figure.update_layout(barmode="stack", height=70 + 26 * len(parts), margin={"l": 0, "r": 24, "t": 28, "b": 0},
                         legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
                         xaxis={"range": [0, 1], "tickformat": ".0%"}, yaxis={"autorange": "reversed",
                                                                           "ticklabelstandoff": 6},
                         uniformtext={"minsize": 9, "mode": "hide"}, bargap=0.25)
    return figure


def _short(name: str, most: int = 36) -> str:
    return name if len(name) <= most else f"{name[:most - 1]}…"
