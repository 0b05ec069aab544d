//! The kernel's log from a moment on.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
};

pub(crate) struct Log(File);

impl Log {
    pub(crate) fn open() -> Self {
        let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").expect("/dev/kmsg");
        file.seek(SeekFrom::End(0)).expect("the end of the log");
        Self(file)
    }

    /// The messages since the last time, in the form `LEVEL,NUMBER,TIME,FLAGS;TEXT`.
    pub(crate) fn read(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => messages.push(String::from_utf8_lossy(&record[..length]).trim_end().to_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return messages,
                Err(error) => panic!("the kernel's log went by faster than it was read: {error}"),
            }
        }
    }
}

/// Into the kernel's log, where it is still found after a crash: the seed of what led to it.
pub(crate) fn note(text: &str) {
    let mut log = File::options().write(true).open("/dev/kmsg").expect("/dev/kmsg");
    log.write_all(format!("<5>{text}").as_bytes()).expect("a line of the log");
}
