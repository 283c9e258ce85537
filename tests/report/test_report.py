"""Figures and report from a synthetic run folder: a toy, a molecule, and runs that lack things."""

import base64
import re

import numpy as np
import pytest

from jbg import plotting, report, runs
from jbg.interfaces import ConfigError
from jbg.plotting import style
from jbg.report import glossary, numerals

SIDE = 40


def _metrics(run):
    rng = np.random.default_rng(0)
    for step in range(0, 2000, 10):
        ess = {"ess_eval": 0.9 * step / 2000} if step % 100 == 90 else {}
        nll = 2.0 + 5 * np.exp(-step / 200) + 0.1 * rng.normal()
        run.log_metrics("example", step, nll=nll, loss=nll, **ess)
    for step in range(0, 1000, 10):
        kl = 1.0 + 4e4 * np.exp(-step / 50) + 0.1 * abs(rng.normal())
        run.log_metrics("energy", step, nll=2.0, kl=kl, ess_eval=None, log_variance=float("nan"))


def _profile(x, rng):
    u = 2 * np.cos(2 * x) + np.cos(x)
    noise = 0.1 * rng.normal(size=x.size)
    noise[:3] = np.nan
    return {
        "centers": x,
        "reference": u,
        "reference_stderr": np.full_like(x, 0.03),
        "generated": u + 0.3 * np.sin(x),
        "reweighted": u + noise,
        "stderr": np.full_like(x, 0.1),
    }


def _toy(run):
    rng = np.random.default_rng(1)
    n = 3000
    state = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 2)) * (0.3, 1.0) + np.stack([3.4 * state - 1.7, 0 * state], axis=1)
    gx, gy = np.linspace(-3, 3, 60), np.linspace(-4, 4, 50)
    u = gx[None] ** 4 - 6 * gx[None] ** 2 + gx[None] + 0.5 * gy[:, None] ** 2
    u_generated = rng.gamma(2.0, 1.5, n) - 10
    u_generated[:5] = (np.inf, np.nan, 1e12, 1e5, 50.0)
    profile = {f"profile_x_{k}": v for k, v in _profile(np.linspace(-2.5, 2.5, 50), rng).items()}
    run.save_arrays(
        "evaluation.npz",
        u_data=rng.gamma(2.0, 1.0, n) - 10,
        u_generated=u_generated,
        log_weights=np.where(np.isfinite(u_generated), rng.normal(size=n), -np.inf),
        x_data=x,
        state_data=state,
        state_names=["left", "right"],
        z_data=rng.normal(size=(n, 2)),
        x_generated=x + 0.1,
        contour_x=gx,
        contour_y=gy,
        contour_u=u,
        **profile,
    )


def _molecule(run):
    rng = np.random.default_rng(2)
    edges = np.linspace(-np.pi, np.pi, SIDE + 1)
    phi, psi = np.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    p = np.exp(3 * np.cos(phi + 1.4) + 2 * np.cos(psi - 2.6))
    arrays = {f"ramachandran_1_{k}": p / p.sum() for k in ("reference", "reweighted")}
    arrays["ramachandran_1_generated"] = np.where(p > 0.02, p, 0.0) / p.sum()
    arrays["ramachandran_1_edges"] = edges
    profile = _profile(0.5 * (edges[1:] + edges[:-1]), rng)
    arrays |= {f"profile_phi_{k}": v for k, v in profile.items()}
    run.save_arrays("evaluation.npz", u_data=rng.normal(size=500), **arrays)


CONFIG = {"seed": 3, "study": "double-well", "options": {"a4": 1.25, "taus": [1.0]}}
RESULTS = {
    "system": "double-well <toy>",
    "seed": 3,
    "preset": "quick",
    "temperature": 1.0,
    "units": "kT",
    "n_samples": 100000,
    "ess_fraction": 0.9123,
    "ess_fraction_clipped": 0.93,
    "largest_weight_share": 0.0004,
    "forward_nll": 2.345,
    "log_z": {"value": 10.8312, "stderr": 0.0021, "reference": 10.8301},
    "free_energy_differences": [
        {
            "states": ["left", "right"],
            "tau": 1.0,
            "value": 3.4021,
            "stderr": 0.0213,
            "interval95": [3.36, 3.444],
            "reference": 3.3951,
            "reference_stderr": None,
            "definition": "x < 0 against x > 0",
        },
        {
            "states": ["left", "top"],
            "tau": 1.0,
            "value": None,
            "stderr": None,
            "interval95": None,
            "reason": "12.0 effective samples in the second state, need 50",
            "reference": None,
            "reference_reason": "none was simulated",
            "definition": "x < 0 against y > 4",
        },
    ],
    "energy_evaluations": {"simulate": 400000, "train": 1024000, "evaluate": 100000},
    "wall_seconds": {"simulate": 4.2, "train": 71.0, "sample": 2.0, "evaluate": 3600.0 * 2},
    "parameters": 21345,
    "profiles": {"x": {"label": "x", "unit": ""}, "phi": {"label": "phi", "unit": "rad"}},
    "warnings": ["The largest weight is <b>large</b>."],
    "restriction": "Amide bonds are trans & fixed.",
    "ess_by_state": {
        "left": {"effective_samples": 81234.56, "generated_share": 0.961},
        "right": {"effective_samples": 0.0, "generated_share": 0.0},
    },
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/jbg", "run", "double-well", "--out", "a b"])
    run = runs.open_run(tmp_path / "a b", CONFIG)
    run.write_json("results.json", RESULTS)
    _metrics(run)
    return run


def _images(page):
    return [base64.b64decode(d) for d in re.findall(r"data:image/png;base64,([^\"]+)", page)]


def test_a_toy_run_gets_all_its_figures_inside_one_page(run):
    _toy(run)
    path = report.write_report(run)
    page = path.read_text()
    names = {p.name for p in (run.path / "figures").iterdir()}
    assert names == {
        f"{name}.png"
        for name in ("profile_x", "configurations", "latent", "energies", "weights", "training")
    }
    images = _images(page)
    assert len(images) == 6
    assert all(image.startswith(b"\x89PNG") for image in images)
    assert not re.search(r"(src|href)=\"(?!data:)", page)  # nothing from outside
    assert "3.402 ± 0.021" in page
    assert "3.360\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}3.444" in page
    assert "reference 3.395" in page
    assert "10.8312 ± 0.0021" in page
    assert "reference 10.8301" in page  # exact, so with the digits of the estimate
    assert "100\N{THIN SPACE}000" in page
    assert "2.0 h" in page
    assert "jbg run double-well --out &#x27;a b&#x27;" in page
    assert "<td>a4</td><td>1.25</td>" in page
    assert runs.environment.versions()["jax"] in page


def test_nulls_show_their_reason_and_warnings_come_first(run):
    page = report.write_report(run).read_text()
    assert "12.0 effective samples in the second state, need 50" in page
    assert "y &gt; 4; no reference: none was simulated" in page
    assert "None" not in re.sub(r"<details>.*</details>", "", page, flags=re.S)
    assert "81\N{THIN SPACE}235" in page
    assert page.index("The largest weight is") < page.index('class="cards"')


def test_numbers_of_fewer_samples_than_there_are_are_out_of_date(run):
    about = {"batch": 1000, "origin": ""}
    done = lambda n: run.write_json(
        "samples/tau-1/progress.json", about | {"done": n, "crc32": [0] * (n // 1000)}
    )
    done(100_000)
    assert "run jbg evaluate" not in report.write_report(run).read_text()
    done(200_000)
    assert "of 100000 samples, but there are 200000" in report.write_report(run).read_text()


def test_large_figures_begin_with_the_system_s_own_temperature(run):
    own = RESULTS["free_energy_differences"][0]
    run.write_json("results.json", RESULTS | {"free_energy_differences": [own | {"tau": 2.0}, own]})
    cards = report.write_report(run).read_text().split('class="cards"')[1]
    first, second = re.findall(r"<span>(F\(right.*?)</span>", cards)
    assert " at tau 2" not in first
    assert second == f"{first} at tau 2"


def test_a_molecule_is_named(run):
    peptide = {"sequence": "ACE-GLY-NME"}
    named = runs.open_run(run.path.parent / "named", CONFIG | {"options": peptide})
    named.write_json("results.json", RESULTS)
    _metrics(named)
    assert "Boltzmann generator, ACE-GLY-NME, preset" in report.write_report(named).read_text()


def test_text_from_the_run_is_escaped(run):
    page = report.write_report(run).read_text()
    assert "double-well &lt;toy&gt;" in page
    assert "<b>large</b>" not in page
    assert "trans &amp; fixed" in page


def test_a_molecule_gets_ramachandran_maps(run):
    _molecule(run)
    run.write_json("results.json", RESULTS | {"log_z": {"value": None}, "units": "kJ/mol"})
    page = report.write_report(run).read_text()
    names = {p.name for p in (run.path / "figures").iterdir()}
    assert names == {"ramachandran_1.png", "profile_phi.png", "energies.png", "training.png"}
    assert "no absolute scale" in page


def test_a_report_says_what_molecule_it_is_of(run):
    about = {
        "formula": "C9H15N4O2",
        "n_atoms": 30,
        "charge": 1,
        "residues": ["ACE", "HIP", "DAL", "NME"],
        "ends": ["", ""],
        "n_l": 1,
        "n_d": 1,
        "d_residues": ["ALA 3"],
        "allo_residues": [],
        "ph": 7.0,
        "protonation": [{"residue": "HIS 2", "form": "HIP", "by": "name"}],
        "disulfides": [["CYS 3", "CYS 8"]],
        "hydrogens_added": 3,
        "hydrogens_completed": ["HE2 of HIS 2"],
        "heavy_atoms_added": ["OXT of GLY 10"],
        "left_out": {"models": 1, "alternate_locations": 2},
        "forcefield": ["amber14-all.xml"],
    }
    shares = {"chirality_l_fraction": 0.0, "chirality_as_given_fraction": 0.75}
    run.write_json("results.json", RESULTS | {"molecule": about} | shares)
    page = report.write_report(run).read_text()
    for text in (
        "C9H15N4O2, 30 atoms, charge +1",
        "ACE-HIP-DAL-NME",
        "1 L, 1 D by the coordinates; D: ALA 3",
        "pH 7 where nothing else is said; as named: HIS 2 is HIP+",
        "CYS 3 to CYS 8",
        "3 hydrogens, of them HE2 of HIS 2 where a residue had others; OXT of GLY 10",
        "1 further model(s); 2 alternate location(s) of atoms, the first of each is kept",
    ):
        assert text in page
    assert "Chirality as given" in page
    assert "L fraction" not in page


def test_a_report_needs_results_only(tmp_path):
    bare = runs.open_run(tmp_path / "bare", {"seed": 0})
    with pytest.raises(ConfigError, match=r"results\.json: no such file"):
        report.write_report(bare)
    bare.write_json("results.json", {"system": "x"})
    assert "<h1>x</h1>" in report.write_report(bare).read_text()
    bare.file("evaluation.npz").write_bytes(b"PK broken")
    with pytest.raises(ConfigError, match=r"evaluation\.npz is none that this run wrote"):
        report.write_report(bare)


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (3.40213, 0.0213, "3.402 ± 0.021"),
        (-12.3456, 0.5, "−12.35 ± 0.50"),
        (123.4, 25.0, "123 ± 25"),
        (1.5, None, "1.5"),
        (1.5, 0.0, "1.5"),
    ],
)
def test_a_figure_has_the_digits_its_error_allows(value, stderr, text):
    assert numerals.number_with_error(value, stderr) == text


def test_weights_are_relative_to_their_mean(monkeypatch, tmp_path):
    """Half the weight in the heaviest tenth must read 0.5 off the right panel."""
    seen = {}

    def keep(_, write):
        import io

        write(io.BytesIO())

    monkeypatch.setattr(style.storage, "write_atomic", keep)
    original = style.Figure.subplots

    def subplots(self, *args, **kwargs):
        axes = original(self, *args, **kwargs)
        seen["axes"] = axes
        return axes

    monkeypatch.setattr(style.Figure, "subplots", subplots)
    w = np.r_[np.full(100, 9.0), np.ones(900)]
    plotting.weight_diagnostics(np.log(w) + 1234.5, tmp_path / "w.png")
    x, y = seen["axes"][1].lines[0].get_data()
    assert np.interp(0.1, x, y) == pytest.approx(0.5, abs=0.02)


def test_weights_that_count_for_nothing_do_not_stretch_the_axis(monkeypatch, tmp_path):
    seen = {}
    original = style.Figure.subplots

    def subplots(self, *args, **kwargs):
        seen["axes"] = original(self, *args, **kwargs)
        return seen["axes"]

    monkeypatch.setattr(style.Figure, "subplots", subplots)
    rng = np.random.default_rng(0)
    plotting.weight_diagnostics(
        np.r_[rng.normal(size=900), np.full(100, -500.0)], tmp_path / "w.png"
    )
    bars = seen["axes"][0].patches
    assert bars[0].get_x() == pytest.approx(plotting.LOWEST_LOG_WEIGHT)
    assert bars[0].get_height() == 100  # they are counted all the same


def test_shares_are_percentages(run):
    page = report.write_report(run).read_text()
    for text in ("91.2\N{NO-BREAK SPACE}%", "91\N{THIN SPACE}230 of 100\N{THIN SPACE}000 samples"):
        assert text in page
    assert "0.04\N{NO-BREAK SPACE}%" in page


def test_signs_and_words_are_explained_where_they_are_used(run):
    entry = RESULTS["free_energy_differences"][0]
    page = report.write_report(run).read_text()
    assert "± is one standard error" in page
    assert "T / T_ref" not in page
    assert "ladder" not in page
    hot = {"free_energy_differences": [entry | {"tau": 2.0}]}
    run.write_json("results.json", RESULTS | hot)
    assert "T / T_ref" in report.write_report(run).read_text()
    simulated = [entry | {"estimator": "bar"}]
    assert "not independent" in glossary.notes(simulated, molecule=True)
    assert "A ladder is" in glossary.notes(simulated, molecule=True)
    assert "ladder" not in glossary.notes(simulated, molecule=False)
    alone = [entry | {"reference": None, "reference_expected": False}]
    assert "ladder" not in glossary.notes(alone, molecule=True)


def test_a_recipe_is_shown_only_where_it_was_used(run):
    for data, shown in (("simulated", False), ("none", True)):
        options = {"data": data, "recipe": "own-samples"}
        named = runs.open_run(run.path.parent / data, CONFIG | {"options": options})
        named.write_json("results.json", RESULTS)
        page = re.sub(
            r"<details>.*</details>", "", report.write_report(named).read_text(), flags=re.S
        )
        assert ("<td>recipe</td>" in page) == shown


def test_ln_z_of_a_molecule_says_why_it_is_not_given(run):
    run.write_json("results.json", RESULTS | {"log_z": None})
    assert "position and orientation" in report.write_report(run).read_text()


def test_figures_take_nothing_finite(tmp_path):
    nan = np.full(5, np.nan)
    plotting.energy_histograms({"data": nan}, tmp_path / "e.png")
    plotting.weight_diagnostics(np.full(5, -np.inf), tmp_path / "w.png")
    plotting.ramachandran({"reference": np.zeros((4, 4))}, tmp_path / "r.png")
    profile = {"centers": np.arange(5.0), "reference": nan, "reweighted": nan, "stderr": nan}
    plotting.free_energy_profile(profile, tmp_path / "p.png", label="x")
    assert not plotting.training_curves([{"stage": "simulate", "step": 0}], tmp_path / "t.png")


def test_short_chains_are_named_where_there_were_any(run):
    gap = {"n_chains": 48, "n_close": 44, "n_above": 3, "excess": 9.1, "outside_share": 0.0}
    run.write_json("results.json", RESULTS | {"local_chains": gap})
    page = report.write_report(run).read_text()
    assert 'Chains outside the samples</td><td class="n">3 of 44' in page


def test_an_estimate_without_an_error_says_so(run):
    entry = RESULTS["free_energy_differences"][0] | {"stderr": None, "interval95": None}
    run.write_json("results.json", RESULTS | {"free_energy_differences": [entry]})
    assert "error unknown" in report.write_report(run).read_text()
