"""Packages of PHP, as Composer installs them."""
