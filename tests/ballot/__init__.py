"""Tests of `ballot`, a file for each of its modules."""
