//! Every reader of untrusted bytes as a function of bytes, for the targets of this folder.

pub mod readers;
