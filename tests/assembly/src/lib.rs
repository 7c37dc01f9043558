//! What an analyzer asks of a view, one question a function. `tests/tests/assembly.rs` looks at what the compiler makes
//! of them.
#![forbid(unsafe_code)]

use kernel::{list_head, shape_bits, task_struct};
use kstruct::{Fault, View as _};

/// A number.
#[inline(never)]
pub fn get_pid(task: task_struct<'_>) -> i32 {
    task.pid()
}

/// A bit-field in one byte.
#[inline(never)]
pub fn get_bit_field(shape: shape_bits<'_>) -> u32 {
    shape.first()
}

/// A bit-field that crosses bytes.
#[inline(never)]
pub fn get_wide_bit_field(shape: shape_bits<'_>) -> u64 {
    shape.wide()
}

/// A member of an embedded struct.
#[inline(never)]
pub fn get_embedded(task: task_struct<'_>) -> u64 {
    task.tasks().next().addr()
}

/// From a member to its struct.
#[inline(never)]
pub fn get_container(link: list_head<'_>) -> Result<i32, Fault> {
    let task: task_struct<'_> = link.container_of(task_struct::tasks)?;
    Ok(task.pid())
}

/// A walk.
#[inline(never)]
pub fn sum_of_pids(first: task_struct<'_>) -> Result<i64, Fault> {
    let mut sum = 0;
    for task in first.tasks().entries(task_struct::tasks) {
        sum += i64::from(task?.pid());
    }
    Ok(sum)
}
