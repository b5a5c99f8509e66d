"""What the jobs read and write: tables, results, manifests, and the run around them."""
