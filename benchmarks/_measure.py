"""Seconds and memory of a call, and of a whole command seen from outside.

Standard library only: the peers' own Python imports this too. Memory is in 10⁶ bytes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


def status_mb(field: str, process: int | str = "self") -> float:
    """A field of `/proc/PID/status`, as VmRSS or VmHWM; 0 where the process is gone."""
    return _field_mb(_PROC / str(process) / "status", field)


def measured(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What `call` returns; its seconds, and how far it took this process's memory at the most.

    Returns:
        the result; `seconds`, `start_mb` (resident before), `peak_mb` (the most while it ran) and
        `above_mb`, their difference.
    """
    # Start VmHWM anew: what reading the inputs took for a moment is not the call's.
    _write_quietly(_PROC / "self" / "clear_refs", "5")
    start = status_mb("VmRSS")
    begin = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - begin
    peak = status_mb("VmHWM")
    return result, {
        "seconds": seconds,
        "start_mb": start,
        "peak_mb": peak,
        "above_mb": peak - start,
    }


def watched(
    command: Sequence[object], *, env: Mapping[str, str] | None = None, log: Path
) -> dict[str, float]:
    """Run a command to its end, workers included.

    Args:
        command: program and arguments.
        env: variables added to this process's own.
        log: gets what it prints.

    Returns:
        `seconds` from start to end; `peak_mb`, the VmHWM of its largest process; `together_mb`, the
        most that all its processes were seen to hold at one time, pages that they share counted
        once (PSS). That is looked up once a second only, since it costs time: of several processes
        it may be a little low, never below `peak_mb`.

    Raises:
        RuntimeError: it failed; the end of the log is in the message.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    peak = together = 0.0
    with log.open("w", encoding="utf-8") as stream:
        begin = time.perf_counter()
        due = begin + 0.5
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while True:
            try:
                process.wait(0.1)
                break
            except subprocess.TimeoutExpired:
                members = _session(process.pid)
            peak = max([peak, *(status_mb("VmHWM", member) for member in members)])
            if time.perf_counter() >= due:
                together = max(together, sum(_share_mb(member) for member in members))
                due = time.perf_counter() + 1
        seconds = time.perf_counter() - begin
    if process.returncode:
        raise RuntimeError(f"{command[0]}: exit {process.returncode}\n{_end_of(log)}")
    return {"seconds": seconds, "peak_mb": peak, "together_mb": max(together, peak)}


def told(command: Sequence[object], *, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a command that ends with one line of JSON, and read that line.

    Raises:
        RuntimeError: it failed; the end of what it printed is in the message.
    """
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: exit {done.returncode}\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def tell(answer: Mapping[str, Any]) -> None:
    """The other side of `told`."""
    print(json.dumps(answer), flush=True)


def in_rounds(
    names: Sequence[str],
    call: Callable[[str], dict[str, float]],
    *,
    rounds: int,
    warm_up: bool = False,
) -> dict[str, list[dict[str, float]]]:
    """What each arm measured, arm after arm in every round, every second round backwards.

    Args:
        names: of the arms.
        call: runs the arm of this name, which measures itself.
        rounds: that count.
        warm_up: one round before them that does not.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(-1 if warm_up else 0, rounds):
        for name in list(names)[:: -1 if number % 2 else 1]:
            answer = call(name)
            if number >= 0:
                found[name].append(answer)
            print(f"  {name}: {answer['seconds']:.2f} s", file=sys.stderr, flush=True)
    return found


def _share_mb(process: int) -> float:
    """What a process holds, its share of what it has in common with others (PSS)."""
    return _field_mb(_PROC / str(process) / "smaps_rollup", "Pss")


def _field_mb(path: Path, field: str) -> float:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    found = [line.split() for line in lines if line.startswith(f"{field}:")]
    return int(found[0][1]) * 1024 / 1e6 if found else 0.0


def _session(leader: int) -> list[int]:
    """Processes of the session that `leader` began."""
    members = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The name in brackets may hold spaces: state, parent, group, session come after it.
                rest = (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(rest[3]) == leader:
                members.append(int(entry.name))
    return members


def _write_quietly(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        return  # not Linux, or forbidden: the peak then includes what was before


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
