"""What is shown of evaluations: tables, HTML pages and pictures. Imports no torch."""
