//! Somebody with a browser, who keeps cookies and follows no redirect.

use std::collections::BTreeMap;

use super::{Reply, Server};

/// A visitor of a host, which may have a port with it.
pub(crate) struct Visitor {
    host: String,
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    pub(crate) fn of(host: impl Into<String>) -> Self {
        Self { host: host.into(), cookies: BTreeMap::new() }
    }

    pub(crate) async fn get(&mut self, server: &Server, path: &str) -> Reply {
        self.ask(server, "GET", path, &[], b"").await
    }

    /// Sends a form with fields that are encoded already.
    pub(crate) async fn post(&mut self, server: &Server, path: &str, form: &str) -> Reply {
        let fields = [("Content-Type", "application/x-www-form-urlencoded")];
        self.ask(server, "POST", path, &fields, form.as_bytes()).await
    }

    /// Sends a form with a file: its field, its name, what is in it.
    pub(crate) async fn upload(
        &mut self,
        server: &Server,
        path: &str,
        form: &[(&str, &str)],
        (field, name, content): (&str, &str, &[u8]),
    ) -> Reply {
        let part = |what: &str| format!("--BORDER\r\nContent-Disposition: form-data; {what}\r\n\r\n");
        let mut body = Vec::new();
        for (field, value) in form {
            body.extend(format!("{}{value}\r\n", part(&format!("name=\"{field}\""))).bytes());
        }
        body.extend(part(&format!("name=\"{field}\"; filename=\"{name}\"")).bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n--BORDER--\r\n");
        let fields = [("Content-Type", "multipart/form-data; boundary=BORDER")];
        self.ask(server, "POST", path, &fields, &body).await
    }

    async fn ask(
        &mut self,
        server: &Server,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (cookies, origin) = (cookies.join("; "), format!("https://{}", self.host));
        let mut all = vec![("Host", &*self.host), ("Cookie", &cookies), ("Accept", "text/html")];
        if method == "POST" {
            all.push(("Origin", &origin));
        }
        all.extend(fields);
        let reply = server.ask(method, path, &all, body).await;
        for cookie in reply.headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        reply
    }
}
