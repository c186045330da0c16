"""Accelerators, one file per vendor. ``docs/accelerators.md`` says what of each was tried, and on what."""
