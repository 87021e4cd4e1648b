"""Self-contained HTML pages about a run or a sweep: tables and interactive figures in a file that needs no network."""
