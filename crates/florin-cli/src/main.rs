//! The `florin` command.
fn main() {}
