"""What is reported of a molecule besides weights: states, profiles, Ramachandran maps, chirality."""

from typing import Any, NamedTuple

import numpy as np

from jbg.analysis import (
    ramachandran_histogram,
    ramachandran_noise_floor,
    torsions,
    total_variation,
    weighted_profile,
)
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
from jbg.interfaces import State, Topology
from jbg.sampling.generate import SampleSet
from jbg.simulation.torsion_rotation import rotatable_bonds

PHI_EDGES = np.linspace(-np.pi, np.pi, 61)
GAUCHE = 2 * np.pi / 3  # |torsion| below which a rotatable bond counts as gauche
CHUNK = 50_000  # samples whose torsions are measured at once


class Reference(NamedTuple):
    """Simulated ``frames (n, atoms, 3)`` in order of time, the ``ladder (n,)`` of each, and whether it is
    ``inside`` the coordinates' domain. The first ``remembered`` rows remember the start; ``refused``
    says why averages over the others are not of the ensemble either, empty where they are."""

    frames: np.ndarray
    ladder: np.ndarray
    inside: np.ndarray
    remembered: int = 0
    refused: str = ""


def named_torsions(topology: Topology) -> dict[str, np.ndarray]:
    """Torsions that states and profiles are defined on: every phi of a peptide, else every rotatable bond
    between heavy atoms that carry further heavy atoms."""
    phi = backbone_torsions(topology)["phi"]
    if len(phi):
        single = len(phi) == 1
        return {
            "phi" if single else f"phi{topology.residue_ids[quad[2]] + 1}": quad for quad in phi
        }
    return {f"torsion{k + 1}": quad for k, quad in enumerate(heavy_torsions(topology))}


def heavy_torsions(topology: Topology) -> list[np.ndarray]:
    """One torsion of heavy atoms for every rotatable bond that has one."""
    heavy = [e != "H" for e in topology.elements]
    neighbours: list[list[int]] = [[] for _ in topology.elements]
    for i, j in topology.bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    found = []
    for bond in rotatable_bonds(topology):
        j, k = bond.axis
        before = [i for i in neighbours[j] if heavy[i] and i != k]
        after = [i for i in neighbours[k] if heavy[i] and i != j]
        if heavy[j] and heavy[k] and before and after:
            found.append(np.array([before[0], j, k, after[0]]))
    return found


def states(topology: Topology) -> tuple[State, ...]:
    """Two states for each named torsion: phi < 0 and phi > 0, or trans and gauche."""
    found = []
    for name, quad in named_torsions(topology).items():
        if name.startswith("phi"):
            found += [
                _torsion_state(f"{name}<0", quad, lambda t: t < 0, f"{name} in (-180, 0) degrees"),
                _torsion_state(f"{name}>0", quad, lambda t: t >= 0, f"{name} in [0, 180] degrees"),
            ]
        else:
            atoms = "-".join(topology.atom_names[i] for i in quad)
            found += [
                _torsion_state(
                    f"{name} trans",
                    quad,
                    lambda t: np.abs(t) >= GAUCHE,
                    f"|{atoms}| >= 120 degrees",
                ),
                _torsion_state(
                    f"{name} gauche", quad, lambda t: np.abs(t) < GAUCHE, f"|{atoms}| < 120 degrees"
                ),
            ]
    return tuple(found)


def _torsion_state(name: str, quad: np.ndarray, test, definition: str) -> State:
    return State(name=name, contains=lambda x: test(flat_torsion(x, quad)), definition=definition)


def flat_torsion(x: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Torsion ``(*batch,)`` of flat positions ``(3 atoms, *batch)``."""
    x = np.asarray(x)
    rows = (3 * np.asarray(quad)[:, None] + np.arange(3)).ravel()
    batch = x.shape[1:]
    p = x[rows].reshape(12, -1).T.reshape(-1, 4, 3)
    parts = [torsions(p[i : i + CHUNK], [[0, 1, 2, 3]])[:, 0] for i in range(0, len(p), CHUNK)]
    return np.concatenate(parts).reshape(batch)


def evaluate(
    topology: Topology,
    fit: CoordinateFit,
    samples: SampleSet,
    log_w: np.ndarray,
    reference: Reference | None,
    seed: int,
    given: np.ndarray,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Additions to results.json, and arrays for the figures; comparisons where there is a reference.

    ``given`` ``(atoms, 3)`` is the structure that the study began with.
    """
    results: dict[str, Any] = {"profiles": {}}
    arrays: dict[str, np.ndarray] = {}
    x, x_reference, ladder = samples.positions.T, None, None
    if reference is not None:
        kept = reference.inside & (np.arange(len(reference.inside)) >= reference.remembered)
        frames, ladder = reference.frames[kept], reference.ladder[kept]
        x_reference = frames.reshape(len(frames), -1).T
    for name, quad in list(named_torsions(topology).items())[:4]:
        angle = flat_torsion(x, quad)
        arrays |= _profile(name, angle, log_w, seed)
        if reference is not None:
            found = _reference_profile(name, flat_torsion(x_reference, quad), ladder)
            if reference.refused:  # no error is known
                found[f"profile_{name}_reference_stderr"][:] = np.nan
            arrays |= found
        results["profiles"][name] = {"label": name, "unit": "rad"}
    pairs = _phi_psi(topology, backbone_torsions(topology))
    for residue, quads in list(pairs.items())[:6]:
        angles = [flat_torsion(x, quad) for quad in quads]
        maps = {
            "generated": ramachandran_histogram(*angles),
            "reweighted": ramachandran_histogram(*angles, log_w),
        }
        if reference is not None:
            known = [flat_torsion(x_reference, quad) for quad in quads]
            maps = {"reference": ramachandran_histogram(*known)} | maps
        if len(pairs) == 1:
            if reference is None or reference.refused:
                why = "nothing was simulated" if reference is None else reference.refused
                results["ramachandran_tv"] = results["ramachandran_tv_noise"] = None
                results["ramachandran_tv_reason"] = why
            else:
                results["ramachandran_tv"] = total_variation(maps["reference"], maps["reweighted"])
                results["ramachandran_tv_noise"] = ramachandran_noise_floor(
                    *known, ladder, samples=(*angles, log_w)
                )
        arrays |= {f"ramachandran_{residue}_{kind}": h for kind, h in maps.items()}
        arrays[f"ramachandran_{residue}_edges"] = np.linspace(-np.pi, np.pi, 101)
    results |= chirality(topology, samples.positions, given)
    results["never_turned"] = never_turned(topology, fit, reference)
    results["restriction"] = _restriction(fit, log_w, reference)
    return results, arrays


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


def _restriction(fit: CoordinateFit, log_w: np.ndarray, reference: Reference | None) -> str:
    """In words, what the target is restricted to, and how much lies outside."""
    stiff = "stiff at the minimum of the energy (amides, rings, chiral centres, and bonds with high barriers)"
    outside, unseen = (
        "",
        " Nothing was simulated that could show a conformation which the flow never came to.",
    )
    if reference is not None:
        stiff = (
            "stiff in the reference (amides, rings, chiral centres, and rotatable bonds that left their basin in "
            f"none of its frames, or in fewer than {MIN_FRAMES} of a single ladder)"
        )
        n_out, n = np.sum(~reference.inside), len(reference.inside)
        outside, unseen = f"{n_out} of {n} reference frames lie outside and are left out; ", ""
    return (
        f"The target is the Boltzmann density within the coordinates' domain: torsions that are {stiff} within "
        "90 degrees of their centre, and one labelling of the equivalent atoms of each of "
        f"{len(fit.rotor_groups)} symmetric rotors (such as methyl groups). {outside}"
        f"{np.sum(~np.isfinite(log_w))} of {len(log_w)} generated samples lie outside or have no finite energy, "
        f"and get weight zero.{unseen}"
    )


def never_turned(
    topology: Topology, fit: CoordinateFit, reference: Reference | None = None
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
        found[pair] = label + ("" if reference is None else _turned(quad, reference))
    return list(found.values())


def _turned(quad: np.ndarray, reference: Reference) -> str:
    """In how many frames a torsion is a quarter turn or more from where it is inside of the domain, if any."""
    angle = flat_torsion(reference.frames.reshape(len(reference.frames), -1).T, quad)
    middle = np.angle(np.exp(1j * angle[reference.inside]).mean())
    n = np.sum((np.cos(angle - middle) <= 0) & ~reference.inside)
    return f" (turned in {n} of {len(angle)} frames, left out)" if n else ""


def _profile(name, angle, log_w, seed) -> dict[str, np.ndarray]:
    weighted = weighted_profile(angle, log_w, PHI_EDGES, seed=seed)
    plain = weighted_profile(angle, np.zeros_like(log_w), PHI_EDGES, seed=seed)
    return {
        f"profile_{name}_centers": 0.5 * (PHI_EDGES[1:] + PHI_EDGES[:-1]),
        f"profile_{name}_reweighted": weighted.free_energy,
        f"profile_{name}_stderr": weighted.stderr,
        f"profile_{name}_generated": plain.free_energy,
    }


def _reference_profile(name, angle, ladder) -> dict[str, np.ndarray]:
    counts = [np.histogram(angle[ladder == k], PHI_EDGES)[0] for k in np.unique(ladder)]
    shares = np.stack(counts) / np.sum(counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = shares.sum(0)
        value = np.where(total > 0, -np.log(total / np.diff(PHI_EDGES)), np.nan)
        # between independent ladders, to first order in ln p
        error = np.sqrt(len(counts)) * shares.std(0, ddof=1) / total
    return {
        f"profile_{name}_reference": value,
        f"profile_{name}_reference_stderr": np.where(total > 0, error, np.nan),
    }


def _phi_psi(topology: Topology, found: dict[str, np.ndarray]) -> dict[str, tuple]:
    """phi and psi of every residue that has both, by residue label."""
    residue = lambda quad, column: topology.residue_ids[quad[column]]
    phi = {residue(quad, 2): quad for quad in found["phi"]}
    psi = {residue(quad, 1): quad for quad in found["psi"]}
    name_of = dict(zip(topology.residue_ids, topology.residue_names, strict=True))
    return {f"{name_of[i]}{i + 1}": (phi[i], psi[i]) for i in sorted(phi.keys() & psi.keys())}
