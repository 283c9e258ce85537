"""Files of a protein's study in its run folder, beside those of `studies.molecule.files` and the dataset."""

DYNAMICS = "data/dynamics.npz"  # frames of all atoms, chain by chain
# coordinates of one slice, whitened by what was seen: those of flows that learn from either, and of the ladders
OF_DYNAMICS = "data/coordinates-of-dynamics.npz"
OF_SLICE = "data/coordinates-of-slice.npz"
MIXED = "data/coordinates-mixed.npz"
SLOW = "data/slow-plane.npz"  # the slowest motions of the torsions, where training goes along them
LADDER = "data/ladder/state.npz"


def ladder_block(i: int) -> str:
    return f"data/ladder/block-{i:04d}.npz"
