//! `tests/tests/containers` compiles what crate `kernel` has by hand of lists, rings and counts (`generated/src`) against structs of
//! its own, of several generations at once: this answers `kernel_has` for it.

/// What those structs are: `views.rs` there has them.
const HAS: [&str; 37] = [
    "__kfifo.esize",
    "__kfifo.mask",
    "__wait_queue.task_list",
    "__wait_queue_head.task_list",
    "atomic_t.counter",
    "bucket_table.buckets",
    "bucket_table.future_tbl",
    "bucket_table.nest",
    "circ_buf.head",
    "hlist_bl_head",
    "hlist_head",
    "hlist_nulls_head",
    "idr",
    "kfifo.buffer",
    "kfifo.size",
    "klist.k_list",
    "klist_node.n_klist",
    "list_head",
    "llist_head",
    "percpu_counter.count",
    "percpu_counter.counters",
    "plist_head.node_list",
    "plist_node.node_list",
    "radix_tree_node.slots",
    "radix_tree_root.height",
    "radix_tree_root.rnode",
    "rb_node",
    "rb_node.__rb_parent_color",
    "rb_root_cached",
    "refcount_struct.refs.counter",
    "rhash_head.next",
    "rhash_lock_head",
    "rhashtable.tbl",
    "swait_queue.task_list",
    "swait_queue_head.task_list",
    "wait_queue_entry.entry",
    "wait_queue_head.head",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(kernel_has, values(any()))");
    for name in HAS {
        println!("cargo::rustc-cfg=kernel_has={name:?}");
    }
}
