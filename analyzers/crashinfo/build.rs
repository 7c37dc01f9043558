//! Answers `kernel_has`.

fn main() {
    kstruct_kernel_has::answer();
}
