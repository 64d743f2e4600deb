"""What a node says of its own end, put together from what it reported before."""

from __future__ import annotations

from otp.messages import ChildExited, EssentialEnded, GaveUp, NodeFault, Report

AS_WISHED = ("normal", "shutdown")
"""Ends that nobody gives up for."""


class Memory:
    """Remembers of all reports the few words that tell why a tree has ended."""

    def __init__(self) -> None:
        self.text = ""
        self._crash = ""

    def hear(self, report: Report) -> None:
        """Called with every report, in their order."""
        match report:
            case ChildExited(path, _, _, reason) if reason.kind not in AS_WISHED:
                self._crash = f"{path}: {reason}; "
            case GaveUp(path, _, reason):
                self.text = f"{path} gave up: {self._crash}{reason.text or reason}"
            case EssentialEnded(path, _, reason):
                self.text = f"{path}, which is essential, has ended: {reason}"
            case NodeFault(path, _, text):
                self.text = f"{path}: {text}"
