//! What the targets share.

/// Does all work in the calling thread, so that a run can be repeated.
pub fn one_thread() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build_global().expect("nobody made a pool before");
}
