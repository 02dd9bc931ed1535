"""A finished run in numbers."""

import streamlit as st

from pages.exploring import verdict
from pages.exploring.run import Run
from pages.ui import pictures
from pages.ui.charts import percent
from pages.ui.text import plain


def show(run: Run) -> None:
    facts, size = run.facts, run.facts["size"]
    provenance, spec = facts["run"]["provenance"], facts["run"]["spec"]
    seen = facts["visibility"]
    pictures.numbers([
        ("L∞", verdict.levels(size["linf"]), "",
         "The largest change of any pixel; 1/255 is one step of an 8-bit picture."),
        ("L2", f"{size['l2']:.3g}", "", "The root of the summed squares of all pixel changes, pixels in [0, 1]."),
        ("L0", f"{size['l0']:,}", "pixels",
         f"How many pixels changed at all: {percent(size['l0_share'])} of the picture."),
        ("PSNR", "∞" if size["psnr"] is None else f"{size['psnr']:.1f}", "" if size["psnr"] is None else "dB",
         "Peak signal-to-noise ratio: above 40 dB two pictures look the same to nearly everyone."),
        ("SSIM", f"{size['ssim']:.4f}", "", "Structural similarity from -1 to 1; 1 is the same picture."),
        ("Visibility", f"{seen['score']:.2f}", "JND", "The change where it is easiest to see, in just-noticeable "
         "differences of the eye. An estimate, not a reader study."),
        ("Queries", f"{facts['queries']:,}", "", "How often the attack asked the model about this picture."),
        ("Gradients", f"{facts['gradients']:,}", "", "How often the attack computed which way to go."),
        ("Time", f"{facts['run']['seconds']:.2f}", "s", "The attack with its final checks, without loading the model."),
        ("Device", provenance["device"], "", "Which processor computed."),
        ("Seed", str(spec["seed"]), "", "The same seed and settings give the same picture again on the same device."),
    ])
    rows = [("before the attack", "clean"), ("after the attack", "adversarial"), ("saved as 8-bit PNG", "png8"),
            ("saved as JPEG, quality 90", "jpeg90")]
    header = f"| The model says | {' | '.join(map(plain, run.classes))} |\n|:--|{'--:|' * len(run.classes)}\n"
    st.markdown(header + "\n".join(f"| {title} | {' | '.join(percent(p) for p in facts['probabilities'][key])} |"
                                   for title, key in rows))
