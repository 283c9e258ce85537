"""Observables of a molecule: profiles, Ramachandran maps, chirality, restriction."""

from typing import Any, NamedTuple

import numpy as np

from jbg.analysis import ramachandran_histogram, ramachandran_noise_floor, total_variation
from jbg.coords import (
    CoordinateFit,
    backbone_torsions,
    chiral_centres,
    side_chain_centres,
    signed_volume,
)
from jbg.coords.torsions import proper_torsions
from jbg.coords.whitening import MIN_FRAMES
from jbg.coords.zmatrix import atom_label
from jbg.interfaces import Topology
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.data_plan import HarmonicPlan
from jbg.studies.molecule.files import COORDINATES, DOMAIN
from jbg.studies.molecule.states import CHUNK, flat_torsion, named_torsions, topology_of
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.molecule.target_check import mismatch
from jbg.studies.molecule.weighted_rows import resampled
from jbg.studies.profiles import profile_arrays
from jbg.studies.study import Finding
from jbg.systems.implicit_solvent import has_solvent

PHI_EDGES = np.linspace(-np.pi, np.pi, 61)
MOST_PROFILES, MOST_MAPS = 4, 6


class SimulatedFrames(NamedTuple):
    """Frames ``x (n, 3 * atoms)``, those of a ladder in order of time, the ``ladder (n,)`` of each, and whether
    it is ``inside`` the coordinates' domain. The first ``remembered`` frames of each ladder remember the start;
    ``refused`` says why averages over the others are not equilibrium averages either, and is empty where they
    are."""

    x: np.ndarray
    ladder: np.ndarray
    inside: np.ndarray
    remembered: int = 0
    refused: str = ""

    @property
    def kept(self) -> np.ndarray:
        """The frames that averages are over, ``(n,)`` bool."""
        order = np.argsort(self.ladder, kind="stable")
        _, first, count = np.unique(self.ladder[order], return_index=True, return_counts=True)
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order)) - np.repeat(first, count)
        return self.inside & (place >= self.remembered)


def simulated_frames(evidence: Evidence) -> SimulatedFrames | None:
    """The frames of the simulation, biased ones resampled by weight; None where nothing was simulated."""
    if isinstance(evidence.plan.data, HarmonicPlan):
        return None
    data, domain = evidence.dataset, evidence.run.load_arrays(DOMAIN)
    if data.weighted:
        rows = resampled(data.weight, len(data.x), evidence.seed_for("frames by weight"))
        x, chain, inside = data.x[rows], data.chain[rows], domain["inside"][rows]
        return SimulatedFrames(x, chain, inside, 0, str(domain["refused"]))
    remembered = int(domain["frames"])
    refused = str(domain["refused"]) or mismatch(evidence.run)
    return SimulatedFrames(data.x, data.chain, domain["inside"], remembered, refused)


def description(evidence: Evidence) -> Finding:
    """The description of the molecule."""
    return Finding({"molecule": load_molecule(evidence.run).description}, {})


def profiles(evidence: Evidence) -> Finding:
    """Profiles of the first named torsions, beside those of the simulation."""
    x, known = evidence.own.samples.positions.T, simulated_frames(evidence)
    about, arrays = {}, {}
    for torsion in named_torsions(topology_of(evidence.problem.system))[:MOST_PROFILES]:
        name, angle = torsion.name, flat_torsion(x, torsion.quad)
        arrays |= profile_arrays(evidence, name, angle, PHI_EDGES, stream="profile")
        if known is not None:
            angle = flat_torsion(known.x[known.kept].T, torsion.quad)
            arrays |= reference_profile(name, angle, known, PHI_EDGES)
        about[name] = {"label": name, "unit": "rad"}
    return Finding({"profiles": about}, arrays)


def ramachandran(evidence: Evidence) -> Finding:
    """Maps of the first residues with phi and psi; for a single one, the distance to the map of the simulation."""
    pairs, known = _phi_psi(topology_of(evidence.problem.system)), simulated_frames(evidence)
    x, log_w = evidence.own.samples.positions.T, evidence.own.log_w
    numbers: dict[str, Any] = {}
    arrays = {}
    for residue, (phi, psi) in list(pairs.items())[:MOST_MAPS]:
        angles = flat_torsion(x, phi), flat_torsion(x, psi)
        maps = {
            "generated": ramachandran_histogram(*angles),
            "reweighted": ramachandran_histogram(*angles, log_w),
        }
        if known is not None:
            kept = known.x[known.kept].T
            simulated = flat_torsion(kept, phi), flat_torsion(kept, psi)
            maps = {"reference": ramachandran_histogram(*simulated)} | maps
            if len(pairs) == 1 and not known.refused:
                ladder = known.ladder[known.kept]
                floor = ramachandran_noise_floor(*simulated, ladder, samples=(*angles, log_w))
                apart = total_variation(maps["reference"], maps["reweighted"])
                numbers = {"ramachandran_tv": apart, "ramachandran_tv_noise": floor}
        arrays |= {f"ramachandran_{residue}_{kind}": h for kind, h in maps.items()}
        arrays[f"ramachandran_{residue}_edges"] = np.linspace(-np.pi, np.pi, 101)
    if len(pairs) == 1 and not numbers:
        why = "nothing was simulated" if known is None else known.refused
        numbers = {"ramachandran_tv": None, "ramachandran_tv_noise": None}
        numbers |= {"ramachandran_tv_reason": why}
    return Finding(numbers, arrays)


def handedness(evidence: Evidence) -> Finding:
    """Shares of the samples with the molecule's chirality."""
    system = evidence.problem.system
    found = chirality(topology_of(system), evidence.own.samples.positions, system.start[0])
    return Finding(found, {})


def restriction(evidence: Evidence) -> Finding:
    """The restriction of the target in words, and the bonds that are held in one basin."""
    run, known = evidence.run, simulated_frames(evidence)
    fit = CoordinateFit(**run.load_arrays(COORDINATES))
    text = _restriction(fit, evidence.own.log_w, known)
    if not has_solvent(load_molecule(run).system_xml):
        text += " The molecule is in vacuum: its force field has no solvent model."
    held = never_turned(topology_of(evidence.problem.system), fit, known)
    return Finding({"never_turned": held, "restriction": text}, {})


def chirality(topology: Topology, positions: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """Shares of the samples ``(n, 3 atoms)`` with every alpha carbon L, and with every chiral centre (that of
    threonine's and isoleucine's side chain too) as in ``given``; nothing where there are no centres.
    """
    at_ca = chiral_centres(topology)
    if not len(at_ca):
        return {}
    centres = np.concatenate([at_ca, side_chain_centres(topology)])
    wanted = signed_volume(given.reshape(1, -1, 3), centres) > 0
    positions = positions.reshape(len(positions), -1, 3)
    chunks = (positions[i : i + CHUNK] for i in range(0, len(positions), CHUNK))
    left = np.concatenate([signed_volume(chunk, centres) > 0 for chunk in chunks])
    return {
        "chirality_l_fraction": float(np.all(left[:, : len(at_ca)], axis=1).mean()),
        "chirality_as_given_fraction": float(np.all(left == wanted, axis=1).mean()),
    }


def _restriction(fit: CoordinateFit, log_w: np.ndarray, known: SimulatedFrames | None) -> str:
    """The restriction of the target in words, and how many frames and samples lie outside."""
    stiff = "stiff at the minimum of the energy (amides, rings, chiral centres, and bonds with high barriers)"
    outside, unseen = (
        "",
        " Nothing was simulated that could show a conformation which the flow never came to.",
    )
    if known is not None:
        stiff = (
            "stiff in the reference (amides, rings, chiral centres, and rotatable bonds that left their basin in "
            f"none of its frames, or in fewer than {MIN_FRAMES} of a single ladder)"
        )
        n_out, n = np.sum(~known.inside), len(known.inside)
        outside, unseen = f"{n_out} of {n} reference frames lie outside and are left out; ", ""
    return (
        f"The target is the Boltzmann density within the coordinates' domain: torsions that are {stiff} within "
        "90 degrees of their centre, and one labelling of the equivalent atoms of each of "
        f"{len(fit.rotor_groups)} symmetric rotors (such as methyl groups). {outside}"
        f"{np.sum(~np.isfinite(log_w))} of {len(log_w)} generated samples lie outside or have no finite energy, "
        f"and get weight zero.{unseen}"
    )


def never_turned(
    topology: Topology, fit: CoordinateFit, known: SimulatedFrames | None = None
) -> list[str]:
    """Rotatable bonds that are held in one basin, so that the ensemble is conditional on it.

    Amides aside, and symmetric rotors, whose basins are alike. A bond whose torsion did leave the basin in some
    frames of the reference says in how many; these are left out.
    """
    amides = {frozenset(quad[1:3].tolist()) for quad in backbone_torsions(topology)["omega"]}
    bonds = {frozenset(bond.axis) for bond in rotatable_bonds(topology)} - amides
    z = fit.zmatrix
    about = [
        frozenset(pair) for pair in zip(z.bond[3:].tolist(), z.angle[3:].tolist(), strict=True)
    ]
    soft = {about[t] for t in np.flatnonzero(fit.half_width == np.pi)}
    rows = np.stack(z, axis=1)[3:]
    rotors = {atom for group in fit.rotor_groups for atom in group}
    found = {}
    for pair, quad, proper in zip(about, rows, proper_torsions(z), strict=True):
        if not proper or pair in found or int(quad[0]) in rotors:
            continue
        if pair not in bonds or pair in soft:
            continue
        label = "-".join(sorted(atom_label(topology, i) for i in pair))
        found[pair] = label + ("" if known is None else _turned(quad, known))
    return list(found.values())


def _turned(quad: np.ndarray, known: SimulatedFrames) -> str:
    """The number of frames, if any, in which a torsion is at least a quarter turn away from its mean in the
    domain."""
    angle = flat_torsion(known.x.T, quad)
    middle = np.angle(np.exp(1j * angle[known.inside]).mean())
    n = np.sum((np.cos(angle - middle) <= 0) & ~known.inside)
    return f" (turned in {n} of {len(angle)} frames, left out)" if n else ""


def reference_profile(
    name: str, values: np.ndarray, known: SimulatedFrames, edges: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays ``profile_<name>_reference...`` of the kept frames of a simulation, its error between ladders.

    Args:
        name: of the profile.
        values: of the kept frames, ``(n,)``.
        known: the frames.
        edges: of the bins.
    """
    ladder = known.ladder[known.kept]
    counts = [np.histogram(values[ladder == k], edges)[0] for k in np.unique(ladder)]
    shares = np.stack(counts) / np.count_nonzero(known.kept)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = shares.sum(0)
        value = np.where(total > 0, -np.log(total / np.diff(edges)), np.nan)
        # between independent ladders, to first order in ln p; unknown where averages are refused
        error = np.sqrt(len(counts)) * shares.std(0, ddof=1) / total
        error = np.full_like(error, np.nan) if known.refused else error
    return {
        f"profile_{name}_reference": value,
        f"profile_{name}_reference_stderr": np.where(total > 0, error, np.nan),
    }


def _phi_psi(topology: Topology) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """phi and psi of every residue that has both, by residue label."""
    found = backbone_torsions(topology)
    residue = lambda quad, column: topology.residue_ids[quad[column]]
    phi = {residue(quad, 2): quad for quad in found["phi"]}
    psi = {residue(quad, 1): quad for quad in found["psi"]}
    name_of = dict(zip(topology.residue_ids, topology.residue_names, strict=True))
    return {f"{name_of[i]}{i + 1}": (phi[i], psi[i]) for i in sorted(phi.keys() & psi.keys())}
