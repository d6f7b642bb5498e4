"""The zoo: names, weights sources, input contract."""
