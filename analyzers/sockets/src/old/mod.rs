//! Sockets of 2.6.9: without namespaces, with what protocols add to a `sock` in structs of their own behind it.

pub mod inet;
pub mod other;
pub mod owner;
pub mod sock;
pub mod tcp;
