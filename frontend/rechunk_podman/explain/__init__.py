"""Explanations of an image (inspect), an update (download), and differences of two trees (files)."""
