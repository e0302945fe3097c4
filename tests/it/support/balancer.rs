//! HAProxy and nginx in front of a server, each with a config that a test writes.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{has, until};

/// A running balancer; ended when it is dropped.
pub(crate) struct Balancer {
    child: Child,
    /// Where clients connect.
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Balancer {
    /// HAProxy that passes connections on as they are. `server`: what its `server` line says behind the address;
    /// `more`: further lines of the backend. `None`, and the test is skipped: it is not installed.
    pub(crate) async fn haproxy(server_port: u16, server: &str, more: &[&str]) -> Option<Self> {
        has_at("haproxy", "haproxy", "/usr/sbin").then_some(())?;
        let port = free_port();
        let more: String = more.iter().map(|line| format!("    {line}\n")).collect();
        let config = format!(
            "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n    \
             timeout queue 20s\n\
             frontend clients\n    bind 127.0.0.1:{port}\n    default_backend servers\n\
             backend servers\n{more}    server one 127.0.0.1:{server_port} {server}\n"
        );
        Some(Self::start("/usr/sbin/haproxy", &["-db", "-f"], "haproxy.cfg", &config, port).await)
    }

    /// nginx that passes connections on as they are, with a PROXY header of version 1. `None`, and the test is skipped:
    /// it is not installed.
    pub(crate) async fn nginx(server_port: u16) -> Option<Self> {
        const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
        has_at("nginx", "libnginx-mod-stream", "/usr/sbin").then_some(())?;
        if !std::path::Path::new(STREAM).is_file() {
            super::skip("nginx has no stream module: apt install libnginx-mod-stream");
            return None;
        }
        let port = free_port();
        let config = format!(
            "load_module {STREAM};\ndaemon off;\nmaster_process off;\nerror_log stderr;\npid nginx.pid;\nevents {{}}\n\
             stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{server_port}; proxy_protocol on; }} }}\n"
        );
        Some(Self::start("/usr/sbin/nginx", &["-e", "stderr", "-c"], "nginx.conf", &config, port).await)
    }

    async fn start(program: &str, words: &[&str], name: &str, config: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, config).unwrap();
        let mut command = Command::new(program);
        command.args(words).arg(&path).stdin(Stdio::null());
        if name.starts_with("nginx") {
            command.arg("-p").arg(folder.path());
        }
        let balancer = Self { child: command.spawn().unwrap(), port, _folder: folder };
        until("the balancer listens", || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() })
            .await;
        balancer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As [`has`], where programs for admins are not in everybody's `PATH`.
fn has_at(program: &str, package: &str, folder: &str) -> bool {
    std::path::Path::new(folder).join(program).is_file() || has(program, package)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
