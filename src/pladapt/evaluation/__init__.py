"""What labels may tell: cut-off, temperature, audits of scores, evaluators."""
