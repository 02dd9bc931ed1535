"""A finished run in numbers."""

import streamlit as st

from pages.exploring import verdict
from pages.exploring.run import Run
from pages.ui import pictures
from pages.ui.charts import percent
from pages.ui.text import plain


def show(run: Run) -> None:
    explored, size, ran = run.explored, run.explored.size, run.explored.run
    pictures.numbers([
        ("L∞", verdict.levels(size.linf), "",
         "The largest change of any pixel; 1/255 is one step of an 8-bit picture."),
        ("L2", f"{size.l2:.3g}", "", "The root of the summed squares of all pixel changes, pixels in [0, 1]."),
        ("L0", f"{size.l0:,}", "pixels",
         f"How many pixels changed at all: {percent(size.l0_share)} of the picture."),
        ("PSNR", "∞" if size.psnr is None else f"{size.psnr:.1f}", "" if size.psnr is None else "dB",
         "Peak signal-to-noise ratio: above 40 dB two pictures look the same to nearly everyone."),
        ("SSIM", f"{size.ssim:.4f}", "", "Structural similarity from -1 to 1; 1 is the same picture."),
        ("Visibility", f"{explored.visibility.score:.2f}", "JND", "The change where it is easiest to see, in "
         "just-noticeable differences of the eye. An estimate, not a reader study."),
        ("Queries", f"{explored.queries:,}", "", "How often the attack asked the model about this picture."),
        *([("Refused", f"{ran.refused:,}", "queries", "How many of them the defended model did not answer.")]
          if ran.spec.defenses else []),
        ("Gradients", f"{explored.gradients:,}", "", "How often the attack computed which way to go."),
        ("Time", f"{ran.seconds:.2f}", "s", "The attack with its final checks, without loading the model."),
        ("Device", ran.provenance.device, "", "Which processor computed."),
        ("Seed", str(ran.spec.seed), "", "The same seed and settings give the same picture again on the same device."),
    ])
    said = explored.probabilities
    rows = [("before the attack", said.clean), ("after the attack", said.adversarial),
            ("saved as 8-bit PNG", said.png8), ("saved as JPEG, quality 90", said.jpeg90),
            *((title, values) for values, title in verdict.in_file(explored))]
    header = f"| The model says | {' | '.join(map(plain, run.classes))} |\n|:--|{'--:|' * len(run.classes)}\n"
    st.markdown(header + "\n".join(f"| {title} | {' | '.join(map(percent, values))} |" for title, values in rows))
    if (file := explored.in_file) is not None:
        st.caption(plain(
            f"The file stores whole values, a step of which is {file.step:.3g} {file.unit}, "
            f"{_finer(file.finer)}. Written into its own {file.columns} x {file.rows} pixels no value moves by more "
            f"than {file.largest:.4g} {file.unit}: pixels of the file have to move further than those of the picture "
            "that models see, as shrinking it evens them out. What lies beyond the window's ends stays as it is."))


def _finer(times: float) -> str:
    return "as fine as those of 8 bits" if times < 1.05 else f"{times:.3g} times finer than one of 8 bits"
