"""Writes doors/tripeptide.{psf,crd,prm}: GLY-ALA-GLY with parameters of charmm36.xml, in CHARMM's formats.

    python -m tests.data.make_charmm_files

Only the parameters that this molecule uses are written, wildcards resolved.
"""

import io
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openmm
from openmm import app, unit

from tests.pdb_text import whole

OUT = Path(__file__).parent / "doors"
KCAL, ANGSTROM, DEGREE = 4.184, 0.1, math.pi / 180
RMIN_HALF = 2 ** (1 / 6) / 2


def main() -> None:
    pdb = app.PDBFile(io.StringIO(whole("GAG")))
    topology, atoms = pdb.topology, list(pdb.topology.atoms())
    forcefield = app.ForceField("charmm36.xml")
    system = forcefield.createSystem(topology, nonbondedMethod=app.NoCutoff, constraints=None)
    data = app.ForceField._SystemData(topology)
    forcefield._matchAllResiduesToTemplates(data, topology, {}, False)
    kinds = [data.atomType[atom] for atom in atoms]
    forces = {type(force).__name__: force for force in system.getForces()}
    bonds = {tuple(sorted((a.index, b.index))) for a, b in topology.bonds()}
    stretches = [f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce)]
    rows = [plain(f.getBondParameters(i)) for f in stretches for i in range(f.getNumBonds())]
    angles = rows_of(forces["HarmonicAngleForce"], "Angle")
    torsions = rows_of(forces["PeriodicTorsionForce"], "Torsion")
    impropers = rows_of(forces["CustomTorsionForce"], "Torsion")
    maps = forces["CMAPTorsionForce"]
    (cross,) = (maps.getTorsionParameters(i) for i in range(maps.getNumTorsions()))
    charges = [
        forces["NonbondedForce"].getParticleParameters(i)[0]._value for i in range(len(atoms))
    ]
    masses = [system.getParticleMass(i)._value for i in range(len(atoms))]
    write_psf(atoms, kinds, charges, masses, bonds, angles, torsions, impropers, cross[1:])
    write_crd(atoms, np.array(pdb.positions.value_in_unit(unit.angstrom)))
    lines = ["* GLY-ALA-GLY of charmm36.xml", "*", "ATOMS"]
    lines += sorted({f"MASS -1 {k} {m:.6f}" for k, m in zip(kinds, masses, strict=True)})
    lines.append("BONDS")
    lines += unique(
        f"{kinds[a]} {kinds[b]} {k / 2 / KCAL * ANGSTROM**2:.10g} {r0 / ANGSTROM:.10g}"
        for a, b, r0, k in rows
        if tuple(sorted((a, b))) in bonds
    )
    lines.append("ANGLES")
    apart = {tuple(sorted((a, b))): (r0, k) for a, b, r0, k in rows}
    for a, b, c, theta, k in angles:
        line = f"{kinds[a]} {kinds[b]} {kinds[c]} {k / 2 / KCAL:.10g} {theta / DEGREE:.10g}"
        pair = tuple(sorted((a, c)))
        if pair in apart and pair not in bonds:
            r0, stretch = apart[pair]
            line += f" {stretch / 2 / KCAL * ANGSTROM**2:.10g} {r0 / ANGSTROM:.10g}"
        lines.append(line)
    lines.append("DIHEDRALS")
    lines += unique(
        f"{' '.join(kinds[i] for i in row[:4])} {row[6] / KCAL:.10g} {row[4]} {row[5] / DEGREE:.10g}"
        for row in torsions
    )
    lines.append("IMPROPERS")
    lines += unique(
        f"{' '.join(kinds[i] for i in row[:4])} {row[4][0] / KCAL:.10g} 0 {row[4][1] / DEGREE:.10g}"
        for row in impropers
    )
    lines.append("CMAP")
    size, energies = maps.getMapParameters(cross[0])
    lines.append(f"{' '.join(kinds[i] for i in cross[1:])} {size}")
    # OpenMM's map begins at 0, CHARMM's at -180 degrees, with psi running fastest
    table = np.array([plain([e])[0] for e in energies]).reshape(size, size).T / KCAL
    table = np.roll(table, (size // 2, size // 2), (0, 1))
    for row in table:
        lines += [" ".join(f"{v:.6f}" for v in row[i : i + 6]) for i in range(0, size, 6)]
    lines += ["NONBONDED nbxmod 5 atom cdiel fshift vatom vdistance vfswitch e14fac 1.0 wmin 1.5"]
    root = ElementTree.parse(Path(app.__file__).parent / "data" / "charmm36.xml").getroot()
    of_kind = {
        p.get("type"): {key: float(v) for key, v in p.items() if key != "type"}
        for p in root.iterfind("LennardJonesForce/Atom")
    }
    for kind in sorted(set(kinds)):
        p = of_kind[kind]
        each = [(p["epsilon"], p["sigma"])]
        each.append((p.get("epsilon14", p["epsilon"]), p.get("sigma14", p["sigma"])))
        numbers = [f"0.0 {-e / KCAL:.10g} {s * RMIN_HALF / ANGSTROM:.10g}" for e, s in each]
        lines.append(f"{kind} {' '.join(numbers)}")
    (OUT / "tripeptide.prm").write_text("\n".join([*lines, "END", ""]))


def plain(row):
    return [getattr(value, "_value", value) for value in row]


def rows_of(force, what):
    get, count = (getattr(force, f"get{name}") for name in (f"{what}Parameters", f"Num{what}s"))
    return [plain(get(i)) for i in range(count())]


def unique(lines):
    return list(dict.fromkeys(lines))


def write_psf(atoms, kinds, charges, masses, bonds, angles, torsions, impropers, cross) -> None:
    lines = [
        "PSF EXT CMAP XPLOR",
        "",
        f"{1:10d} !NTITLE",
        "* GLY-ALA-GLY",
        "",
        f"{len(atoms):10d} !NATOM",
    ]
    for i, atom in enumerate(atoms):
        lines.append(
            f"{i + 1:10d} PEP      {atom.residue.id:<8s} {atom.residue.name:<8s} {atom.name:<8s} "
            f"{kinds[i]:<6s} {charges[i]:10.6f} {masses[i]:13.4f} {0:11d}"
        )
    quadruples = list(dict.fromkeys(tuple(row[:4]) for row in torsions))
    sections = {
        "NBOND: bonds": (sorted(bonds), 4),
        "NTHETA: angles": ([row[:3] for row in angles], 3),
        "NPHI: dihedrals": (quadruples, 2),
        "NIMPHI: impropers": ([row[:4] for row in impropers], 2),
        "NDON: donors": ([], 1),
        "NACC: acceptors": ([], 1),
        "NNB": ([], 1),
    }
    for title, (rows, per_line) in sections.items():
        lines += ["", f"{len(rows):10d} !{title}"]
        lines += packed(rows, per_line) or [""]
    lines += ["", f"{1:10d}{0:10d} !NGRP NST2", f"{0:10d}{0:10d}{0:10d}", ""]
    lines += [f"{1:10d} !NCRTERM: cross-terms", *packed([cross], 1), ""]
    (OUT / "tripeptide.psf").write_text("\n".join(lines))


def packed(rows, per_line):
    groups = (rows[i : i + per_line] for i in range(0, len(rows), per_line))
    return ["".join(f"{i + 1:10d}" for row in group for i in row) for group in groups]


def write_crd(atoms, positions) -> None:
    lines = ["* GLY-ALA-GLY", "*", f"{len(atoms):10d}  EXT"]
    for atom, (x, y, z) in zip(atoms, positions, strict=True):
        residue = atom.residue
        lines.append(
            f"{atom.index + 1:10d}{residue.index + 1:10d}  {residue.name:<8s}  {atom.name:<8s}"
            f"{x:20.10f}{y:20.10f}{z:20.10f}  PEP       {residue.id:<8s}{0:20.10f}"
        )
    (OUT / "tripeptide.crd").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
