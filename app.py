"""Perturbscope's dashboard: streamlit run app.py."""

from pages.ui import shell

shell.main()
