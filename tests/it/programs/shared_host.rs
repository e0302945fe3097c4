//! Two programs under one host, each below a prefix of its own, with the links that people follow.

use std::fs;

use super::{between, copy, django, symfony};
use crate::support::visitor::Visitor;
use crate::support::{Setup, until};

#[tokio::test]
async fn django_and_symfony_share_a_host_and_each_makes_links_below_its_own_prefix() {
    if !django::is_installed() || !symfony::is_installed() {
        return;
    }
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    django::project(folder.path());
    let (shop, notes) = (folder.path().join("shop"), folder.path().join("notes"));
    copy("symfony", &notes);
    for (rules, prefix) in [(shop.join("rip.toml"), "/my/shop"), (notes.join("rip.toml"), "/notes")] {
        let more = format!("hosts = [\"localhost{prefix}\"]\nstrip = true\n");
        fs::write(&rules, more + &fs::read_to_string(&rules).unwrap()).unwrap();
    }
    let server = Setup::app(&shop).words(&["w:1", "--reload=none"]).tls().start_in(folder).await;
    server.ctl(&["add", "localhost/notes", "--app", notes.to_str().unwrap()]).await.expect(0);
    let ready = || async { server.status().await.apps.iter().all(|app| app.workers.ready > 0) };
    until("both serve", ready).await;

    let host = format!("localhost:{}", server.port());
    let mut visitor = Visitor::of(&*host);
    django::log_in(&mut visitor, &server, "/my/shop").await;
    assert_eq!(visitor.get(&server, "/my/shop/link").await.text(), format!("https://{host}/my/shop/admin/"));
    let index = visitor.get(&server, "/my/shop/admin/").await;
    let style = between(&index, "<link rel=\"stylesheet\" href=\"", "\"");
    assert_eq!(style, "/my/shop/static/admin/css/base.css");
    let sent = visitor.get(&server, style).await;
    assert!(sent.body == fs::read(shop.join("collected/admin/css/base.css")).unwrap());

    let home = visitor.get(&server, "/notes/").await;
    assert!(home.text().contains(&format!("visit 1, at https://{host}/notes/<")), "{home:?}");
    let style = visitor.get(&server, between(&home, "<link rel=\"stylesheet\" href=\"", "\"")).await;
    assert_eq!(style.text(), fs::read_to_string(notes.join("public/style.css")).unwrap());
    assert_eq!(visitor.get(&server, "/notes/admin/").await.status, 404);
    let still = visitor.get(&server, "/my/shop/admin/").await;
    assert_eq!(still.status, 200, "the cookies of one app are kept beside those of the other");
}
