"""Names of the files that a molecule's run keeps under ``data/``, beside `dataset.FRAMES`."""

MOLECULE = "data/molecule.npz"  # what was built: later stages do not read the input file again
PDB = "data/molecule.pdb"  # topology of every trajectory
STARTS = "data/starts.npz"  # where ladders start
EXCHANGE = "data/exchange.npz"  # replica exchange so far, until it is done
COORDINATES = "data/coordinates.npz"  # `coords.CoordinateFit`
DOMAIN = "data/domain.npz"  # which frames lie in the coordinates' domain, and what they remember
CHAINS = "data/chains.npz"  # short Langevin chains, where nothing else is simulated
TARGET_TEST = "data/target_test.npz"  # what these say of their force field and temperature
TRAJECTORIES = "data/trajectories.npz"  # what was read of the user's trajectories, and left out
