"""Which keys of the session are the Epsilon page's."""

from pages.ui.scope import Scope

SCOPE = Scope("epsilon")
