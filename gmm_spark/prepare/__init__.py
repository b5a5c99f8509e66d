"""Tables made ready for a fit: columns prepared, customers from transactions, outcomes."""
