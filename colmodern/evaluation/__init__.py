"""What is computed about results: measures, significance, comparisons. Imports no torch."""
