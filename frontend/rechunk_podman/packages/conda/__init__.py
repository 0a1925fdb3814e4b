"""Packages of conda environments."""
