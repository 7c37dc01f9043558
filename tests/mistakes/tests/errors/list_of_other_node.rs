fn walk(task: kernel::task_struct<'_>) {
    let _ = task.tasks().entries(kernel::hlist_node::next);
}

fn main() {}
