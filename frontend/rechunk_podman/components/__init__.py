"""Components, the files that change together: one module for each source, and the assignment."""
