//! What can be typed after `doctor`.

use std::time::Duration;

use clap::Args;

use super::WorkerArgs;
use crate::plan::protocol::duration;
use crate::report::DocumentForm;

/// Shorter looks see no tick of others' work; longer ones see no more.
const LASTING: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(600);

/// A look at the machine.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Time to look at the machine for, about
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = lasting)]
    pub lasting: Duration,
    /// Threads that will be used [default: the cores this process may use]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// Form of the answer on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
    /// The engine that is asked.
    #[command(flatten)]
    pub worker: WorkerArgs,
}

fn lasting(text: &str) -> Result<Duration, String> {
    let time = duration("--for", text).map_err(|e| e.to_string())?;
    if LASTING.contains(&time) {
        Ok(time)
    } else {
        Err("from 2s to 10m".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_look_has_bounds() {
        let parse = |line: &str| {
            let args = ["ggufbench", "doctor"]
                .into_iter()
                .chain(line.split_whitespace());
            match Cli::try_parse_from(args).map(|cli| cli.command) {
                Ok(Some(Command::Doctor(args))) => Ok(args),
                Ok(_) => panic!("no doctor"),
                Err(e) => Err(e.to_string()),
            }
        };
        let plain = parse("").expect("parses");
        assert_eq!(
            (plain.lasting, plain.threads),
            (Duration::from_secs(5), None)
        );
        let told = parse("--for 1m -t 4 -o json").expect("parses");
        assert_eq!(
            (told.lasting, told.threads),
            (Duration::from_secs(60), Some(4))
        );
        for (line, needle) in [
            ("--for 1s", "from 2s to 10m"),
            ("--for 1h", "from 2s to 10m"),
            ("--for soon", "no length of time"),
            ("-t 0", "0 is not in"),
            ("-o csv", "possible values"),
        ] {
            let e = parse(line).expect_err(line);
            assert!(e.contains(needle), "{line}: {e}");
        }
    }
}
