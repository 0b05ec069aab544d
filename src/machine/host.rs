//! This machine: facts read when asked for, from the running kernel.

use std::{fs, io};

use super::facts::{Facts, resolve};

/// The facts of the running kernel.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HostFacts;

impl Facts for HostFacts {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn link(&self, path: &str) -> io::Result<String> {
        let target = fs::read_link(path)?;
        let target = target.to_str().ok_or_else(|| io::Error::from_raw_os_error(libc::EILSEQ))?;
        Ok(resolve(path, target))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(path)?
            .filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose())
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}
