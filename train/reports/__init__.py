"""Reports on trained runs: curves and verdict, energies, collapse, architectures compared over seeds."""
