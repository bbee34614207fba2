//! How much a test tries.

use std::env;

/// The number of cases that the environment variable `name` sets. A few are enough to find most mistakes while one works on the code;
/// `cargo stack test --all` asks for many.
pub fn cases(name: &str, few: u32) -> u32 {
    let cases = env::var(name).map_or(few, |number| number.parse().unwrap_or_else(|_| panic!("{name} is a number")));
    #[expect(clippy::print_stdout, reason = "nextest shows it with a failure")]
    {
        println!("{name}={cases}");
    }
    cases
}
