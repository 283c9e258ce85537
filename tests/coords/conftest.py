"""Molecules for tests of coordinates: three peptides with simulation frames, small molecules."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import reject

from jbg.coords import ZMatrix, build_zmatrix, rotor_candidates
from jbg.interfaces import ConfigError, Topology

DATA = Path(__file__).parents[1] / "data" / "peptide_frames.npz"
PEPTIDES = ("dialanine", "trialanine", "chignolin")


@dataclasses.dataclass(frozen=True)
class Sample:
    """A molecule with frames ``(n, atoms, 3)``."""

    name: str
    topology: Topology
    frames: np.ndarray
    zmatrix: ZMatrix
    rotors: tuple


def load(name: str) -> Sample:
    with np.load(DATA) as data:
        kept = [field for field in Topology._fields if f"{name}_{field}" in data]
        fields = {field: data[f"{name}_{field}"] for field in kept}
        frames = data[f"{name}_frames"].astype(np.float64)
    bonds = fields.pop("bonds")
    topology = Topology(**{k: tuple(v.tolist()) for k, v in fields.items()}, bonds=bonds)
    zmatrix = build_zmatrix(topology, frames[0])
    return Sample(name, topology, frames, zmatrix, rotor_candidates(topology, zmatrix))


@pytest.fixture(scope="session")
def peptides() -> dict[str, Sample]:
    return {name: load(name) for name in PEPTIDES}


@pytest.fixture(params=PEPTIDES)
def peptide(request, peptides) -> Sample:
    return peptides[request.param]


def simple_topology(elements, bonds, names=None) -> Topology:
    """One residue UNK with atoms named by element and number."""
    n = len(elements)
    names = names or tuple(f"{e}{i}" for i, e in enumerate(elements))
    return Topology(tuple(elements), tuple(names), ("UNK",) * n, (0,) * n, np.array(bonds))


def placeable(topology, positions) -> ZMatrix:
    """The Z-matrix of a random geometry; hypothesis draws again where atoms are collinear."""
    try:
        return build_zmatrix(topology, positions)
    except ConfigError as error:
        if "collinear" not in str(error):
            raise
        return reject()


def benzene() -> tuple[Topology, np.ndarray]:
    around = np.pi / 3 * np.arange(6)
    circle = np.stack([np.cos(around), np.sin(around), 0 * around], 1)
    bonds = [(i, (i + 1) % 6) for i in range(6)] + [(i, i + 6) for i in range(6)]
    return simple_topology("CCCCCCHHHHHH", bonds), np.concatenate([0.139 * circle, 0.248 * circle])


def water() -> tuple[Topology, np.ndarray]:
    positions = np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])
    return simple_topology("OHH", [(0, 1), (0, 2)]), positions


def methane() -> tuple[Topology, np.ndarray]:
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    positions = np.concatenate([np.zeros((1, 3)), 0.109 * corners])
    return simple_topology("CHHHH", [(0, i) for i in range(1, 5)]), positions


SMALL = {"benzene": benzene, "water": water, "methane": methane}
