//! Points at which `cargo stack torture` lets a process die. They do nothing without the feature `fail-points`, which does not compile with
//! optimizations for release: nothing that ships has it.

#[cfg(all(feature = "fail-points", not(debug_assertions)))]
compile_error!("the feature fail-points is for tests alone");

/// Aborts the process if the folder `FAIL_POINTS` has a file of this name. It is removed first: one process ends.
#[cfg(feature = "fail-points")]
pub fn fail_point(name: &str) {
    let armed = std::env::var_os("FAIL_POINTS").map(|folder| std::path::Path::new(&folder).join(name));
    if armed.is_some_and(|file| std::fs::remove_file(file).is_ok()) {
        std::process::abort();
    }
}

#[cfg(not(feature = "fail-points"))]
pub const fn fail_point(_: &str) {}
