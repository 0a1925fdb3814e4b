"""Programs made by Go."""
