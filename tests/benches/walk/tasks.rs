//! All processes: their pids.

use std::hint::black_box;

use kernel::{list_head, sym, task_struct};
use kstruct::{Fault, Memory, View as _, offset_of};

use crate::raw::RawDump;
use crate::{BY_HAND, GENERATED, Sum, Way};

pub fn ways<'w>(memory: &'w Memory, raw: &'w RawDump<'w>) -> Result<Vec<Way<'w>>, Fault> {
    let head = memory.get(sym::init_task)?.tasks();
    // The head lies in the kernel image, outside the direct map.
    let (address, first) = (head.addr(), head.next().addr());
    Ok(vec![
        Way {
            name: GENERATED,
            run: Box::new(move || generated(black_box(head))),
        },
        Way {
            name: "by hand: literal offsets, Memory::bytes",
            run: Box::new(move || by_offsets(black_box(memory), address, first)),
        },
        Way {
            name: BY_HAND,
            run: Box::new(move || Ok(by_hand(black_box(raw), address, first))),
        },
    ])
}

#[inline(never)]
fn generated(head: list_head<'_>) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    for task in head.entries(task_struct::tasks) {
        sum.add(task?.pid() as u64);
    }
    Ok(sum)
}

const TASKS: u64 = offset_of!(task_struct, tasks) as u64;
const PID: u64 = offset_of!(task_struct, pid) as u64;

#[inline(never)]
fn by_offsets(memory: &Memory, head: u64, first: u64) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut link = first;
    while link != head {
        let task = link - TASKS;
        sum.add(crate::raw::u32_at(memory.bytes(task + PID, 4)?, 0).into());
        link = crate::raw::u64_at(memory.bytes(link, 8)?, 0);
    }
    Ok(sum)
}

#[inline(never)]
fn by_hand(dump: &RawDump<'_>, head: u64, first: u64) -> Sum {
    let mut sum = Sum::default();
    let mut link = first;
    while link != head {
        let task = link - TASKS;
        sum.add(dump.u32(task + PID).into());
        link = dump.u64(link);
    }
    sum
}
