//! Files over WebDAV by sabre/dav, the library of ownCloud and Nextcloud, as `litmus` asks for them.

use std::fs;

use super::{copy, installed};
use crate::support::ctl::run;
use crate::support::{Setup, has};

#[tokio::test]
async fn a_webdav_server_behind_a_script_passes_litmus_also_below_a_prefix() {
    let library = "/usr/share/php/Sabre/DAV/Server.php";
    if !has("php-cgi", "php-cgi") || !has("litmus", "litmus") || !installed(library, "php-sabre-dav") {
        return;
    }
    for (rules, prefix) in [("", ""), ("hosts = [\"localhost/my/cloud\"]\nstrip = true\n", "/my/cloud")] {
        let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
        let (app, state) = (folder.path().join("cloud"), folder.path().join("files"));
        copy("webdav", &app);
        fs::create_dir(&state).unwrap();
        fs::write(app.join("rip.toml"), format!("{rules}env = {{ DAV_STATE = {state:?} }}\n")).unwrap();
        let server = Setup::app(app).words(&["w:2"]).start_in(folder).await;

        let url = format!("http://localhost:{}{prefix}/remote.php/dav/", server.port());
        let mut litmus = tokio::process::Command::new("litmus");
        // Litmus writes its logs into its working directory.
        litmus.args(["--keep-going", &url]).current_dir(&state);
        let ran = run(&mut litmus).await;
        let sums: Vec<_> = ran.out.lines().filter(|line| line.contains("summary for")).collect();
        assert!(sums.len() == 5 && sums.iter().all(|sum| sum.contains(" 0 failed")), "{}", ran.out);
        assert_eq!(ran.code, 0);

        let path = format!("{prefix}/remote.php/dav/gr%C3%BC%C3%9Fe%20und%20.%5Bx%5D/");
        assert_eq!(server.ask("MKCOL", &path, &[], b"").await.status, 201);
        let (hidden, moved) = (format!("{path}.hidden%20file"), format!("{path}50%25"));
        let content = vec![b'x'; 3 << 20];
        assert_eq!(server.ask("PUT", &hidden, &[], &content).await.status, 201);
        let target = format!("http://localhost{moved}");
        let reply = server.ask("MOVE", &hidden, &[("Destination", &target)], b"").await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert!(server.get(&moved).await.body == content);
        let listed = server.ask("PROPFIND", &path, &[("Depth", "1")], b"").await;
        let href = format!("<d:href>{moved}</d:href>").to_lowercase();
        assert!(listed.status == 207 && listed.text().to_lowercase().contains(&href), "{}", listed.text());
        assert_eq!(server.get(&format!("{prefix}/")).await.text(), "hello from webdav\n");
    }
}
