"""Places of missing atoms of a side chain: its template on the atoms that are there, free torsions where there is
room."""

from collections.abc import Mapping, Sequence

import numpy as np

Places = Mapping[str, np.ndarray]

_TURNS = np.arange(0, 360, 30) * np.pi / 180
_BOND = 0.15  # nm
_ROOM = 0.36  # nm; atoms that are not bonded and closer than this count against a torsion
# flat groups (and the ring of proline), of which three atoms determine the others
_RIGID = {
    "PHE": ("CB CG CD1 CD2 CE1 CE2 CZ",),
    "TYR": ("CB CG CD1 CD2 CE1 CE2 CZ OH",),
    "TRP": ("CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2",),
    "HIS": ("CB CG ND1 CD2 CE1 NE2",),
    "ASP": ("CB CG OD1 OD2",),
    "ASN": ("CB CG OD1 ND2",),
    "GLU": ("CG CD OE1 OE2",),
    "GLN": ("CG CD OE1 NE2",),
    "ARG": ("CD NE CZ NH1 NH2",),
    "PRO": ("N CA CB CG CD",),
}


def build_side_chain(
    residue: str,
    template: Places,
    there: Places,
    neighbours: Mapping[str, Sequence[str]],
    others: np.ndarray,
    *,
    mirrored: bool = False,
) -> dict[str, np.ndarray]:
    """Places of all heavy atoms of a residue; those that are there stay.

    Args:
        residue: its name as L.
        template: places of the atoms of an L residue, nm.
        there: places of the atoms that are known, N, CA, C and O among them, nm.
        neighbours: names of the atoms that each is bonded to.
        others: atoms of other residues, ``(n, 3)``, nm.
        mirrored: whether the residue is D.
    """
    shape = {name: place * (-1 if mirrored else 1) for name, place in template.items()}
    placed = dict(there)
    while len(todo := [name for name in shape if name not in placed]):
        # the first one with a neighbour in place, nearest to the backbone: templates are in that order
        name, parent = next(
            (name, other) for name in todo for other in neighbours[name] if other in placed
        )
        anchors = _anchors(residue, name, parent, placed, neighbours)
        fit = _superposed(shape, {a: placed[a] for a in anchors})
        if len(anchors) == 2:  # the bond that the rest turns about
            fit = _with_room(fit, parent, anchors[1], placed, neighbours, others)
        placed |= {each: fit[each] for each in neighbours[parent] if each in todo}
    return {name: np.asarray(place) for name, place in placed.items()}


def _anchors(
    residue: str, name: str, parent: str, placed: Places, neighbours: Mapping[str, Sequence[str]]
) -> list[str]:
    """Atoms in place that determine another: three of a flat group, or its parent and the parent's neighbours."""
    for group in map(str.split, _RIGID.get(residue, ())):
        rigid = [a for a in group if a in placed]
        if name in group and parent in group and len(rigid) >= 3:
            spread = np.array([placed[a] for a in rigid])
            if np.linalg.svd(spread - spread.mean(0), compute_uv=False)[1] > 0.02:  # not on a line
                return rigid
    return [parent, *(a for a in neighbours[parent] if a in placed and a != "OXT")]


def _superposed(shape: Places, onto: Places) -> dict[str, np.ndarray]:
    """The template with some of its atoms on given places, by least squares without reflection (Kabsch 1976)."""
    a = np.array([shape[name] for name in onto])
    b = np.array([onto[name] for name in onto])
    u, _, vt = np.linalg.svd((a - a[0]).T @ (b - b[0]))
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return {name: (place - a[0]) @ turn + b[0] for name, place in shape.items()}


def _with_room(
    fit: Places,
    parent: str,
    before: str,
    placed: Places,
    neighbours: Mapping[str, Sequence[str]],
    others: np.ndarray,
) -> dict[str, np.ndarray]:
    """The template turned about the bond from ``before`` to ``parent`` to where the missing atoms have most room
    and meet those that they are bonded to."""
    close = {parent, before, *neighbours[parent], *neighbours[before]}
    own = [place for name, place in placed.items() if name not in close]
    obstacles = np.concatenate([others, np.reshape(own, (-1, 3))])
    near = np.array([placed[a] for a in neighbours[before] if a in placed and a != parent])
    new = [name for name in fit if name not in placed]
    bonds = [(n, b) for n in new for b in neighbours[n] if b in placed and b != parent]
    axis = placed[parent] - placed[before]
    axis = axis / np.linalg.norm(axis)

    def turned(angle: float) -> dict[str, np.ndarray]:
        return {
            name: placed[parent] + _rotated(place - placed[parent], axis, angle)
            for name, place in fit.items()
        }

    def crowding(found: Places) -> float:
        places = np.array([found[name] for name in new])
        total = sum(100 * (np.linalg.norm(found[n] - placed[b]) / _BOND - 1) ** 2 for n, b in bonds)
        # atoms three bonds away are 0.25 nm from these where eclipsed, 0.3 to 0.38 where staggered
        for around, room in ((obstacles, _ROOM), (near, 0.3)):
            if len(around):
                apart = np.linalg.norm(places[:, None] - around[None], axis=-1)
                total += float(np.sum(np.maximum(0.0, 1 - apart / room) ** 2))
        return float(total)

    return min((turned(angle) for angle in _TURNS), key=crowding)


def _rotated(v: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula."""
    along = axis * (axis @ v)
    return along + np.cos(angle) * (v - along) + np.sin(angle) * np.cross(axis, v)
