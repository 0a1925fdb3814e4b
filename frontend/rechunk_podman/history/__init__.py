"""Histories of published images: what each release held, for replays by the planner."""
