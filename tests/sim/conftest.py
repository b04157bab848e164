"""Tests that need what only the `bench` extra brings are collected where it is installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["test_sim_torch.py"]
