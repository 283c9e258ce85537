"""Studies of the bistable dimer in a bath of discs."""
