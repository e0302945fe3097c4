//! Owns the table of the control socket: one row for each endpoint. The server's routes, the client's requests and the
//! table of SPEC §12 come from it.
//!
//! Never here: what an answer is made of (`control/calls`), or how it looks to a person (`ctl`).

use crate::name::{HostName, RouteName};

use super::endpoint::{Endpoint, JsonBody, LogQuery, Object, ObjectLines, Text};
use super::{
    Aborted, AddHost, CertList, CertPlan, Changed, DeployEvent, DeployRequest, DrainAnswer, EndDrain,
    HostCertificate, HostList, ImportCert, LogLine, RenewCert, RenewEvent, RunPlace, RunRequest, RunTimer,
    Scale, Scaled, SetState, StartDrain, Status, StopAnswer, StopServer, TimerStarted, WhichApp, WorkerList,
};

/// Makes a constant of each row, and for tests the table with what SPEC says of each.
macro_rules! endpoints {
    ($(
        $(#[doc = $text:literal])+
        $name:ident: $input:ty => $answer:ty = $method:ident $path:literal takes $takes:literal answers $answers:literal;
    )+) => {
        $($(#[doc = $text])+ pub(crate) const $name: Endpoint<$input, $answer> =
            Endpoint::new(stringify!($method), $path);)+
        /// Every row.
        #[cfg(test)]
        pub(crate) const TABLE: &[EndpointRow] = &[$(EndpointRow {
            method: stringify!($method),
            path: $path,
            takes: $takes,
            answers: $answers,
            text: concat!($($text),+),
        }),+];
    };
}

/// The row of an endpoint in SPEC.
#[cfg(test)]
pub(crate) struct EndpointRow {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    takes: &'static str,
    answers: &'static str,
    text: &'static str,
}

endpoints! {
    /// The hosts, the app of each, and what each does with requests.
    LIST_HOSTS: () => Object<HostList> = GET "/registry"
        takes "" answers r#"{"ok":true,"hosts":[NAME…],"entries":[HOST…]}"#;
    /// Adds a host; without `path` (absolute): to the instance's first app.
    ADD_HOST: AddHost => Object<Changed> = POST "/registry"
        takes r#"{"host":…,"path"?:…}"# answers r#"{"ok":true,"changed":BOOL,"entry":HOST}"#;
    /// Serves a host no longer.
    REMOVE_HOST: RouteName => Object<Changed> = DELETE "/registry/{host}"
        takes "" answers r#"{"ok":true,"changed":BOOL}"#;
    /// Changes what a host does with its requests; `page` is what people read while it is stopped.
    SET_STATE: (RouteName, SetState) => Object<Changed> = POST "/registry/{host}/state"
        takes r#"{"state":"running"|"paused"|"stopped","page"?:HTML}"#
        answers r#"{"ok":true,"changed":BOOL,"entry":HOST}"#;
    /// The same under its earlier name, for one more version.
    SET_INTENT: (RouteName, SetState) => Object<Changed> = POST "/registry/{host}/intent"
        takes r#"{"intent":"run"|"hold"|"stop","page"?:HTML}"#
        answers r#"{"ok":true,"changed":BOOL,"entry":HOST}"#;
    /// The state of the server: what it is doing, and why.
    GET_STATUS: () => Object<Status> = GET "/status"
        takes ""
        answers r#"{"status","instance","version","pid","uptime","urls":[…],"control","drained":BOOL,"doing","apps":[APP…],"certificates":[{"names":[…],"source","expires_in","problem"?}…],"backend":{"name":"systemd"|"child","why"},"needs_restart"?:[…]}"#;
    /// The workers and the requests that they have in hand.
    LIST_WORKERS: () => Object<WorkerList> = GET "/workers"
        takes "" answers r#"{"workers":[WORKER…]}"#;
    /// Starts a new generation beside the old one, and replaces the old one when the new one is ready; without `app`:
    /// of all apps. With `canary` (of a hundred clients) or `first`, of one app: gives the new one to a share of the
    /// clients, and holds it.
    DEPLOY: DeployRequest => ObjectLines<DeployEvent> = POST "/deploy"
        takes r#"{"app"?:NAME,"canary"?:PERCENT,"first"?:WORKERS}"# answers "a line for each event, below";
    /// Gives the generation that a deploy with `canary` or `first` holds to all clients; without `app`: of the only one.
    PROMOTE: WhichApp => ObjectLines<DeployEvent> = POST "/promote"
        takes r#"{"app"?:NAME}"# answers "a line for each event, below";
    /// Gives the generation that is held to none; without `app`: of the only one.
    ABORT: WhichApp => Object<Aborted> = POST "/abort"
        takes r#"{"app"?:NAME}"# answers r#"{"ok":true,"app","generation","serving"}"#;
    /// Has the generation that served before serve again, unchanged, when it is ready; without `app`: that of the only
    /// app.
    ROLL_BACK: WhichApp => ObjectLines<DeployEvent> = POST "/rollback"
        takes r#"{"app"?:NAME}"# answers "a line for each event, below";
    /// The folder, environment and user of an app's workers, for a command that is to run as they do; runs nothing.
    /// Without `app`: of the only app.
    RUN_PLACE: RunRequest => Object<RunPlace> = POST "/run"
        takes r#"{"app"?:NAME}"#
        answers r#"{"ok":true,"app","generation","backend","directory","env":{NAME:VALUE,…},"uid","gid","instance","user_units":BOOL}"#;
    /// Starts the command of a timer now, unless it runs; without `app`: of the only one.
    RUN_TIMER: RunTimer => Object<TimerStarted> = POST "/run/timer"
        takes r#"{"app"?:NAME,"timer":NAME}"# answers r#"{"ok":true,"app","timer","worker"}"#;
    /// Changes how many workers an app has; without `app`: the only app.
    SCALE: Scale => Object<Scaled> = POST "/workers/scale"
        takes r#"{"app"?:NAME,"workers":"half"|"auto"|"2x"|"4"|"2..8"}"# answers r#"{"ok":true,"app","before","now"}"#;
    /// Makes the server drain and end; the answer comes at once.
    STOP: StopServer => Object<StopAnswer> = POST "/stop"
        takes "" answers r#"{"ok":true,"drain":SECONDS,"lame_duck":SECONDS}"#;
    /// The certificate of each host: where it is from, who signed it, when it ends, who renews it and when or why not.
    LIST_CERTS: () => Object<CertList> = GET "/certs"
        takes "" answers r#"{"ok":true,"certificates":[CERT…]}"#;
    /// The certificate of a host, or of a name below a wildcard.
    SHOW_CERT: HostName => Object<HostCertificate> = GET "/certs/{host}"
        takes "" answers "CERT";
    /// Orders a new certificate now, whatever the host waits for, in the place of an imported one too; `force`: also
    /// while an authority wants to be left alone or too many orders were begun.
    RENEW_CERT: (HostName, RenewCert) => ObjectLines<RenewEvent> = POST "/certs/{host}/renew"
        takes r#"{"force"?:BOOL}"# answers "a line for each event, below";
    /// The checks of an order for a host; nothing is ordered.
    PLAN_CERT: HostName => Object<CertPlan> = GET "/certs/{host}/plan"
        takes "" answers r#"{"host","ready":BOOL,"checks":[{"check","result":"ok"|"doubtful"|"bad","text"}…],"not_checked":[…]}"#;
    /// Takes a pair in for a host, PEM; the pair is kept until it is renewed or its host removed.
    IMPORT_CERT: (HostName, ImportCert) => Object<HostCertificate> = POST "/certs/{host}/import"
        takes r#"{"cert":PEM,"key":PEM}"# answers "CERT";
    /// Has balancers told that requests are to go elsewhere, for so many seconds, or until `undrain`; requests that
    /// come are served.
    DRAIN: StartDrain => Object<DrainAnswer> = POST "/drain"
        takes r#"{"for"?:SECONDS}"# answers r#"{"ok":true,"changed":BOOL,"asked_by_balancers":BOOL}"#;
    /// Has balancers told that requests may come again.
    UNDRAIN: EndDrain => Object<DrainAnswer> = POST "/undrain"
        takes "" answers r#"{"ok":true,"changed":BOOL,"asked_by_balancers":BOOL}"#;
    /// The metrics as Prometheus reads them.
    METRICS: () => Text = GET "/metrics"
        takes "" answers "OpenMetrics text";
    /// The lines that the workers wrote, the last 1000 of each app at most; `lines` is 100 by default.
    LOGS: LogQuery => ObjectLines<LogLine> = GET "/logs"
        takes "?app=NAME&lines=N&follow=1" answers r#"a line for each line: {"t":MS,"app","worker","generation","line"}"#;
}

impl JsonBody for AddHost {
    const EXPECTED: &str =
        r#"expected {"host":"blog.example","path":"/srv/rip/blog"}; without path: the first app"#;
}

impl JsonBody for SetState {
    const EXPECTED: &str =
        r#"expected {"state":"running"}, "paused" or "stopped", with stopped also "page":"<html>…""#;
}

impl JsonBody for DeployRequest {
    const EXPECTED: &str = r#"expected {"app":"blog"}; without app: all; "canary":10 or "first":1 for a share of the clients of one"#;
    const MAY_BE_EMPTY: bool = true;
}

impl JsonBody for WhichApp {
    const EXPECTED: &str = r#"expected {"app":"blog"}; without app: the only one"#;
    const MAY_BE_EMPTY: bool = true;
}

impl JsonBody for RunRequest {
    const EXPECTED: &str = r#"expected {"app":"blog"}; without app: the only one"#;
    const MAY_BE_EMPTY: bool = true;
}

impl JsonBody for RunTimer {
    const EXPECTED: &str =
        r#"expected {"app":"blog","timer":"clean"}; app may be left out when there is one"#;
}

impl JsonBody for Scale {
    const EXPECTED: &str = r#"expected {"app":"blog","workers":"half"}, "auto", "2x" or "4"; app may be left out when there is one"#;
}

impl JsonBody for RenewCert {
    const EXPECTED: &str = r#"expected {"force":true} or nothing"#;
    const MAY_BE_EMPTY: bool = true;
}

impl JsonBody for ImportCert {
    const EXPECTED: &str =
        r#"expected {"cert":"-----BEGIN CERTIFICATE-----…","key":"-----BEGIN PRIVATE KEY-----…"}"#;
}

impl JsonBody for StopServer {
    const EXPECTED: &str = "expected {} or nothing";
    const MAY_BE_EMPTY: bool = true;
}

impl JsonBody for StartDrain {
    const EXPECTED: &str = r#"expected {"for":30}, in seconds; without for: until undrain"#;
    const MAY_BE_EMPTY: bool = true;
}

impl JsonBody for EndDrain {
    const EXPECTED: &str = "expected {} or nothing";
    const MAY_BE_EMPTY: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::endpoint::shown;
    use crate::generated;

    #[test]
    fn packaging_the_table_of_the_spec_is_this_one() {
        let mut table = "| request | answer | does |\n|---|---|---|\n".to_owned();
        for EndpointRow { method, path, takes, answers, text } in TABLE {
            let path = shown(path);
            let request = match takes.strip_prefix('?') {
                Some(_) => format!("`{method} {path}{takes}`"),
                None if takes.is_empty() => format!("`{method} {path}`"),
                None => format!("`{method} {path}` `{takes}`"),
            };
            let answers = match answers.find('{') {
                Some(at) => format!("{}`{}`", &answers[..at], &answers[at..]),
                None => (*answers).to_owned(),
            };
            let cells = [request, answers, text.trim().to_owned()].map(|cell| cell.replace('|', "\\|"));
            table += &format!("| {} |\n", cells.join(" | "));
        }
        generated::assert_up_to_date("SPEC.md", "endpoints", &table);
    }
}
