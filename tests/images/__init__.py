"""Builders of real images for the tests, from the distribution's packages, without any image registry.

`python -m images NAME` (with tests/ as the working directory) builds one and prints where it is.
"""
