//! Golden, parity and command-line tests of the whole workspace.
//!
//! The tests are one binary, `suite`, because each binary links Burn; this library exists because a package needs one.
