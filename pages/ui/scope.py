"""Which page it is that shared controls, wishes and memories belong to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scope:
    """A page's part of the session: every key that belongs to the page is made here, so that pages may share controls
    and none sees what another's say."""

    page: str

    def control(self, name: str) -> str:
        """The key of a control, or of what stands for one."""
        return f"{self.page}.{name}"

    def key(self, name: str) -> str:
        """The key of anything else: what the session remembers, buttons, plots."""
        return f"{self.page} {name}"
