"""What is made of results: statistics, figures, pages."""
