//! A disk that is soon full.

use std::path::PathBuf;
use std::process::Command;

/// A file system of 1 MiB.
pub(crate) struct TinyDisk(PathBuf);

impl TinyDisk {
    /// `None` without root's rights.
    pub(crate) fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&at);
        let mounted = command.output().is_ok_and(|out| out.status.success());
        mounted.then_some(Self(at))
    }

    /// Writes a file until nothing more fits; its path.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        path
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}
