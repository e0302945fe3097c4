//! What those beside a worker cannot do to it, nor it to its server: other users of the machine, other apps.

crate::on_both! {
    a_worker_cannot_lead_its_server_to_another_socket
}

mod cases {
    use crate::app::{SERVICE, encoded};
    use crate::machine::Machine;

    pub(super) fn a_worker_cannot_lead_its_server_to_another_socket(m: Machine) {
        let m = m.with_probe("path");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same("a worker serves by a socket of its own", m.get("/1%2B1").body, "2".into());
        let planted = m.get(&format!(
            "/{}",
            encoded(
                "os.unlink(os.environ['RIP_SOCKET']) or os.symlink('/run/rip-server/labs-api.sock', os.environ['RIP_SOCKET'])"
            )
        ));
        m.same("it can put a link to the control socket there", planted.body, "None".into());
        let answer = m.get("/workers");
        m.holds(
            "the server does not follow it",
            answer.status >= 500 && !answer.body.contains("\"generation\""),
        );
        m.ok("rip-serverctl deploy");
        m.same("the next worker serves", m.get("/1%2B1").body, "2".into());
    }
}
