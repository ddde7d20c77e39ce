//! Florin's automation: `cargo xtask VERB`.

mod arm;
mod bench;
mod blocks;
mod ci;
mod fuzz;
mod golden;
mod miri;
mod models;
mod mutants;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask VERB

  test [--device NAME]        every test, then the examples in the documentation
  ci                          everything, cheapest first: what CI runs
  tidy                        layer arrows, module heads, shapes, links, papers
  golden check|update         golden files against the pinned generator
  mutants [NAME..]            put known mistakes in, one at a time: which do the tests notice?
          [--check]           only whether their patches still apply
          [--json|--markdown] how the result is printed
  fuzz [TARGET..]             bytes that nobody vouches for, made up by libFuzzer: needs cargo-fuzz and a nightly compiler
       [--runs N]             how many each (10000000)
       [--json|--markdown]    how the result is printed
  miri                        the kernels with vector instructions under Miri, AVX-512 among them: needs a nightly compiler
  arm                         the unit tests of florin-backend on ARM, imitated by QEMU: needs that and a compiler for ARM
  bench [save|compare NAME] [--device NAME]
  bench peers                 the same work in PyTorch, on this machine
  bench peers blocks [BENCH..]
                              operations, attention, fusion and losses, all or some, beside PyTorch's
  bench peers models [CASE..] whole models beside PyTorch, ONNX Runtime, sentence-transformers and candle, with the same weights
  docs                        the documentation of all crates, and the book

Regenerating golden files and peers need Python: a virtual environment with tests/golden/requirements.txt or
tests/peers/requirements.txt, named by FLORIN_PYTHON.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", rest @ ..] => test::test(rest),
        ["ci"] => ci::ci(),
        ["tidy"] => tidy::tidy(),
        ["fuzz", rest @ ..] => fuzz::fuzz(rest),
        ["miri"] => miri::miri(),
        ["arm"] => arm::arm(),
        ["golden", "check"] => golden::check(),
        ["golden", "update"] => golden::update(),
        ["mutants", rest @ ..] => mutants::mutants(rest),
        [mutants::VERB, seconds, program, rest @ ..] => mutants::limited(seconds, program, rest),
        ["bench", rest @ ..] => bench::bench(rest),
        ["docs"] => ci::docs(),
        [] | ["--help" | "-h" | "help"] => {
            println!("{HELP}");
            Ok(())
        }
        other => {
            eprintln!("error: `{}` is no verb\n\n{HELP}", other.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
