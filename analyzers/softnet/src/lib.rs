//! What waits on a CPU, beside the counters of crate `linux`.
#![forbid(unsafe_code)]

pub mod queues;
