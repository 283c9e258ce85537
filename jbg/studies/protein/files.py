"""Files of a protein's study in its run folder, beside those of `studies.molecule.files` and the dataset."""

DYNAMICS = "data/dynamics.npz"  # frames of all atoms, chain by chain
COORDINATES = "data/coordinates.npz"  # of the flow, fitted to what it learns from
OF_DYNAMICS = "data/coordinates-of-dynamics.npz"  # which chains on the slice move in
LADDER = "data/ladder/state.npz"


def ladder_block(i: int) -> str:
    return f"data/ladder/block-{i:04d}.npz"
