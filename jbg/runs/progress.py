"""What a person sees while a stage runs: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from jbg.runs import Run

logger = logging.getLogger(__name__)

LINE_SECONDS = 10.0  # between two plain lines
TOUCH_SECONDS = 60.0  # between two savings of the wall time
SPEED_SECONDS = 60.0  # whose speed tells the time left


@dataclasses.dataclass(kw_only=True)
class Bar:
    """The handle of one running bar; ``update`` is cheap enough to call at every logged step."""

    run: Run | None
    title: str
    total: int
    console: Console
    quiet: bool
    bar: Progress | None = None
    task: TaskID | None = None
    marks: deque[tuple[float, int]] = dataclasses.field(default_factory=deque)  # times and steps
    compiling: bool = True
    last_line: float = dataclasses.field(default_factory=lambda: time.monotonic())
    last_touch: float = dataclasses.field(default_factory=lambda: time.monotonic())

    def update(self, step: int, **values: Any) -> None:
        """Shows that ``step`` of ``total`` are done, with current values (scalars, by name)."""
        now = time.monotonic()
        if self.run is not None and now - self.last_touch > TOUCH_SECONDS:
            self.run.touch()
            self.last_touch = now
        if self.bar is not None and self.task is not None:
            # a resumed stage starts at its checkpoint: steps of an earlier process tell no speed
            if not self.marks:
                self.bar.reset(self.task, total=self.total, completed=step, values=_show(values))
            self.bar.update(self.task, completed=step, values=_show(values))
        self._mark(now, step)
        if (
            self.bar is None
            and not self.quiet
            and (now - self.last_line > LINE_SECONDS or step == self.total)
        ):
            left = self._left()
            self.console.print(f"{self.title}  {step}/{self.total}  {_show(values)}{left}")
            self.last_line = now

    def _mark(self, now: float, step: int) -> None:
        """Keeps what tells the speed of the last SPEED_SECONDS, without a stage's first step, which compiles."""
        if self.marks and step <= self.marks[-1][1]:  # the next one begins where it ended
            self.marks.clear()
            self.compiling = True
        self.marks.append((now, step))
        while len(self.marks) > 2 and (self.compiling or self.marks[1][0] < now - SPEED_SECONDS):
            self.marks.popleft()
            self.compiling = False

    def _left(self) -> str:
        (before, first), (now, step) = self.marks[0], self.marks[-1]
        if self.compiling or step <= first or step >= self.total:
            return ""
        left = (now - before) / (step - first) * (self.total - step)
        return f"  {left / 60:.1f} min left" if left > 90 else f"  {left:.0f} s left"


@contextlib.contextmanager
def progress(
    run: Run | None, title: str, *, total: int, quiet: bool = False, console: Console | None = None
) -> Iterator[Bar]:
    """``with progress(run, "train: nll", total=steps) as bar: bar.update(step, loss=...)``.

    Args:
        run: its wall time is saved about once a minute; None for none.
        title: what is running, one or two words.
        total: the number of steps that ``update`` counts to.
        quiet: show nothing.
        console: where to; the standard error stream by default.
    """
    console = console or Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        yield Bar(run=run, title=title, total=total, console=console, quiet=quiet)
        return
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task(title, total=total, values="")
        yield Bar(
            run=run, title=title, total=total, bar=bar, task=task, console=console, quiet=quiet
        )


def _show(values: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {float(value):.4g}" for name, value in values.items() if value is not None
    )
