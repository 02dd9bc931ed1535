"""What belongs to the Black box page alone."""

from pages.ui.scope import Scope

SCOPE = Scope("blackbox")
