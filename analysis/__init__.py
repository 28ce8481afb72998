"""What came out: reads the files of finished runs and writes tables, figures, comparisons, verdicts. Never trains."""
