"""The description of a molecule (`description.describe`) as lines to read, before a run and in its report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

CHARGED = {"ASP": -1, "GLU": -1, "LYS": 1, "HIP": 1, "CYM": -1}
USUAL = ("ASP", "GLU", "LYS", "CYS")
MOST_NAMED = 8  # residues in a line to read


def rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, which) of a description, to be read by people; nothing where there is none, as in older runs."""
    if not found:
        return []
    charge = found["charge"]
    charged = (
        "charge not known" if charge is None else f"charge {charge:+g}" if charge else "charge 0"
    )
    named = found["residues"]
    chain = "-".join(named) if len(named) <= 2 * MOST_NAMED else f"{len(named)} residues"
    first, last = found["ends"]
    ends = (
        ""
        if first == last == ""
        else f" (ends {first or 'as they are'} and {last or 'as they are'})"
    )
    lines = [
        ("molecule", f"{found['formula']}, {found['n_atoms']} atoms, {charged}"),
        ("residues", f"cyclo({chain})" if found.get("ring") else f"{chain}{ends}"),
        ("chirality", _chirality(found)),
        ("protonation", _protonation(found)),
    ]
    if found["disulfides"]:
        lines.append(("disulfides", _few([" to ".join(pair) for pair in found["disulfides"]])))
    lines.append(("added", _added(found)))
    lines.append(("renamed", _renamed(found.get("renamed") or ())))
    lines.append(("left out", _left_out(found["left_out"])))
    lines.append(("force field", " ".join(found["forcefield"])))
    lines.append(("solvent", found.get("solvent", "")))  # absent in older runs
    return [(what, which) for what, which in lines if which]


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return ", ".join(words[:MOST_NAMED]) + more


def _chirality(found: Mapping[str, Any]) -> str:
    if not found["n_l"] + found["n_d"]:
        return ""
    text = f"{found['n_l']} L, {found['n_d']} D by the coordinates"
    if found["d_residues"]:
        text += f"; D: {_few(found['d_residues'])}"
    if found["allo_residues"]:
        text += f"; side chain of the other hand (allo): {_few(found['allo_residues'])}"
    return text


def _protonation(found: Mapping[str, Any]) -> str:
    """By what they were decided; histidines and whatever is not as usual one by one, the others by number."""
    named: dict[str, list[str]] = {}
    usual: dict[str, Counter] = {}
    for each in found["protonation"]:
        form, by = each["form"], each["by"]
        sign = {-1: "-", 1: "+"}.get(CHARGED.get(form, 0), "")
        if form in USUAL:
            usual.setdefault(by, Counter())[f"{form}{sign}"] += 1
        else:
            named.setdefault(by, []).append(f"{each['residue']} is {form}{sign}")
    whole = found["ph"] is None  # as it was given, with all its hydrogens
    ph = "" if whole else f"pH {found['ph']:g}"
    parts = [] if whole else [f"{ph} where nothing else is said"]
    words_of = {"name": "as named", "hydrogens": "by hydrogens in the file", ph: f"at {ph}"}
    for by, words in words_of.items():
        few = [_few(named[by])] if by in named else []
        few += [f"{n} {form}" for form, n in usual.get(by, {}).items()]
        parts += [f"{words}: {', '.join(few)}"] if few else []
    return "; ".join(parts)


def _added(found: Mapping[str, Any]) -> str:
    n, heavy, completed = (
        found[key] for key in ("hydrogens_added", "heavy_atoms_added", "hydrogens_completed")
    )
    parts = [f"{n} hydrogen{'s' if n > 1 else ''}"] if n else []
    if completed:
        parts[0] += f", of them {_few(completed)} where a residue had others"
    # each of them, as they are guesses
    ends = [each for each in heavy if each.startswith("OXT ")]
    side = [each for each in heavy if each not in ends]
    parts += [", ".join(ends)] if ends else []
    parts += [f"where there is room: {', '.join(side)}"] if side else []
    return "; ".join(parts)


def _renamed(names: Sequence[str]) -> str:
    return f"{len(names)} atom(s): {_few(names)}" if names else ""


def _left_out(left_out: Mapping[str, Any]) -> str:
    models, places = left_out["models"], left_out["alternate_locations"]
    parts = [f"{models} further model(s)"] if models else []
    if places:
        residues = left_out.get("alternate_residues")
        kept = ", the first of each is kept"  # as in older runs
        if residues:
            kept = f" in {len(residues)} residue(s), kept is the one of highest occupancy: {', '.join(residues)}"
        parts.append(f"{places} alternate location(s) of atoms{kept}")
    if left_out.get("unresolved"):
        parts.append(f"of SEQRES, without coordinates: {', '.join(left_out['unresolved'])}")
    return "; ".join(parts)
