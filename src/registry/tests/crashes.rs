//! Crashes, full disks and people's edits of the registry's files, and how the registry goes on.

use std::ops::Range;

use crate::seeded::feed;

use super::*;

/// A registry of three hosts whose server was killed, and the bytes of its last line in the file of changes.
fn killed() -> (tempfile::TempDir, PathBuf, Range<usize>) {
    let (dir, path) = folder();
    let mut registry = Registry::open(&path).unwrap();
    for host in ["a.example", "b.example", "c.example"] {
        registry.set(entry(host, "/srv/app")).unwrap();
    }
    let text = changes(&path);
    let last = text.trim_end().rfind('\n').unwrap() + 1..text.len();
    (dir, path, last)
}

fn two() -> [RegistryEntry; 2] {
    ["a.example", "b.example"].map(|host| entry(host, "/srv/app"))
}

/// Opens a registry whose last change was cut off: the registry is as before that change, and goes on.
#[track_caller]
fn assert_goes_on_without_the_last(path: &Path, how: &str) {
    let mut registry = Registry::open(path).unwrap();
    assert_eq!(all(&registry), two(), "{how}");
    registry.set(entry("d.example", "/")).unwrap();
    let [a, b] = two();
    assert_eq!(opened(path), [a, b, entry("d.example", "/")], "{how}");
    registry.settle().unwrap();
    assert_eq!(opened(path).len(), 3, "{how}");
}

#[test]
fn a_change_that_a_crash_cut_off_is_left_out() {
    let (_dir, path, last) = killed();
    let file = path.with_extension("changes");
    let whole = fs::read(&file).unwrap();
    for end in last.clone() {
        let ways: [(&str, Vec<u8>); 3] = [
            ("the end is missing", whole[..end].into()),
            ("the end is zeros", with_zeros(&whole, end..last.end)),
            ("the beginning is zeros", with_zeros(&whole, last.start..end + 1)),
        ];
        for (how, bytes) in ways {
            fs::write(&file, bytes).unwrap();
            assert_goes_on_without_the_last(&path, &format!("{how} at {end}"));
            fs::remove_file(&path).unwrap();
        }
    }
    fs::write(&file, whole).unwrap();
    assert_eq!(opened(&path).len(), 3, "and one that is whole is there");
}

fn with_zeros(bytes: &[u8], zeros: Range<usize>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[zeros].fill(0);
    bytes
}

#[test]
fn a_change_that_was_answered_and_is_not_as_it_was_is_an_error_with_a_way_out() {
    let (_dir, path, last) = killed();
    let file = path.with_extension("changes");
    let whole = fs::read(&file).unwrap();
    let starts: Vec<_> = line_starts(&whole[..last.end]);
    // When the end of the last line is missing, that is a crash; everything else is damage.
    for at in 0..last.end - 1 {
        for with in [0, whole[at] ^ 1, b'\n', b'7'] {
            if whole[at] == with || (with == 0 && last.contains(&at)) {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at] = with;
            fs::write(&file, &bytes).unwrap();
            let error = Registry::open(&path).unwrap_err();
            let line = starts.iter().rposition(|start| *start <= at).unwrap();
            let text = error.to_string();
            let place = format!("damaged at line {}, byte {}:", line + 1, starts[line]);
            assert!(text.contains(&place) || matches!(error, RegistryError::Version { .. }), "{at}: {text}");
            assert_eq!(fs::read(&file).unwrap(), bytes, "it is left as it is");
            if line > 0 {
                fs::write(&file, &bytes[..starts[line]]).unwrap();
                assert_eq!(opened(&path).len(), line - 1, "the others stay");
            }
        }
    }
}

fn line_starts(bytes: &[u8]) -> Vec<usize> {
    let after = |(at, byte): (usize, &u8)| (*byte == b'\n').then_some(at + 1);
    let mut starts = vec![0];
    starts.extend(bytes.iter().enumerate().filter_map(after).filter(|start| *start < bytes.len()));
    starts
}

#[test]
fn a_crash_between_the_two_steps_of_settling_makes_no_change_twice() {
    let (_dir, path, _) = killed();
    let file = path.with_extension("changes");
    let before = fs::read(&file).unwrap();
    let mut registry = Registry::open(&path).unwrap();
    registry.settle().unwrap();
    fs::write(&file, &before).unwrap();
    assert_eq!(opened(&path).len(), 3);

    // A host that the old file adds is removed by the new one.
    let mut registry = Registry::open(&path).unwrap();
    registry.remove(&"c.example".parse().unwrap()).unwrap();
    assert_eq!(opened(&path), two());
    registry.settle().unwrap();
    fs::write(&file, &before).unwrap();
    assert_eq!(opened(&path), two());
    assert_eq!(Registry::open(&path).unwrap().last_change, 4);
}

#[test]
fn a_snapshot_older_than_the_changes_is_an_error_that_names_both() {
    let (_dir, path, _) = killed();
    let mut registry = Registry::open(&path).unwrap();
    registry.settle().unwrap();
    registry.set(entry("d.example", "/")).unwrap();
    fs::remove_file(&path).unwrap();

    let error = Registry::open(&path).unwrap_err().to_string();

    let (path, changes) = (path.display(), path.with_extension("changes"));
    let expected = format!(
        "the registry `{path}` has the changes up to 0, and those in `{}` begin with 4: \
         put back the file they were made to, or remove them to go on without",
        changes.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn changes_of_another_version_are_named_as_such() {
    let (_dir, path) = folder();
    let file = path.with_extension("changes");
    fs::write(&file, "{\"version\":2,\"new\":\"shape\"}\n").unwrap();

    let error = Registry::open(&path).unwrap_err().to_string();

    let expected =
        format!("the registry `{}` has version 2; this program knows version 1 at most", file.display());
    assert_eq!(error, expected);
}

#[test]
fn a_file_of_changes_that_somebody_took_away_is_not_written_to() {
    let (_dir, path, _) = killed();
    let mut registry = Registry::open(&path).unwrap();
    fs::remove_file(path.with_extension("changes")).unwrap();

    registry.set(entry("d.example", "/")).unwrap();

    assert_eq!(opened(&path).len(), 4);
    registry.set(entry("e.example", "/")).unwrap();
    assert_eq!(opened(&path).len(), 5);
}

#[test]
fn a_change_that_failed_is_never_there_once_another_was_made_or_the_server_has_ended() {
    let settle = |registry: &mut Registry| registry.settle().unwrap();
    let set = |registry: &mut Registry| assert!(registry.set(entry("e.example", "/")).unwrap());
    for (then, hosts) in [(settle as fn(&mut Registry), 3), (set, 4)] {
        let (_dir, path, last) = killed();
        let file = path.with_extension("changes");
        let mut registry = Registry::open(&path).unwrap();
        let PendingChanges::Open(changes) = &mut registry.pending else { panic!("it has changes") };
        // The line can neither be written nor wiped out.
        changes.file = fs::File::open(&file).unwrap();

        let failed = registry.set(entry("d.example", "/"));
        assert!(matches!(failed, Err(RegistryError::Write { .. })));
        assert_eq!(all(&registry).len(), 3);

        // Nobody can know here that the line is there all the same, and stays where it is.
        let mut bytes = fs::read(&file).unwrap();
        let failed = changes::line(4, &Change::Set(entry("d.example", "/"))).unwrap();
        bytes[last.end..last.end + failed.len()].copy_from_slice(&failed);
        then(&mut registry);
        fs::write(&file, bytes).unwrap();

        let mut again = Registry::open(&path).unwrap();
        assert_eq!(all(&again), all(&registry));
        assert_eq!(all(&again).len(), hosts);
        again.set(entry("f.example", "/")).unwrap();
        assert_eq!(opened(&path), all(&again));
    }
}

#[test]
fn whatever_lies_there_is_understood_or_refused() {
    let lines = |changes: &[(u64, Change)]| {
        let mut bytes = b"{\"version\":1}\n".to_vec();
        for (number, change) in changes {
            bytes.extend(changes::line(*number, change).unwrap());
        }
        bytes
    };
    let set = |number| (number, Change::Set(entry("a.example", "/srv/a")));
    let one = lines(&[set(1)]);
    let two = lines(&[set(1), (2, Change::Remove("a.example".parse().unwrap()))]);
    let far = lines(&[set(LAST_NUMBER)]);
    let (_dir, path) = folder();
    let file = path.with_extension("changes");
    feed(&[&one, &two, &far, b"{\"version\":1}\n"], 3000, |input| {
        fs::write(&file, input).unwrap();
        let Ok(mut registry) = Registry::open(&path) else { return };
        registry.set(entry("new.example", "/")).unwrap();
        assert_eq!(opened(&path), all(&registry));
        fs::remove_file(&path).ok();
    });
}

/// Every change is there after each crash, except one that was not answered.
#[test]
fn after_any_history_of_changes_and_crashes_the_files_say_what_was_answered() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (_dir, path) = folder();
    let file = path.with_extension("changes");
    let mut registry = Registry::open(&path).unwrap();
    let mut model = BTreeMap::new();
    for _ in 0..400 {
        let before = (fs::read(&path).ok(), fs::read(&file).ok(), model.clone());
        let host: RouteName = format!("h{}.example", random.u8(..12)).parse().unwrap();
        if random.u8(..3) == 0 {
            assert_eq!(registry.remove(&host).unwrap(), model.remove(&host).is_some());
        } else {
            let state = [HostState::Running, HostState::Paused, HostState::Stopped][random.usize(..3)];
            // Some pages are long enough to fill the file soon.
            let page = random.bool().then(|| random.char(..).to_string().repeat(random.usize(1..20_000)));
            let path = format!("/{}", random.u8(..3));
            let entry =
                RegistryEntry { host: host.clone(), path: Path::new(&path).into(), state, page, acme: true };
            let new = model.insert(host, entry.clone()).as_ref() != Some(&entry);
            assert_eq!(registry.set(entry).unwrap(), new);
        }
        match random.u8(..8) {
            0 => registry.settle().unwrap(),
            1 => registry = Registry::open(&path).unwrap(),
            2 if cut(&file, before.1.as_deref(), &mut random) => {
                model = before.2;
                registry = Registry::open(&path).unwrap();
            }
            // The snapshot was written, and the old changes are still there.
            3 if fs::read(&path).ok() != before.0 => {
                before.1.iter().for_each(|old| fs::write(&file, old).unwrap());
                registry = Registry::open(&path).unwrap();
            }
            _ => {}
        }
        assert_eq!(all(&registry), model.values().cloned().collect::<Vec<_>>());
    }
}

/// Cuts the line off that was added since; false when none was.
fn cut(file: &Path, before: Option<&[u8]>, random: &mut fastrand::Rng) -> bool {
    let written = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (Some(before), Ok(now)) = (before, fs::read(file)) else { return false };
    let (begin, end) = (written(before), written(&now));
    if now[..begin] != before[..begin] || begin >= end {
        return false;
    }
    fs::write(file, with_zeros(&now, random.usize(begin..end)..end)).unwrap();
    true
}
