"""Results to files: tables, figures and pages, each written whole or not at all."""
