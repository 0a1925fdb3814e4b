"""Pages about images, updates and replays: each one file of HTML that needs no network."""
