"""Synthesis of the generated RTL: area today, clock and energy to come."""
