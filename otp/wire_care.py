"""From what a person writes of a child's care to what a node holds of it."""

from __future__ import annotations

from typing import Any

from otp import codec
from otp.care import Backoff, Liveness, Ready, ways
from otp.care_checks import request_of
from otp.spec import ChildSpec
from otp.wire_tree import WireBackoff, WireCare, WireProbe


def care(spec: ChildSpec) -> WireCare | None:
    """Nothing where nothing is asked for: such a child costs nothing more."""
    made = WireCare(
        ready=_probe(spec.ready),
        liveness=_probe(spec.liveness),
        heartbeat=float(spec.heartbeat or 0),
        start_timeout=0.0 if spec.start_timeout == "infinity" else float(spec.start_timeout),
    )
    return None if made == WireCare() else made


def _probe(spec: Any) -> WireProbe | None:
    if spec is None:
        return None
    assert isinstance(spec, Ready | Liveness), "a checked spec has no other"
    (how,) = ways(spec)
    how_encoded, body = (0, b"") if spec.call is None else codec.dump(request_of(spec.call))
    return WireProbe(
        how=how,
        target=spec.tcp or spec.http or getattr(spec, "log", None) or "",
        command=tuple(spec.exec or ()),
        request=body,
        codec=how_encoded,
        timeout=float(spec.timeout),
        interval=float(spec.interval),
        failures=getattr(spec, "failures", 1),
    )


def backoff(spec: Any) -> WireBackoff | None:
    """The pauses between restarts, if any."""
    if spec is None:
        return None
    assert isinstance(spec, Backoff), "a checked spec has no other"
    return WireBackoff(*(float(getattr(spec, name)) for name in WireBackoff.__struct_fields__))
