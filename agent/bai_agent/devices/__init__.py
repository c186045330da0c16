"""Devices: what a host has, and what a container must be given to use its share of it."""
