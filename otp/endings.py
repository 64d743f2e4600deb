"""What ends a worker inside a call that waits for its reply."""

from __future__ import annotations

from otp.messages import Reason


class ShutDown(BaseException):
    """Raised inside a blocked call when the supervisor wants this process gone."""


class Killed(BaseException):
    """An exit signal ends this process, inside a blocked call too: nobody needs the reply."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(str(reason))
