"""Python distributions, as pip and uv install them."""
