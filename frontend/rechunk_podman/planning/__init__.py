"""Planning: from components (and the Ledger of the previous image) to a Plan. Pure functions only."""
