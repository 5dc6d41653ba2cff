"""What is happening to a run, in words with evidence: a state machine over lines of metrics, live or replayed.

    diagnosis = Diagnosis(prototypes=512)
    for row in read_metrics(run):
        for finding in diagnosis.update(row):
            print(row["step"], explain(finding))

`rules` judge each line; a judgement is believed when it holds for several lines that span enough steps, and an alarm
ends when it has been well clear of its threshold for several lines.  So it neither cries wolf nor flickers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dino_core.telemetry.rules import LEVELS, NO_INFORMATION, RULES, History, Judgement, Level, Rule

CALM_ROWS = 3
"""Lines well clear of its threshold after which an alarm ends."""
WARM_UP = 50
"""Steps in which nothing is called healthy yet."""


@dataclass(frozen=True)
class Finding:
    """Something the run says about itself."""

    name: str
    """`healthy`, `warming_up`, or the name of a rule."""
    level: Level
    sentence: str
    evidence: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Metric → its `value` when this was found, and the `threshold` it crossed, in the metric's own unit."""
    advice: str = ""
    since_step: int = 0
    """When it began."""
    view: str = "collapse"
    """The group of curves that shows it."""
    cleared: bool = False
    """True for the message that an earlier finding is over."""

    def as_event(self) -> dict[str, Any]:
        """The fields of an event `diagnosis`."""
        return asdict(self)


class Diagnosis:
    """Feed it every line of metrics, in order; `verdict` is what to say now."""

    def __init__(self, prototypes: int, total_steps: int | None = None) -> None:
        self._seen = History(prototypes, total_steps)
        self._watches = [_Watch(rule) for rule in RULES]
        self._verdict = Finding("warming_up", "healthy", "Too early to tell.")

    @property
    def verdict(self) -> Finding:
        """The worst finding that holds now, else `healthy`, or `warming_up` before there is anything to say."""
        return self._verdict

    @property
    def active(self) -> list[Finding]:
        """All findings that hold now, worst first."""
        found = [watch.finding for watch in self._watches if watch.finding is not None]
        return sorted(found, key=lambda finding: -LEVELS.index(finding.level))

    def update(self, row: Mapping[str, Any]) -> list[Finding]:
        """What this line changes: findings that ended, that were raised or got worse, and the new verdict last.

        Lines that lack a metric leave what depends on it as it was."""
        if not isinstance(row.get("step"), int):
            return []
        self._seen.add(row)
        changes = [change for watch in self._watches if (change := watch.look(self._seen)) is not None]
        for watch in self._watches:
            watch.give_way(self.active)
        changes = [change for change in changes if change.cleared or change in self.active]
        changes.sort(key=lambda finding: not finding.cleared)
        before, self._verdict = self._verdict, self._judge()
        if (changes or self._verdict.name != before.name) and (not changes or changes[-1] != self._verdict):
            changes.append(self._verdict)
        return changes

    def _judge(self) -> Finding:
        active = self.active
        if active:
            return active[0]
        early, step = self._verdict.name == "warming_up", self._seen.step
        if self._verdict.name == "healthy" or (early and step < WARM_UP):
            return self._verdict
        sentence = healthy(self._seen.now("kl"), self._seen.now("teacher/information"), self._seen.largest_entropy)
        if sentence is None:
            calm = Finding("healthy", "healthy", "Nothing wrong is seen any more.", since_step=step)
            return self._verdict if early else calm
        return Finding("healthy", "healthy", sentence, since_step=step)


def healthy(kl: float | None, information: float | None, largest_entropy: float) -> str | None:
    """What health is made of, in the numbers of one line; None where they are missing, or where the teacher says nothing."""
    if kl is None or information is None or information < NO_INFORMATION * largest_entropy:
        return None
    return (
        f"Healthy so far: the teacher's answer tells {information:.2f} nats about the image, and the student "
        f"still has {kl:.2f} nats to learn."
    )


class _Watch:
    """One rule over time."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.finding: Finding | None = None
        self._since, self._rows, self._calm = 0, 0, 0

    def look(self, seen: History) -> Finding | None:
        """The finding that this line raises, worsens or ends."""
        judged = self.rule.judge(seen, self.finding is not None)
        if judged is None:
            return None
        if judged.level == "healthy":
            return self._calm_line(seen.step)
        if self._rows == 0:
            self._since = seen.step
        self._rows, self._calm = self._rows + 1, 0
        level = self._level(judged, seen.step)
        if level == "healthy" or (self.finding and LEVELS.index(level) <= LEVELS.index(self.finding.level)):
            return None
        steps = seen.step - self._since
        sentence = f"{judged.sentence}, for {steps} steps." if steps else f"{judged.sentence}."
        since = self.finding.since_step if self.finding else self._since
        self.finding = Finding(
            self.rule.name, level, sentence, judged.evidence, judged.advice, since_step=since, view=self.rule.view
        )
        return self.finding

    def give_way(self, active: list[Finding]) -> None:
        """Drop the finding where another that says more holds and is as bad."""
        for other in active:
            if self.finding and other.name in self.rule.unless and other.level in (self.finding.level, "trouble"):
                self.finding = None

    def _level(self, judged: Judgement, step: int) -> Level:
        span = step - self._since
        if judged.at_once:
            return judged.level
        if self._rows < self.rule.rows or span < self.rule.watch_after:
            return "healthy"
        enough = self.rule.trouble_after if judged.level == "trouble" else self.rule.lasting
        return "trouble" if enough is not None and span >= enough else "watch"

    def _calm_line(self, step: int) -> Finding | None:
        self._rows, self._calm = 0, self._calm + 1
        if self.finding is None or self._calm < CALM_ROWS:
            return None
        over, self.finding = self.finding, None
        sentence = f"Over: {_name(over)}, which began at step {over.since_step}."
        return replace(over, level="healthy", sentence=sentence, advice="", cleared=True)


def explain(finding: Finding) -> str:
    """A finding as one line for a terminal: name, sentence, evidence, advice."""
    numbers = ", ".join(f"{name} {e['value']:.3g} (limit {e['threshold']:.3g})" for name, e in finding.evidence.items())
    parts = [f"{_name(finding)}: {finding.sentence}", f"[{numbers}]" if numbers else "", finding.advice]
    return " ".join(part for part in parts if part)


def _name(finding: Finding) -> str:
    return finding.name.replace("_", " ")
