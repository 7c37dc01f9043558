//! On real kernels.
