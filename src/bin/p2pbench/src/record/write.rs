//! A file that is there as a whole or not at all.

use std::{
    ffi::OsString,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    process,
};

use p2pdma::Refusal;

use crate::failure::Failure;

/// Writes a file beside the one named, and puts it in its place: a reader never sees half of it, and an older
/// recording survives a full disk.
pub(crate) fn atomically(path: &Path, text: &str) -> Result<(), Failure> {
    check(path)?;
    let beside = beside(path);
    write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(|error| {
        // It may not have come to be.
        let _ = fs::remove_file(&beside);
        Failure::File(path.to_owned(), error)
    })
}

/// Whatever else stands there (a device, a directory, a pipe) is not to be replaced. Nor is a symbolic link, even to a
/// regular file: the rename would put the recording in the place of the link, and `/dev/stdout` is one.
fn check(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let cause = "it is there, and no regular file";
            Err(Failure::Usage(Refusal::new(path.display(), cause, "name a new file, or a recording to replace")))
        }
        _ => Ok(()),
    }
}

/// In the same directory, as a rename leads no further than a filesystem.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", process::id()));
    path.with_file_name(name)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
