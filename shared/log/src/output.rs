//! What commands print.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Prints a line. Unlike with `println!`, a reader that closes the output, such as `head`, does not end the command: its exit code is
/// still that of its work.
pub fn print(line: impl Display) -> io::Result<()> {
    unless_closed(writeln!(io::stdout(), "{line}"))
}

/// Prints a line for people on standard error.
pub fn report(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_closed_output_is_no_error_and_a_full_disk_is_one() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        unless_closed(writeln!(writer, "a line")).unwrap();
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(unless_closed(writeln!(full, "a line")).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
