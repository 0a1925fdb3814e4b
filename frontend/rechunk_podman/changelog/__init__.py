"""Changelogs: the packages, commits and downloads between two images, for people."""
