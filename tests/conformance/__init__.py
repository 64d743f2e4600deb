"""Runs supervision scenarios recorded from Erlang/OTP: `python -m tests.conformance PATH...`.

A PATH is a .jsonl file or a folder of such files. `scenario` reads them, a `World` acts them out
(`virtual`: the pure state machine, simulated workers, virtual time; `real`, with --processes: OS
processes), `compare` says what differs. `scenarios/` holds some of our own, in the same format.
"""
