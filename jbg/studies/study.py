"""The definition of a study, and the plan that it makes from its options. Files, stages and alarms belong to the
engine."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from jbg.flows import RealNVPConfig, SplineFlowConfig, SplitFlowConfig
from jbg.interfaces import ConfigError, State, Topology
from jbg.runs import Run
from jbg.sampling.annealing_settings import Annealing
from jbg.sampling.generate import Ensemble
from jbg.studies.correction_plan import CorrectionPlan
from jbg.targets import check_taus
from jbg.training import Stage, evaluations

if TYPE_CHECKING:
    from jbg.studies.difference import Difference
    from jbg.studies.evidence import Evidence
    from jbg.studies.problem import Problem

# options of a study, as flags spell them, and settings of its data; a plan only gives them out
O_co = TypeVar("O_co", covariant=True)
D_co = TypeVar("D_co", covariant=True)
O = TypeVar("O")
D = TypeVar("D")

Preset = Literal["quick", "full"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """How samples are drawn.

    Attributes:
        n: number of samples of each ensemble.
        batch: number of samples drawn at once.
        taus: relative temperatures that are sampled and reported; 1 is among them.

    Raises:
        ConfigError: no samples, or no samples at tau = 1.
    """

    n: int
    batch: int
    taus: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        if self.n < 1 or self.batch < 1:
            raise ConfigError(
                f"sampling: n and batch must be at least 1, got {self.n} and {self.batch}"
            )
        if 1.0 not in check_taus(self.taus):
            raise ConfigError(f"sampling: 1 must be among taus, got {self.taus}")

    @property
    def ensembles(self) -> tuple[Ensemble, ...]:
        return tuple(Ensemble(tau) for tau in self.taus)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Generic[O_co, D_co]):
    """Every number of a run, resolved: later stages look nothing else up. ``config.json`` holds it (`codec`).

    Attributes:
        study: name in the registry.
        preset: sizes that it was made with.
        seed: seed of all random numbers.
        options: choices of the user.
        data: how the data are made.
        flow: sizes of the flow.
        stages: of training.
        sampling: how samples are drawn.
        correction: what corrects them; None where studies of its kind have nothing.
        annealing: from the flow to the target, for weights better than those of plain samples; None for none.
    """

    study: str
    preset: str
    seed: int
    options: O_co
    data: D_co
    flow: SplineFlowConfig | SplitFlowConfig | RealNVPConfig
    stages: tuple[Stage, ...]
    sampling: SamplingPlan
    correction: CorrectionPlan | None = None
    annealing: Annealing | None = None

    @property
    def spline_flow(self) -> SplineFlowConfig:
        """The flow of a study whose variables are no tokens of a protein.

        Raises:
            TypeError: it has another.
        """
        if not isinstance(self.flow, SplineFlowConfig):
            raise TypeError(f"{self.study}: expected a spline flow, got {type(self.flow).__name__}")
        return self.flow

    @property
    def training_evaluations(self) -> int:
        """Energies that training spends, its evaluations of the ESS and all cycles of learning again included."""
        spent, again = evaluations(self.stages, self.sampling.batch), self.correction
        if again is None or not again.cycles:
            return spent
        return spent + again.cycles * again.cycle_evaluations(again.corrector, self.sampling.batch)


class Source(Protocol):
    """Makes the data of a study: `dataset.FRAMES`, and other files that its problem needs, under ``data/``.

    Called again after a kill, ``make`` resumes and ends with the same bits as an unbroken run.
    """

    @property
    def evaluations(self) -> int:
        """Upper bound of the energies that it will evaluate."""
        ...

    @property
    def frames(self) -> int:
        """Number of frames that it keeps, about: what they need of disk and memory follows from it."""
        ...

    def make(self, run: Run, *, quiet: bool) -> None: ...


class Finding(NamedTuple):
    """Entries that an observable adds to ``results.json``, and the arrays that its figures are drawn from."""

    numbers: dict[str, Any]
    arrays: dict[str, Any]


Observable = Callable[["Evidence"], Finding]
# (evidence, differences so far) -> better ones; the first are by plain reweighting
Estimator = Callable[["Evidence", "Sequence[Difference]"], "list[Difference]"]


class Reference(NamedTuple):
    """A free-energy difference in kT known otherwise, or the reason why there is none.

    ``expected`` is false where a study has no reference by design, so that its absence is no alarm. ``ladders`` is
    the number of independent parts of a simulation of this run that the error is from; 0 for another source.
    """

    value: float | None
    stderr: float | None
    reason: str = ""
    expected: bool = True
    ladders: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(Generic[O, D]):
    """How one kind of system is studied. ``studies.registry`` lists all studies.

    Attributes:
        name: as in `jbg run NAME`.
        options: frozen dataclass: flags, help, defaults and checks, said once.
        data: dataclass of the settings of its data, or a union of several.
        plan: (options, preset, seed) -> every number of the run; pure.
        source: how the data of a plan are made.
        problem: (plan, run) -> system, target, coordinates and flow, from the files of the source.
        reference: (evidence, a, b, tau) -> F(b) - F(a) known otherwise.
        dim: number of coordinates of a configuration.
        minutes: rough duration of a plan.
        estimators: of free-energy differences, after plain reweighting, the best last.
        observables: further quantities to report.
        describe: (plan, run or None) -> rows that describe the system, printed before a run.
        topology: (plan, run or None) -> the topology of its molecule; None where it has none.
        check: raises ConfigError where settings that were changed one by one do not fit the options.
    """

    name: str
    options: type[O]
    data: Any
    plan: Callable[[O, Preset, int], Plan[O, D]]
    source: Callable[[Plan[O, D]], Source]
    problem: Callable[[Plan[O, D], Run], "Problem"]
    reference: Callable[["Evidence", State, State, float], Reference]
    dim: Callable[[Plan[O, D]], int]
    minutes: Callable[[Plan[O, D]], float]
    estimators: tuple[Estimator, ...] = ()
    observables: tuple[Observable, ...] = ()
    describe: Callable[[Plan[O, D], Run | None], list[tuple[str, str]]] = lambda plan, run: []
    topology: Callable[[Plan[O, D], Run | None], Topology | None] = lambda plan, run: None
    check: Callable[[Plan[O, D]], None] = lambda plan: None
