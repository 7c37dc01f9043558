"""What analyzer `ps -T` prints, by drgn: `cargo xtask bench` runs it as VMLINUX VMCORE.

Standard error gets one JSON object: how many rows there were, and the seconds that the walk alone took.
"""

import json
import sys
import time

import drgn
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.mm import task_rss, task_vsize
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import cpu_curr, idle_task, task_cpu, task_state_to_char

prog = drgn.Program()
prog.set_core_dump(sys.argv[2])
prog.load_debug_info([sys.argv[1]])
begin = time.perf_counter()

cpus = list(for_each_possible_cpu(prog))
active = {cpu_curr(prog, cpu).value_() for cpu in cpus}
page = prog["PAGE_SIZE"].value_()


def tasks():
    """The idle tasks, which have no process id of their own, and all others."""
    for cpu in cpus:
        yield idle_task(prog, cpu)
    yield from for_each_task(prog)


lines = ["    PID   PPID  CPU  TASK              ST  THR       VSZ      RSS  COMM"]
for task in tasks():
    comm = task.comm.string_().decode(errors="replace")
    mm = bool(task.mm)
    lines.append(
        "%1s %5d  %5d  %3d  %x  %s  %3d  %8d %8d  %s"
        % (
            ">" if task.value_() in active else "",
            task.pid,
            task.real_parent.tgid,
            task_cpu(task),
            task.value_(),
            task_state_to_char(task),
            task.signal.nr_threads,
            task_vsize(task) // 1024 if mm else 0,
            task_rss(prog, task).total * page // 1024 if mm else 0,
            comm if mm else "[%s]" % comm,
        )
    )
print("\n".join(lines), flush=True)
print(json.dumps({"rows": len(lines) - 1, "walk_seconds": time.perf_counter() - begin}), file=sys.stderr)
