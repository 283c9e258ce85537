"""What a person sees while a stage runs: a bar on a terminal, a line now and then elsewhere.

Nothing is silent for much longer than LINE_SECONDS: where no step is done, as while a program compiles, a thread
says so.
"""

import contextlib
import dataclasses
import logging
import threading
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

LINE_SECONDS = 8.0  # between two plain lines
TOUCH_SECONDS = 60.0  # between two savings of the wall time
SPEED_SECONDS = 60.0  # whose speed tells the time left
TICK_SECONDS = 1.0  # between two looks at whether something was said


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
    begun: float = dataclasses.field(default_factory=lambda: time.monotonic())
    last_update: float = dataclasses.field(default_factory=lambda: time.monotonic())
    last_line: float = dataclasses.field(default_factory=lambda: time.monotonic())
    last_touch: float = dataclasses.field(default_factory=lambda: time.monotonic())

    def resume(self, step: int) -> None:
        """Says that an earlier process has done ``step`` steps of those that are left to do."""
        if 0 < step < self.total:
            self._say(f"{self.title}  resumed at {step} of {self.total}")
        self.update(step)

    def wait(self) -> None:
        """Says, at most every LINE_SECONDS, that it is still at work though no step is done."""
        now = time.monotonic()
        quiet_since = max(self.last_line, self.last_update)
        if self.bar is None and now - quiet_since > LINE_SECONDS:
            step = self.marks[-1][1] if self.marks else 0
            of = f"{step}/{self.total}  " if self.total else ""
            doing = "compiling" if self.compiling and self.total else "at work"
            self._say(f"{self.title}  {of}{doing}, {now - self.begun:.0f} s")

    def _say(self, line: str) -> None:
        if not self.quiet:
            self.console.print(line)
        self.last_line = time.monotonic()

    def update(self, step: int, **values: Any) -> None:
        """Shows that ``step`` of ``total`` are done, with current values (scalars, by name)."""
        self.last_update = now = time.monotonic()
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
            self._say(f"{self.title}  {step}/{self.total}  {_show(values)}{left}")

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
        total: the number of steps that ``update`` counts to; 0 for work without steps, of which only the time is
            shown.
        quiet: show nothing.
        console: where to; the standard error stream by default.
    """
    console = console or Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        shown = Bar(run=run, title=title, total=total, console=console, quiet=quiet)
        with _waiting(shown):
            yield shown
        return
    count = (BarColumn(bar_width=24), MofNCompleteColumn()) if total else ()
    left = (TextColumn("left"), TimeRemainingColumn()) if total else ()
    columns = (
        TextColumn("{task.description:<20}"),
        *count,
        TimeElapsedColumn(),
        *left,
        TextColumn("{task.fields[values]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task(title, total=total or None, values="compiling" if total else "")
        yield Bar(
            run=run, title=title, total=total, bar=bar, task=task, console=console, quiet=quiet
        )


@contextlib.contextmanager
def _waiting(bar: Bar) -> Iterator[None]:
    """A thread that calls `Bar.wait` now and then."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(TICK_SECONDS):
            bar.wait()

    thread = threading.Thread(target=watch, daemon=True, name=f"progress of {bar.title}")
    if not bar.quiet:
        thread.start()
    try:
        yield
    finally:
        over.set()


def _show(values: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {float(value):.4g}" for name, value in values.items() if value is not None
    )
