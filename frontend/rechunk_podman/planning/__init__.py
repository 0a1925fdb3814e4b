"""From components (and the Ledger of the previous image) to a Plan: pure functions alone."""
