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

    def control_of(self, name: str, of: object) -> str:
        """The key of a control that is another one for every `of`, such as a data set: the browser sends back the words
        that it shows, and those of one mean nothing, or something else, to another."""
        return self.control(f"{name} {of}")

    def key(self, name: str) -> str:
        """The key of anything else: what the session remembers, buttons, plots."""
        return f"{self.page} {name}"
