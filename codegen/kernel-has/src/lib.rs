//! kstruct-kernel-has.
