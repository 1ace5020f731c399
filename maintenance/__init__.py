"""Jobs that an operator runs beside live work: replay, reconcile, redrive."""
