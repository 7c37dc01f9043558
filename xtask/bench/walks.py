"""The walks of tests/benches/walk, by drgn: `cargo xtask bench walk` runs it as VMLINUX VMCORE.

Standard output gets one JSON object for each walk, as that benchmark prints them.
"""

import itertools
import json
import sys
import time

import drgn
from drgn.helpers.linux.list import hlist_for_each_entry, list_for_each_entry
from drgn.helpers.linux.mm import follow_phys, for_each_page
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry
from drgn.helpers.linux.slab import find_slab_cache, slab_cache_for_each_allocated_object

prog = drgn.Program()
prog.set_core_dump(sys.argv[2])
prog.load_debug_info([sys.argv[1]])
WORD = (1 << 64) - 1


def tasks():
    # All processes, as the list that begins at init_task has them.
    for task in list_for_each_entry("struct task_struct", prog["init_task"].tasks.address_of_(), "tasks"):
        yield task.pid.value_()


def below(top):
    entries = [top]
    while entries:
        entry = entries.pop()
        yield entry.d_flags.value_()
        try:
            children = hlist_for_each_entry("struct dentry", entry.d_children, "d_sib")
        except AttributeError:
            children = list_for_each_entry("struct dentry", entry.d_subdirs.address_of_(), "d_child")
        entries.extend(children)


def dentries():
    for block in list_for_each_entry("struct super_block", prog["super_blocks"].address_of_(), "s_list"):
        if block.s_root:
            yield from below(block.s_root)


def pages():
    # Behind the end of memory there are more, up to the end of a section.
    for page in itertools.islice(for_each_page(prog), prog["max_pfn"].value_()):
        # Memory has holes, for which there is no struct page.
        try:
            yield page.flags.value_()
        except drgn.FaultError:
            pass


def slab():
    cache = find_slab_cache(prog, "dentry")
    for entry in slab_cache_for_each_allocated_object(cache, "struct dentry"):
        yield entry.d_flags.value_()


def areas():
    try:
        nodes = [prog["vmap_nodes"][n].busy.root for n in range(prog["nr_vmap_nodes"])]
    except KeyError:
        nodes = [prog["vmap_area_root"]]
    for root in nodes:
        yield from rbtree_inorder_for_each_entry("struct vmap_area", root.address_of_(), "rb_node")


def vmalloc_pages():
    # As the way by hand, which knows of memory from 1 MB on, and of its last page as a bound.
    low, end = 1 << 20, (prog["max_pfn"].value_() - 1) * 4096
    pages = []
    for area in areas():
        for page in range(area.va_start.value_(), area.va_end.value_(), 4096):
            try:
                physical = follow_phys(prog["init_mm"].address_of_(), page).value_()
                prog.read_u64(page)
            except (drgn.FaultError, LookupError):
                continue
            if low <= physical < end:
                pages.append(page)
    return pages


def vmalloc(pages):
    at = pages[0]
    for step in range(100_000):
        read = prog.read_u64(at)
        yield read
        mixed = (read ^ step) * 0x9E3779B97F4A7C15 & WORD
        at = pages[(mixed >> 32) % len(pages)] + mixed % 512 * 8


reachable = vmalloc_pages()
for job, walk in [
    ("tasks", tasks),
    ("dentries", dentries),
    ("pages", pages),
    ("slab", slab),
    ("vmalloc", lambda: vmalloc(reachable)),
]:
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        count = total = 0
        for value in walk():
            count += 1
            total += value
        seconds.append(time.perf_counter() - begin)
    line = {"job": job, "name": "drgn", "is_ours": False, "thing": "", "count": count, "sum": total & WORD, "seconds": seconds}
    print(json.dumps(line), flush=True)
