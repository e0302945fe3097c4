//! An app of Symfony, Debian's packages, by php-cgi: its links, clients, sessions and uploads, and its deploys.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::{between, copy, installed};
use crate::support::load::Load;
use crate::support::visitor::Visitor;
use crate::support::{Server, Setup, has, until};

/// Whether the packages are there.
pub(super) fn is_installed() -> bool {
    has("php-cgi", "php-cgi")
        && installed(
            "/usr/share/php/Symfony/Bundle/TwigBundle/autoload.php",
            "php-symfony-framework-bundle php-symfony-twig-bundle php-symfony-form php-symfony-validator \
             php-symfony-security-csrf php-symfony-asset",
        )
}

/// The sample as a release, whose uploads are in a folder beside all releases, as Laravel's `storage:link` and deploy
/// tools have it.
fn release(folder: &Path, version: &str) -> PathBuf {
    let release = folder.join("releases").join(version);
    copy("symfony", &release);
    fs::write(release.join("VERSION"), version).unwrap();
    fs::create_dir_all(folder.join("shared/storage")).unwrap();
    symlink("../../shared/storage", release.join("storage")).unwrap();
    symlink("../storage", release.join("public/storage")).unwrap();
    release
}

/// Has `current` lead to the release of that version.
fn choose(folder: &Path, version: &str) -> PathBuf {
    let (new, current) = (folder.join("new"), folder.join("current"));
    symlink(Path::new("releases").join(version), &new).unwrap();
    fs::rename(new, &current).unwrap();
    current
}

async fn start(folder: TempDir) -> Server {
    let current = choose(folder.path(), "v1");
    let follow = format!("app.follow = [\"{}\"]", folder.path().join("shared").display());
    Setup::app(current).server(&follow).words(&["w:2", "--reload=none"]).tls().start_in(folder).await
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("rip").tempdir().unwrap()
}

/// Fills in the app's form, at a prefix; what it shows of the note then.
async fn write(visitor: &mut Visitor, server: &Server, prefix: &str, file: &str, content: &[u8]) -> Value {
    let path = format!("{prefix}/write");
    let form = visitor.get(server, &path).await;
    let token = between(&form, "name=\"form[_token]\" value=\"", "\"").to_owned();
    let upload = ("form[file]", file, content);
    let forged = visitor.upload(server, &path, &[("form[name]", "first one")], upload).await;
    assert_eq!(forged.status, 422, "without the token that stands in the session: {forged:?}");
    let fields = [("form[name]", "first one"), ("form[_token]", &*token)];
    let written = visitor.upload(server, &path, &fields, upload).await;
    let note = format!("{prefix}/notes/first%20one");
    assert_eq!((written.status, written.field("location")), (302, &*note), "{}", written.text());
    visitor.get(server, &note).await.json()
}

#[tokio::test]
async fn symfony_knows_its_links_its_clients_and_its_sessions_and_takes_uploads() {
    if !is_installed() {
        return;
    }
    let folder = folder();
    release(folder.path(), "v1");
    let server = start(folder).await;
    let described = server.status().await.apps[0].described.clone();
    assert!(described.contains("public/index.php found, run by php-cgi"), "{described}");
    let host = format!("localhost:{}", server.port());
    let mut visitor = Visitor::of(&*host);
    let home = visitor.get(&server, "/").await;
    assert!(home.text().contains(&format!("visit 1, at https://{host}/<")), "{home:?}");
    let cookie = home.field("set-cookie");
    assert!(cookie.contains("; secure; httponly"), "{cookie}");

    let content: Vec<u8> = (0..5_u32 << 20).map(|at| (at.wrapping_mul(at) >> 8) as u8).collect();
    let note = write(&mut visitor, &server, "", "a picture.bin", &content).await;
    for (what, value) in [
        ("link", Value::from(format!("https://{host}/notes/first%20one"))),
        ("file", format!("https://{host}/storage/a%20picture.bin").into()),
        ("client", "127.0.0.1".into()),
        ("secure", true.into()),
    ] {
        assert_eq!(note[what], value, "{what}");
    }
    let file = server.get("/storage/a%20picture.bin").await;
    assert!(file.status == 200 && file.body == content, "{}: {:?}", file.status, file.headers);
    assert_eq!(server.record("/storage/a%20picture.bin").await["worker"], Value::Null);
    let by_script: Value = visitor.get(&server, "/index.php/notes/first%20one").await.json();
    assert_eq!(by_script["link"], format!("https://{host}/index.php/notes/first%20one"));
    for visit in 2..8 {
        let home = visitor.get(&server, "/").await;
        assert!(home.text().contains(&format!("visit {visit},")), "all workers have the session: {home:?}");
    }
    let stranger = Visitor::of(&*host).get(&server, "/notes/first%20one").await;
    assert_eq!(stranger.status, 404, "the note is in somebody else's session");

    for path in [
        "/src/Kernel.php",
        "/autoload.php",
        "/VERSION",
        "/rip.toml",
        "/templates/home.html.twig",
        "/../src/Kernel.php",
        "/%2e%2e/src/Kernel.php",
        "/storage/..%2f../src/Kernel.php",
        "/index.php%00",
        "/style.css/index.php",
    ] {
        let reply = server.get(path).await;
        assert!(matches!(reply.status, 400 | 404), "{path}: {reply:?}");
        assert!(!["namespace App", "v1", "{{"].iter().any(|word| reply.text().contains(word)), "{path}");
    }
}

#[tokio::test]
async fn symfony_s_releases_are_deployed_under_load_and_nothing_is_lost() {
    if !is_installed() {
        return;
    }
    let folder = folder();
    let versions = ["v1", "v2", "v3"];
    for version in versions {
        release(folder.path(), version);
    }
    let server = start(folder).await;
    let host = format!("localhost:{}", server.port());
    let mut visitor = Visitor::of(&*host);
    write(&mut visitor, &server, "", "kept.txt", b"kept").await;
    let load = Load::start(server.port(), true, &versions);
    for (at, version) in versions.iter().enumerate().skip(1) {
        load.more(40).await;
        choose(server.root(), version);
        server.ctl(&["deploy"]).await.expect(0);
        load.at_least_version(at);
    }
    load.more(40).await;
    load.finish("deploys of Symfony").await.assert_nothing_lost();
    let home = visitor.get(&server, "/").await;
    assert!(home.text().contains(&format!("<a href=\"https://{host}/notes/first%20one\">")), "{home:?}");
    assert_eq!(server.get("/storage/kept.txt").await.text(), "kept");
}

/// Whether the app believes what proxies say, as it had to behind another server, or not.
#[tokio::test]
async fn symfony_behind_a_prefix_makes_links_with_it_once() {
    if !is_installed() {
        return;
    }
    for trusted in ["", "REMOTE_ADDR"] {
        let folder = folder();
        let rules = release(folder.path(), "v1").join("rip.toml");
        let more = format!(
            "env = {{ TRUSTED_PROXIES = {trusted:?} }}\nhosts = [\"localhost/my/notes\"]\nstrip = true\n\
             static = [{{ path = \"/storage\", root = \"public/storage\", fallback = false }}]\n"
        );
        fs::write(&rules, fs::read_to_string(&rules).unwrap() + &more).unwrap();
        let server = start(folder).await;
        let host = format!("localhost:{}", server.port());
        let mut visitor = Visitor::of(&*host);
        for path in ["/my/notes", "/my/notes/", "/my/note%73/?x=/my/notes"] {
            let home = visitor.get(&server, path).await;
            for link in [
                format!("at https://{host}/my/notes/<"),
                "\"/my/notes/style.css\"".into(),
                "\"/my/notes/write\"".into(),
            ] {
                assert!(home.text().contains(&link), "{path}: {link} {trusted}: {}", home.text());
            }
        }
        let style = visitor.get(&server, "/my/notes/style.css").await;
        assert_eq!((style.status, style.field("content-type")), (200, "text/css; charset=utf-8"));
        let script = b"<?php echo 'run';";
        let note = write(&mut visitor, &server, "/my/notes", "shell.php", script).await;
        assert_eq!(note["link"], format!("https://{host}/my/notes/notes/first%20one"));
        assert_eq!(note["file"], format!("https://{host}/my/notes/storage/shell.php"));
        let uploaded = visitor.get(&server, "/my/notes/storage/shell.php").await;
        assert!(uploaded.status == 404 && !uploaded.text().contains("run"), "{uploaded:?}");
    }
}

/// A page that the app cannot make is its own answer, and says nothing of the source.
#[tokio::test]
async fn a_fault_of_symfony_s_is_its_own_page_and_stands_in_the_log() {
    if !is_installed() {
        return;
    }
    let folder = folder();
    let template = release(folder.path(), "v1").join("templates/write.html.twig");
    fs::write(template, "{{ secret_of_the_template }}").unwrap();
    let server = start(folder).await;
    let reply = server.get("/write").await;
    assert_eq!((reply.status, reply.reason()), (500, ""));
    assert!(!reply.text().contains("secret_of_the_template"), "{}", reply.text());
    until("the fault is logged", async || server.output().contains("secret_of_the_template")).await;
    assert_eq!(server.get("/").await.status, 200);
}
