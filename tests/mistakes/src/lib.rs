//! Mistakes in the use of generated code, of which the compiler must tell: see `tests/compile.rs`.
