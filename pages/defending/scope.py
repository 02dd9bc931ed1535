"""The page's part of the session."""

from pages.ui.scope import Scope

SCOPE = Scope("defend")
