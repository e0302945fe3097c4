//! WordPress, Debian's package with a database, by php-cgi: installed and logged into over HTTPS, and through a deploy.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::visitor::Visitor;
use crate::support::{Setup, has, skip, until};

/// MariaDB with data of its own, behind a socket.
struct Database {
    process: Child,
    socket: PathBuf,
}

impl Database {
    async fn start(folder: &Path) -> Self {
        let (data, socket) = (folder.join("database"), folder.join("database.sock"));
        let told = [format!("--datadir={}", data.display()), "--user=root".into()];
        let mut install = Command::new("mariadb-install-db");
        let made = install.args(["--no-defaults", "--skip-test-db"]).args(&told).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let process = Command::new("mariadbd")
            .args(["--no-defaults", "--skip-networking", "--skip-grant-tables"])
            .args(&told)
            .arg(format!("--socket={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let database = Self { process, socket };
        until("the database answers", || async { database.does("CREATE DATABASE IF NOT EXISTS wordpress") })
            .await;
        database
    }

    fn does(&self, statement: &str) -> bool {
        let socket = format!("--socket={}", self.socket.display());
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", &socket, "--execute", statement]);
        client.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A copy of Debian's WordPress with a configuration of its own. The links of the copy lead to packages of libraries.
fn site(folder: &Path, database: &Database) -> PathBuf {
    let site = folder.join("site");
    let script = "cp -a /usr/share/wordpress \"$1\" && cd \"$1\" && find . -type l | while read -r link; do \
                  ln -sfn \"$(readlink -f \"/usr/share/wordpress/$link\")\" \"$link\"; done";
    let copied = Command::new("/bin/sh").args(["-ec", script, "copy"]).arg(&site).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let config = format!(
        "<?php
        define('DB_NAME', 'wordpress');
        define('DB_USER', 'root');
        define('DB_PASSWORD', '');
        define('DB_HOST', 'localhost:{}');
        define('DB_CHARSET', 'utf8mb4');
        define('WP_HTTP_BLOCK_EXTERNAL', true);
        define('DISABLE_WP_CRON', true);
        define('AUTOMATIC_UPDATER_DISABLED', true);
        $table_prefix = 'wp_';
        if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
        require_once ABSPATH . 'wp-settings.php';",
        database.socket.display()
    );
    fs::write(site.join("wp-config.php"), config).unwrap();
    site
}

#[tokio::test]
async fn wordpress_is_installed_and_logged_into_over_https_and_a_deploy_loses_nothing() {
    if !has("php-cgi", "php-cgi") || !has("mariadbd", "mariadb-server") {
        return;
    }
    if !Path::new("/usr/share/wordpress/wp-content/themes/twentytwentythree").is_dir() {
        return skip(
            "WordPress is not installed: apt install wordpress wordpress-theme-twentytwentythree php-mysql",
        );
    }
    let folder = TempDir::new().unwrap();
    let database = Database::start(folder.path()).await;
    let site = site(folder.path(), &database);
    let follow = "app.follow = [\"/usr/share\", \"/etc/ssl/certs\"]";
    let server = Setup::app(site).server(follow).words(&["w:3", "--reload=none"]).tls().start().await;

    let mut visitor = Visitor::of("localhost");
    let before = visitor.get(&server, "/").await;
    assert_eq!((before.status, before.field("location")), (302, "https://localhost/wp-admin/install.php"));
    let form = "weblog_title=Seen+by+all&user_name=anna&admin_password=s3cret&admin_password2=s3cret&pw_weak=1\
                &admin_email=anna%40example.com&blog_public=0&Submit=Install";
    let installed = visitor.post(&server, "/wp-admin/install.php?step=2", form).await;
    assert!(installed.status == 200 && installed.text().contains("Success!"), "{installed:?}");

    let login = visitor.get(&server, "/wp-login.php").await;
    assert!(login.status == 200 && login.text().contains("user_pass"), "{login:?}");
    let wrong = visitor.post(&server, "/wp-login.php", "log=anna&pwd=guess&testcookie=1").await;
    assert!(wrong.status == 200 && wrong.text().contains("is incorrect"), "{wrong:?}");
    let right = "log=anna&pwd=s3cret&testcookie=1&redirect_to=https%3A%2F%2Flocalhost%2Fwp-admin%2F";
    let welcome = visitor.post(&server, "/wp-login.php", right).await;
    assert_eq!(
        (welcome.status, welcome.field("location")),
        (302, "https://localhost/wp-admin/"),
        "{welcome:?}"
    );
    let dashboard = visitor.get(&server, "/wp-admin/").await;
    assert!(dashboard.status == 200 && dashboard.text().contains("Dashboard"), "{dashboard:?}");
    let stranger = Visitor::of("localhost").get(&server, "/wp-admin/").await;
    assert_eq!(stranger.status, 302, "nobody else is logged in");

    // Links of Debian's lead to the packages of libraries; the configuration is no file for anybody.
    let library = server.get("/wp-includes/js/underscore.min.js").await;
    let own = fs::read("/usr/share/wordpress/wp-includes/js/underscore.min.js").unwrap();
    assert!(library.status == 200 && library.body == own, "{}: {:?}", library.status, library.headers);
    assert_eq!(library.field("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(server.get("/.htaccess").await.status, 404);
    assert_eq!(server.get("/wp-config.php").await.text(), "", "it is run, and says nothing");

    let over = Cell::new(false);
    let deploy = async {
        let deployed = server.ctl(&["deploy"]).await;
        over.set(true);
        deployed
    };
    let asking = async {
        let mut asked = 0;
        while !over.get() || asked < 12 {
            let page = server.get("/?p=1").await;
            assert!(page.status == 200 && page.text().contains("Hello world!"), "{page:?}");
            asked += 1;
        }
    };
    let (deployed, ()) = tokio::join!(deploy, asking);
    deployed.expect(0);
    let still = visitor.get(&server, "/wp-admin/profile.php").await;
    assert!(still.status == 200 && still.text().contains("anna@example.com"), "{still:?}");
}
