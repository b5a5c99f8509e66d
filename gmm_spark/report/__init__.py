"""What is said of segments: profiles of their rows, tables of text."""
