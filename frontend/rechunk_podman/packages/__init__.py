"""Package managers: readers of their databases and the order of versions, one folder for each."""
