//! Changes of an app's files, on a real file system and in real time.

use std::fs;

use super::*;

/// An app with an entry in a folder of its own.
fn on_disk(reload: Reload, reload_signal: Option<ReloadSignal>) -> (tempfile::TempDir, AppSpec) {
    let folder = tempfile::tempdir().unwrap();
    let entry = folder.path().join("index.js");
    fs::write(&entry, "1").unwrap();
    let path = folder.path().to_path_buf();
    let upkeep = Upkeep { reload, reload_signal, ..blog().upkeep };
    (folder, AppSpec { path, entry: Some(entry), upkeep, ..blog() })
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let limit = tokio::time::sleep(Duration::from_secs(10));
    tokio::pin!(limit);
    while !done() {
        tokio::select! {
            () = &mut limit => panic!("not {what}"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

/// Changes the entry again and again until that is noticed: the watch may begin after the first change.
async fn change(folder: &tempfile::TempDir, noticed: impl Fn() -> bool) {
    let mut text = String::from("1");
    while !noticed() {
        text.push('1');
        fs::write(folder.path().join("index.js"), &text).unwrap();
        for _ in 0..50 {
            if !noticed() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_changed_entry_is_deployed_with_reload_process() {
    let (folder, spec) = on_disk(Reload::Process, None);
    let world = World::serving(spec).await;

    change(&folder, || world.started().len() > 2).await;

    until("replaced", || world.terminated().starts_with(&[1, 2])).await;
    assert!(world.app().await.generation >= GenerationId(2));
}

#[tokio::test]
async fn a_changed_entry_is_signalled_with_reload_module() {
    let (folder, spec) = on_disk(Reload::Module, Some(ReloadSignal::Usr1));
    let world = World::serving(spec).await;
    let reload = Signal::Reload(ReloadSignal::Usr1);

    change(&folder, || !world.signalled(reload).is_empty()).await;

    assert!(world.signalled(reload).starts_with(&[1, 2]), "{:?}", world.backend.signals());
    assert_eq!(world.started(), [1, 2]);

    fs::write(folder.path().join("rip.toml"), "").unwrap();
    until("deployed", || world.started().len() == 4).await;
}

#[tokio::test]
async fn a_changed_entry_revives_an_app_whose_first_generation_was_rejected() {
    let (folder, spec) = on_disk(Reload::Module, None);
    let world = World::start([spec], |_| fails_at_once());
    assert_eq!(world.supervisor.settled().await.len(), 1);
    world.backend.script(|_| Behaviour::default());

    change(&folder, || world.backend.alive().len() == 2).await;

    assert!(world.claim("blog.example").await.is_ok());
}
