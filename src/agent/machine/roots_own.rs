//! Owns the check that root alone decides which programs the agent runs: servers name them, and a server may have been
//! taken over.
//!
//! Never here: running them (`hook`).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::spec::acme::Acme;

/// Checks the programs of the settings, and the folders above them. Blocks on the disk.
///
/// # Errors
/// A sentence that names the setting, the program and what is wrong with it.
pub(super) fn check(acme: &Acme) -> Result<(), String> {
    let programs = [("tls.acme_hook", &acme.hook), ("tls.acme_renewed", &acme.renewed)];
    programs.into_iter().try_for_each(|(setting, program)| match program {
        Some(program) => is_roots(program).map_err(|why| format!("{setting}: `{}` {why}", program.display())),
        None => Ok(()),
    })
}

fn is_roots(program: &Path) -> Result<(), String> {
    let unseen = |error| format!("cannot be looked at by the agent ({error}): see SPEC.md, 17.1");
    let real = fs::canonicalize(program).map_err(unseen)?;
    for part in real.ancestors() {
        let found = fs::metadata(part).map_err(unseen)?;
        if found.uid() != 0 || found.mode() & OTHERS_WRITE != 0 {
            return Err(format!(
                "is not run by the agent: `{}` could have been written by others than root",
                part.display()
            ));
        }
    }
    Ok(())
}

/// Write permission for the group or for others.
const OTHERS_WRITE: u32 = 0o022;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::acme::LETS_ENCRYPT;

    #[test]
    fn only_programs_that_root_alone_can_have_written_are_run() {
        let mut acme = Acme::with(vec![LETS_ENCRYPT.into()]);
        assert_eq!(check(&acme), Ok(()));
        acme.hook = Some("/bin/sh".into());
        assert_eq!(check(&acme), Ok(()));
        // The temporary folder lies below a folder that everybody may write to.
        let folder = tempfile::tempdir().unwrap();
        let planted = folder.path().join("hook");
        fs::write(&planted, "").unwrap();
        acme.renewed = Some(planted.clone());
        let said = check(&acme).unwrap_err();
        assert!(said.starts_with("tls.acme_renewed: ") && said.contains("others than root"), "{said}");
        acme.renewed = Some(folder.path().join("missing"));
        assert!(check(&acme).unwrap_err().contains("cannot be looked at"));
    }
}
