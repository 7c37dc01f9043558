//! Page tables of all architectures, and where their kernels are found, over dumps that are built beside the assertion.
