//! Settings from the environment. A secret may come from a file instead: for a setting `X`, `X_FILE` names the file with its
//! value.

use std::env;

use clap::{CommandFactory, FromArgMatches, error::ErrorKind};

/// Reads the settings, or exits with a message that names the wrong one.
pub fn parse<C: CommandFactory + FromArgMatches>() -> C {
    try_parse(C::command(), env::args_os()).unwrap_or_else(|error| error.exit())
}

fn try_parse<C: FromArgMatches>(
    command: clap::Command,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<C, clap::Error> {
    let matches = with_secret_files(command)?.try_get_matches_from(arguments)?;
    C::from_arg_matches(&matches)
}

/// If a setting is not in the environment but `<SETTING>_FILE` is, the content of that file becomes its default.
fn with_secret_files(command: clap::Command) -> Result<clap::Command, clap::Error> {
    let mut unreadable = None;
    let mut command = command.mut_args(|arg| {
        let Some(variable) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else { return arg };
        let Some(file) = env::var_os(format!("{variable}_FILE")) else { return arg };
        if env::var_os(&variable).is_some() {
            return arg;
        }
        match std::fs::read_to_string(&file) {
            Ok(secret) => arg.required(false).default_value(secret.trim_end().to_owned()).hide_default_value(true),
            Err(error) => {
                unreadable = Some(format!("{variable}_FILE names {}: {error}", file.display()));
                arg
            }
        }
    });
    if let Some(message) = unreadable {
        return Err(command.error(ErrorKind::Io, message));
    }
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let mut result = Ok(());
        command = command.mut_subcommand(name, |sub| match with_secret_files(sub.clone()) {
            Ok(sub) => sub,
            Err(error) => {
                result = Err(error);
                sub
            }
        });
        result?;
    }
    Ok(command)
}
