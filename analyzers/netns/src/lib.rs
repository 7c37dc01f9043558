//! Network namespaces: what is read of a dump (`walk`), as plain data (`model`).
#![forbid(unsafe_code)]

pub mod model;
#[cfg(all(kernel_has = "nsproxy.net_ns", kernel_has = "net.rules_ops"))]
pub mod walk;
