//! The kernel's routing: what is read of a dump (`walk`), as plain data (`model`), and as lines of `ip` (`text`).
//!
//! Facts about what the kernel tells its tools are from net/ipv4/fib_semantics.c, net/ipv6/route.c, net/core/fib_rules.c,
//! net/core/neighbour.c and net/ipv4/nexthop.c.
#![forbid(unsafe_code)]

#[cfg(all(kernel_has = "fn_zone.fz_hash", kernel_has = "fib_rule.r_next"))]
pub mod fib_hash;
pub mod model;
pub mod names;
pub mod text;
#[cfg(all(
    kernel_has = "fib_nh_common",
    kernel_has = "fib6_info.fib6_nh",
    kernel_has = "netns_nexthop.rb_root"
))]
pub mod walk;
