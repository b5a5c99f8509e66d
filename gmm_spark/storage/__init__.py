"""What jobs read and write: files, tables and their columns, the directory of a result."""
