//! kstruct.
