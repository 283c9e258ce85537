"""Hydrogens of a molecule: forms of protonation that its file names or shows are kept, others are of pH 7."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import openmm
from openmm import app

from jbg.interfaces import ConfigError
from jbg.systems.residue_names import ALIASES, FORMS, NAMED_FORMS, Form, standard_name

PH = 7.0
UNLIKE_BY_NAME = ("LYN", "CYM")  # forms that readers complete by their standard name


class Protonation(NamedTuple):
    """What was done about hydrogens; residues are "HIS 3", with their number in the file."""

    # residue, form, and by what: "name", "hydrogens" in the file, or "pH 7"
    forms: list[dict[str, str]]
    added: int
    completed: list[str]  # "HZ3 of LYS 4": added where the residue had hydrogens


def as_given(topology: app.Topology) -> Protonation:
    """The forms of a molecule with all its hydrogens, by these."""
    forms = [
        {"residue": label(residue), "form": state.form, "by": "hydrogens"}
        for residue, state in zip(topology.residues(), _states(topology), strict=True)
        if state.form is not None and not state.bridged
    ]
    return Protonation(forms, 0, [])


def label(residue) -> str:
    """ "ALA 2" of an OpenMM residue, with its number in the file; where there are several chains, "ALA 2 of B"."""
    several = len(list(residue.chain.topology.chains())) > 1
    of = f" of {residue.chain.id}" if several else ""
    return f"{residue.name} {residue.id}{residue.insertionCode.strip()}{of}"


def one_line(error: Exception) -> str:
    """First line of an error's message, or its type if there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def add_hydrogens(modeller: app.Modeller, named: Sequence[str], where: str) -> Protonation:
    """Adds the missing hydrogens, in place.

    Args:
        named: what the file calls each residue.
        where: how messages call the source.

    Raises:
        ConfigError: a name and the atoms contradict each other, or hydrogens that cannot be added.
    """
    asked = [NAMED_FORMS.get(ALIASES.get(name, name)) for name in named]
    for residue, form in zip(modeller.topology.residues(), asked, strict=True):
        if form is FORMS["LYN"]:
            _rename_zeta(residue)
    before = _states(modeller.topology)
    for residue, name, form, state in zip(
        modeller.topology.residues(), named, asked, before, strict=True
    ):
        if form is None:
            _check_plain(residue, state, where)
        else:
            _check_bridge(residue, name, form, state, where)
            _check_count(residue, name, form, state, where)
    variants = [_variant(form, state) for form, state in zip(asked, before, strict=True)]
    platform = openmm.Platform.getPlatformByName("Reference")
    # Modeller draws the first guess of each hydrogen from the global generator
    with _fixed_random():
        try:
            modeller.addHydrogens(pH=PH, variants=variants, platform=platform)
        except Exception as error:  # noqa: BLE001
            raise ConfigError(f"{where}: hydrogens cannot be added: {one_line(error)}") from error
    after = _states(modeller.topology)
    forms, completed = [], []
    for residue, form, had, has in zip(
        modeller.topology.residues(), asked, before, after, strict=True
    ):
        _check_kept(residue, form, had, has, where)
        if had.hydrogens:
            new = sorted(has.hydrogens - had.hydrogens)
            completed += [f"{name} of {label(residue)}" for name in new]
        if has.form is not None and not has.bridged:
            given = had.hydrogens and had.count == has.count
            by = "name" if form else "hydrogens" if given else f"pH {PH:g}"
            forms.append({"residue": label(residue), "form": has.form, "by": by})
    for residue, has in zip(modeller.topology.residues(), after, strict=True):
        if has.form in UNLIKE_BY_NAME and not has.bridged:
            residue.name = has.form  # so that what is written is read again as the same
    added = sum(
        len(has.hydrogens) - len(had.hydrogens) for had, has in zip(before, after, strict=True)
    )
    return Protonation(forms, added, completed)


class _State(NamedTuple):
    """What a residue has: names of hydrogens, hydrogens on each titratable atom, whether its sulfur is bonded to
    another, and the form that it is in (None: without such atoms, or none of those known)."""

    hydrogens: set[str]
    count: dict[str, int]
    bridged: bool
    form: str | None


def _states(topology: app.Topology) -> list[_State]:
    bonded: dict = {atom: [] for atom in topology.atoms()}
    for a, b in topology.bonds():
        bonded[a].append(b)
        bonded[b].append(a)
    bridged = {atom.residue.index for pair in disulfides(topology) for atom in pair}
    found = []
    for residue in topology.residues():
        hydrogens = {a.name for a in residue.atoms() if a.element and a.element.symbol == "H"}
        count = _counts(residue, bonded)
        found.append(_State(hydrogens, count, residue.index in bridged, _form(residue, count)))
    return found


def disulfides(topology: app.Topology) -> list[tuple]:
    """Pairs of sulfur atoms of two cysteines with a bond between them."""
    return [
        tuple(sorted((a, b), key=lambda atom: atom.index))
        for a, b in topology.bonds()
        if a.name == b.name == "SG" and a.residue is not b.residue
    ]


def _check_plain(residue, state: _State, where: str) -> None:
    """Refuses hydrogens that are those of another form than the name, where completing would change it."""
    on_lysine = state.count.get("NZ", 0)
    thiolate = residue.name == "CYS" and not state.bridged and not state.count.get("SG", 0)
    if residue.name == "LYS" and on_lysine in (1, 2):
        other, has = "LYN", f"{on_lysine} hydrogen(s) on NZ"
    elif thiolate and any(name.startswith("HB") for name in state.hydrogens):
        other, has = "CYM", "hydrogens, but none on SG"
    else:
        return
    raise ConfigError(
        f"{where}: {label(residue)} has {has}; name it {other} if that is meant, else give all of its hydrogens "
        "or none"
    )


def _check_bridge(residue, name: str, form: Form, state: _State, where: str) -> None:
    """Refuses a name that says another thing of a disulfide than the atoms."""
    if state.bridged and form is not FORMS["CYX"]:
        raise ConfigError(
            f"{where}: {label(residue)} is named {name}, but its sulfur is bonded to another; name it CYX or CYS"
        )
    if form is FORMS["CYX"] and not state.bridged:
        raise ConfigError(
            f"{where}: {label(residue)} is named CYX, but no other sulfur is within 0.3 nm to be bonded to; "
            "name it CYS (SH) or CYM (S-), or give a file with both ends of the bond"
        )


def _check_count(residue, name: str, form: Form, state: _State, where: str) -> None:
    """Refuses a name that has fewer hydrogens than there are."""
    for group, allowed in form.hydrogens.items():
        has = sum(state.count.get(atom, 0) for atom in group)
        if has > allowed:
            raise ConfigError(
                f"{where}: {label(residue)} is named {name}, which has {allowed} hydrogen(s) on "
                f"{' or '.join(group)}, but the file has {has}; correct its name or its hydrogens"
            )


def _check_kept(residue, form: Form | None, had: _State, has: _State, where: str) -> None:
    """Refuses what Modeller made of hydrogens with names of their own, and of forms that it does not know."""
    lost = sorted(had.hydrogens - has.hydrogens)
    if lost:
        raise ConfigError(
            f"{where}: {label(residue)} of the form {form.variant if form else residue.name} has no hydrogen(s) "
            f"{' '.join(lost)}; give them standard names, or leave them out"
        )
    if form is not None and (has.form is None or FORMS[has.form].variant != form.variant):
        raise ConfigError(
            f"{where}: {label(residue)} became {has.form}, not {form.variant} as its name says; "
            "give its hydrogens in the file"
        )


def _rename_zeta(residue) -> None:
    """AMBER's hydrogens of a neutral lysine are HZ2 and HZ3, Modeller's HZ1 and HZ2."""
    zeta = sorted((a for a in residue.atoms() if a.name.startswith("HZ")), key=lambda a: a.name)
    if len(zeta) <= 2:
        for k, atom in enumerate(zeta, start=1):
            atom.name = f"HZ{k}"


def _variant(form: Form | None, state: _State) -> str | None:
    """What Modeller is told, None where it keeps what is there by itself."""
    if form is None:
        return None
    if form is FORMS["LYN"]:
        return form.variant
    whole = all(
        sum(state.count.get(a, 0) for a in group) == n for group, n in form.hydrogens.items()
    )
    # without hydrogens there, Modeller would follow the pH
    return None if whole and sum(form.hydrogens.values()) else form.variant


def _form(residue, count: dict) -> str | None:
    """The form that the hydrogens of a residue are of; None where it is none of those known."""
    for name, form in FORMS.items():
        groups = form.hydrogens.items()
        if standard_name(residue.name) == form.residue and all(
            sum(count.get(atom, 0) for atom in group) == n for group, n in groups
        ):
            return name
    return None


def _counts(residue, bonded: dict) -> dict[str, int]:
    """Hydrogens on each titratable atom of a residue."""
    atoms = {
        atom
        for form in FORMS.values()
        if form.residue == standard_name(residue.name)
        for group in form.hydrogens
        for atom in group
    }
    return {
        atom.name: sum(other.element.symbol == "H" for other in bonded[atom] if other.element)
        for atom in residue.atoms()
        if atom.name in atoms
    }


@contextmanager
def _fixed_random() -> Iterator[None]:
    """Python's global generator in a fixed state, put back afterwards."""
    state = random.getstate()
    random.seed(1)
    try:
        yield
    finally:
        random.setstate(state)
