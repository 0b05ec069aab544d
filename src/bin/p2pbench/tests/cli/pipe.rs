//! A reader that has gone away, as in `p2pbench topo | head -1`.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
};

use crate::program::{Outcome, command};

/// A run whose stdout nobody reads from the start: the first write fails with EPIPE.
fn unread(arguments: &str) -> Outcome {
    let (reader, writer) = UnixStream::pair().expect("a socket pair");
    drop(reader);
    let output = command(arguments).stdout(OwnedFd::from(writer)).stderr(Stdio::piped()).output();
    Outcome::new(output.expect("p2pbench"))
}

#[test]
fn it_is_no_failure_and_no_panic() {
    let commands = [
        "--machine mock topo",
        "--machine mock topo --json",
        "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --size 1M",
        "--help",
    ];
    for arguments in commands {
        let outcome = unread(arguments);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{arguments}");
    }
}
