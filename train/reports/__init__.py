"""Commands about trained runs: their curves and verdict, energies, collapse, architectures compared."""
