"""The options of each subcommand, as frozen dataclasses that tyro turns into flags and help."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Literal

import tyro

FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def _count(text: str) -> int:
    """A whole number, as 100000 or 1e5."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise ValueError(f"not a whole number: {text!r}")
    return int(value)


Count = Annotated[
    int,
    tyro.conf.arg(aliases=["-n"]),
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda given: _count(given[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every system takes."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Run folder, runs/NAME unless given; an unfinished run there goes on."""
    seed: int = 0
    """Root of all random numbers."""
    preset: str = "quick"
    """quick (minutes) or full (may take hours)."""
    dry_run: Flag = False
    """Print what the run would cost, and stop."""
    quiet: Flag = False
    """No progress bars."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """What model systems in kT take too."""

    taus: tuple[float, ...] = (1.0,)
    """Relative temperatures to train, sample and report at, 1 among them."""
    w_rc: float = 0.0
    """Weight of the entropy along the collective variable, which fills barriers; 1 to 10 to use it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoubleWellOptions(ModelOptions):
    """Two wells in the plane: u(x, y) = a4 x^4 - a2 x^2 + a1 x + k y^2 / 2, in kT."""

    a4: float = 1.0
    """Coefficient of x^4."""
    a2: float = 6.0
    """Coefficient of -x^2."""
    a1: float = 1.0
    """Coefficient of x."""
    k: float = 1.0
    """Stiffness along y."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MuellerBrownOptions(ModelOptions):
    """Three basins in the plane, in kT."""

    taus: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 3.0)
    """Relative temperatures to train, sample and report at, 1 among them."""
    scale: float = 0.1
    """Factor on the textbook's energies."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DimerOptions(ModelOptions):
    """A bistable dimer in a dense bath of soft discs, in kT."""

    taus: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Relative temperatures to sample and report at, 1 among them."""
    dimer: str = "tilted"
    """The dimer's term: tilted (the published runs), default, printed or hsu-fobe."""
    wall: float = 200.0
    """Constant of the walls."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExploredDimerOptions(DimerOptions):
    """The same dimer from one closed configuration, without umbrella sampling."""

    taus: tuple[float, ...] = (1.0,)
    """Relative temperatures to sample and report at, 1 among them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlanineOptions(RunOptions):
    """ACE-ALA-NME, built from its sequence, in implicit solvent, no constraints."""

    temperature: float = 300.0
    """In K."""
    forcefield: tuple[str, ...] = FORCEFIELD
    """OpenMM force field files."""
    energies: Literal["jax", "openmm"] = "jax"
    """Where they come from: the force field compiled to JAX, or OpenMM on the host."""
    data: Literal["simulated", "none"] = "simulated"
    """simulated: by replica exchange, first of all; none: learns from energies alone (a few residues)."""
    recipe: Literal["own-samples", "transport", "bootstrap", "annealed-kl"] = "own-samples"
    """How, with --data none; transport: CMT; bootstrap: FAB; annealed-kl: reverse KL from 4 T down."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoleculeOptions(RunOptions):
    """Any small molecule from a PDB file, or peptide from its sequence, that the force field knows."""

    pdb: Path | None = None
    """One molecule; missing hydrogens are added (as HIE, ASH say, else pH 7), the start is minimised."""
    sequence: str | None = None
    """A peptide in place of a file, such as ACE-ALA-ALA-ALA-NME or GYDPETGTWG (aAa: lower case is D), extended."""
    temperature: float = 300.0
    """In K."""
    forcefield: tuple[str, ...] = FORCEFIELD
    """OpenMM force field files."""
    energies: Literal["jax", "openmm"] = "jax"
    """Where they come from: the force field compiled to JAX, or OpenMM on the host."""
    data: Literal["simulated", "none"] = "simulated"
    """simulated: by replica exchange, first of all; none: learns from energies alone (a few residues)."""
    recipe: Literal["own-samples", "transport", "bootstrap", "annealed-kl"] = "own-samples"
    """How, with --data none; transport: CMT; bootstrap: FAB; annealed-kl: reverse KL from 4 T down."""


SYSTEMS: dict[str, type[RunOptions]] = {
    "double-well": DoubleWellOptions,
    "mueller-brown": MuellerBrownOptions,
    "lj-dimer": DimerOptions,
    "lj-dimer-explored": ExploredDimerOptions,
    "alanine-dipeptide": AlanineOptions,
    "molecule": MoleculeOptions,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOptions:
    """Goes on in a run folder."""

    dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Run folder."""
    quiet: Flag = False
    """No progress bars."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleOptions(StageOptions):
    """Draws weighted samples from the trained flow and streams them to disk."""

    n: Count = 0
    """Number of samples, as 1000000 or 1e6; 0 for the preset's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Writes configurations of a molecule's run as a trajectory; data/molecule.pdb in DIR is its topology."""

    dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Run folder."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """What to write: .dcd, .xtc, .trr, .gro or .pdb."""
    what: Literal["samples", "data"] = "samples"
    """samples: generated, drawn by weight, so that frames need none; data: simulated."""
    n: Count = 1000
    """Number of frames."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MdOptions:
    """Langevin dynamics of many chains of one molecule: trajectory, energies, averages with errors."""

    pdb: Path | None = None
    """One molecule; missing hydrogens are added (as HIE, ASH say, else pH 7), the start is minimised."""
    sequence: str | None = None
    """A peptide in place of a file, such as ACE-ALA-ALA-ALA-NME or GYDPETGTWG (aAa: lower case is D), extended."""
    forcefield: tuple[str, ...] = FORCEFIELD
    """OpenMM force field files."""
    temperature: float = 300.0
    """In K."""
    chains: int = 64
    """Independent ones, from the same start with velocities of their own."""
    ns: float = 0.1
    """Length of each chain after equilibration."""
    equilibrate_ps: float = 10.0
    """Left out at the beginning of each chain."""
    timestep_fs: float = 1.0
    """In fs; nothing is constrained, so that 2 is much."""
    friction: float = 1.0
    """In 1/ps."""
    stride_ps: float = 0.1
    """Between frames."""
    energies: Literal["jax", "openmm"] = "jax"
    """jax: all chains in one program, BAOAB; openmm: its LangevinMiddleIntegrator, the same splitting."""
    format: Literal["dcd", "trr", "xtc"] = "dcd"
    """Of the trajectory; xtc rounds to 0.001 nm."""
    seed: int = 0
    """Root of all random numbers."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/md")
    """Run folder; an unfinished run there goes on."""
    dry_run: Flag = False
    """Print what the run would cost, and stop."""
    quiet: Flag = False
    """No progress bars."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyOptions:
    """Energies and forces of configurations, as JSON: kJ/mol and kJ/mol/nm."""

    pdb: Path
    """One molecule; missing hydrogens are added (as HIE, ASH say, else pH 7), nothing is minimised."""
    trajectory: Path | None = None
    """Frames to evaluate in place of the PDB file's own (any format mdtraj reads)."""
    forcefield: tuple[str, ...] = FORCEFIELD
    """OpenMM force field files."""
    backend: Literal["openmm", "callback", "jax"] = "openmm"
    """openmm: a Context called directly; callback: the same through JAX; jax: the force field compiled to JAX."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Checks the installation; status 1 when something is broken."""

    json: Flag = False
    """Print JSON instead of a table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Lists the systems and their presets."""
