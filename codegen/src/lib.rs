//! kstruct-codegen.
