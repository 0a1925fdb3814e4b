"""What package managers recorded: database readers and version order, one folder a package manager."""
