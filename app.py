"""Perturbscope's dashboard: streamlit run app.py."""

import streamlit as st

from pages.ui import gate, shell

if __name__ == "__main__":
    shell.main()
else:
    # The server imports this file for what wraps the page, and runs it as a script for every visitor.
    app = st.App(__file__, middleware=gate.MIDDLEWARE)
