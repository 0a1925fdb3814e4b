"""Java archives."""
