"""What changed between two images, for people: packages, commits, the download."""
