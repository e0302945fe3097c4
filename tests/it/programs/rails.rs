//! An app of Rails, Debian's packages, by puma: it migrates its database before each version, and a process beside its
//! workers does what requests leave to it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{copy, installed};
use crate::support::load::Load;
use crate::support::{Server, Setup, has, until};

fn is_installed() -> bool {
    let railties = has("rails", "ruby-railties");
    let records = installed("/usr/share/doc/ruby-activerecord/copyright", "ruby-activerecord ruby-sqlite3");
    railties && records && has("puma", "puma")
}

/// Adds a migration to the app.
fn add_migration(shop: &Path, number: u32, name: &str, change: &str) {
    let file = shop.join(format!("db/migrate/2026010100000{number}_{name}.rb"));
    let class: String = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    let text =
        format!("class {class} < ActiveRecord::Migration[6.1]\n  def change\n    {change}\n  end\nend\n");
    fs::write(file, text).unwrap();
}

/// Orders something, and waits until the process has packed it; the version that packed it.
async fn packed_by(server: &Server, item: &str) -> String {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let ordered = server.ask("POST", "/orders", &form, format!("item={item}").as_bytes()).await;
    assert_eq!(ordered.status, 201, "{ordered:?}");
    let path = ordered.field("location").strip_prefix("https://localhost").unwrap().to_owned();
    let state = || async { server.get(&path).await.text().to_owned() };
    until("it is packed", || async { state().await.contains("packed") }).await;
    state().await.strip_prefix(&format!("{item}: packed by ")).unwrap().to_owned()
}

#[tokio::test]
async fn rails_migrates_before_each_version_and_packs_beside_its_workers_through_deploys_under_load() {
    if !is_installed() {
        return;
    }
    let folder: TempDir = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    let shop = folder.path().join("shop");
    copy("rails", &shop);
    let server = Setup::app(&shop).words(&["w:2", "--reload=none"]).tls().start_in(folder).await;
    assert_eq!(packed_by(&server, "book").await, "v1");

    let load = Load::start(server.port(), true, &["v1", "v2"]);
    load.more(50).await;
    fs::write(shop.join("VERSION"), "v2").unwrap();
    add_migration(&shop, 1, "add_gift", "raise \"the table is locked by an elephant\"");
    let failed = server.ctl(&["deploy"]).await.expect(1);
    for part in ["the release step `bin/rails db:migrate` exited with status 1", "locked by an elephant"] {
        assert!(failed.err.contains(part), "{part}: {}", failed.err);
    }
    assert_eq!(packed_by(&server, "pen").await, "v1", "the old version serves on, its process too");

    add_migration(&shop, 1, "add_gift", "add_column :orders, :gift, :string, default: \"ribbon\"");
    server.ctl(&["deploy"]).await.expect(0);
    load.at_least_version(1);
    load.more(50).await;
    load.finish("deploys of Rails").await.assert_nothing_lost();
    until("the new version packs", || async { packed_by(&server, "cup").await == "v2" }).await;

    let asked = ["run", "shop", "--", "bin/rails", "runner", "print Order.distinct.pluck(:gift).join"];
    assert_eq!(server.ctl(&asked).await.expect(0).out.trim_end(), "ribbon");
}
