"""The replication protocol in a hostile, reproducible world: the very code that production runs."""
