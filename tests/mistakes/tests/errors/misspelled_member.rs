fn pid(task: kernel::task_struct<'_>) -> i32 {
    task.piid()
}

fn main() {}
