//! The `florin` command: arguments in, progress on stderr, results on stdout. What it does stands in the other crates.

mod arguments;
mod bench;
mod classify;
mod embed;
mod evaluate;
mod folder;
mod inspect;
mod listing;
mod output;
mod pack;
mod predict;
mod progress;
mod pull;
mod run;
mod search;
mod things;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, SearchCommand};

fn main() -> ExitCode {
    florin_data::guarded::silence();
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(options) => run::run(&options),
        Command::Predict(options) => predict::predict(&options),
        Command::Evaluate(options) => evaluate::evaluate(&options),
        Command::Pull(options) => pull::pull(&options),
        Command::Inspect(options) => inspect::inspect(&options),
        Command::Pack(options) => pack::pack(&options),
        Command::Verify(options) => verify::verify(&options),
        Command::Classify(options) => classify::classify(&options),
        Command::Embed(options) => embed::embed(&options),
        Command::Search(SearchCommand::Build(options)) => search::build(&options),
        Command::Search(SearchCommand::Query(options)) => search::query(&options),
        Command::Bench(options) => bench::bench(&options),
        Command::Tasks { json } => listing::tasks(json),
        Command::Devices { json } => listing::devices(json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough: that is no failure.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::causes(&error));
            ExitCode::FAILURE
        }
    }
}
