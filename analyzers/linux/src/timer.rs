//! High-resolution timers (kernel/time/hrtimer.c).
#![cfg(all(
    kernel_has = "sym:hrtimer_bases",
    kernel_has = "hrtimer_cpu_base.clock_base",
    kernel_has = "hrtimer.node",
    kernel_has = "hrtimer._softexpires",
    kernel_has = "timerqueue_node.expires"
))]

use kernel::{hrtimer, hrtimer_clock_base, rb_node, sym};
use kstruct::{Fault, Memory};

/// The clock bases of a CPU, in the order in which /proc/timer_list shows them.
pub fn bases(k: &Memory, cpu: u32) -> Result<impl Iterator<Item = hrtimer_clock_base<'_>>, Fault> {
    Ok(k.per_cpu(sym::hrtimer_bases, cpu)?.clock_base().iter())
}

/// The timers that wait on a clock, the one that expires first first.
pub fn timers(base: hrtimer_clock_base<'_>) -> impl Iterator<Item = Result<hrtimer<'_>, Fault>> {
    #[cfg(kernel_has = "timerqueue_head.rb_root")]
    let tree = base.active().rb_root();
    // Before 5.4.
    #[cfg(not(kernel_has = "timerqueue_head.rb_root"))]
    let tree = base.active().head();
    tree.entries(node)
}

/// The first timer of a clock by the pointer that the kernel keeps, and not by the walk.
pub fn first(base: hrtimer_clock_base<'_>) -> Result<Option<hrtimer<'_>>, Fault> {
    #[cfg(kernel_has = "timerqueue_head.rb_root")]
    return base.active().rb_root().leftmost(node);
    #[cfg(not(kernel_has = "timerqueue_head.rb_root"))]
    match base.active().next().deref_or_null()? {
        Some(first) => {
            use kstruct::View as _;
            first.container_of(hrtimer::node).map(Some)
        }
        None => Ok(None),
    }
}

/// When a timer may expire, and when it must, in nanoseconds of its clock: the range that the kernel may use to wake up less
/// often. To compare timers of several clocks, each base's `offset` is subtracted.
pub fn expires(timer: hrtimer<'_>) -> (i64, i64) {
    (
        nanoseconds(timer._softexpires()),
        nanoseconds(timer.node().expires()),
    )
}

/// `ktime_t` as a number.
#[cfg(not(kernel_has = "ktime.tv64"))]
pub(crate) fn nanoseconds(time: i64) -> i64 {
    time
}

/// Before 4.10.
#[cfg(kernel_has = "ktime.tv64")]
pub(crate) fn nanoseconds(time: kernel::ktime<'_>) -> i64 {
    time.tv64()
}

fn node<'m>(timer: hrtimer<'m>) -> rb_node<'m> {
    timer.node().node()
}
