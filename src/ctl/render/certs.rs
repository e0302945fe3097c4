//! Owns how certificates, their renewal and plans look to a person.
//!
//! Never here: the page of `status`.

use crate::api::{CertPlan, CheckResult, HostCertificate, RenewEvent};

use super::{Tone, bad, duration, good, plain, table};

/// The certificates, a line each; the problem of one stands below its line.
pub(in crate::ctl) fn certificates(all: &[HostCertificate]) -> String {
    let rows = all.iter().map(|own| {
        let tone = match (&own.problem, own.expires_in) {
            (_, Some(..0)) => Tone::Bad,
            (Some(_), _) => Tone::Warning,
            _ => Tone::Plain,
        };
        let issuer = own.issuer.clone().unwrap_or_else(|| "-".into());
        let age = own.age.map_or_else(|| "-".into(), duration);
        (tone, vec![own.host.to_string(), own.source.clone(), issuer, age, end(own), renewed(own)])
    });
    let mut text = table(&["HOST", "SOURCE", "ISSUER", "AGE", "EXPIRES", "RENEWED"], &[], rows);
    for own in all {
        if let Some(problem) = &own.problem {
            text += &format!("\n{}: {}\n", own.host, plain(problem));
        }
    }
    text
}

/// All that is known of one certificate.
pub(in crate::ctl) fn certificate(own: &HostCertificate) -> String {
    let mut lines = vec![("source", own.source.clone())];
    if !own.names.is_empty() {
        lines.push(("names", own.names.join(", ")));
    }
    let optional = [("issuer", &own.issuer), ("serial", &own.serial), ("authority", &own.authority)];
    lines.extend(optional.into_iter().filter_map(|(what, value)| Some((what, value.clone()?))));
    lines.extend(own.age.map(|age| ("age", duration(age))));
    if own.expires_in.is_some() {
        lines.push(("expires", end(own)));
    }
    let when = own.renew_in.map(|left| format!("in {}: ", duration(left))).unwrap_or_default();
    lines.push(("renewed", when + &own.renewal));
    lines.extend(own.problem.iter().map(|problem| ("problem", problem.clone())));
    let lines = lines.into_iter().map(|(what, value)| format!("  {what:<9}  {}\n", plain(&value)));
    format!("{}\n{}", own.host, lines.collect::<String>())
}

/// An event of a renewal.
pub(in crate::ctl) fn renewal(event: &RenewEvent) -> String {
    match event {
        RenewEvent::Ordering { host } => format!("{host}: a certificate is being ordered"),
        RenewEvent::Issued { host } => format!("{host}: the certificate has come, and is being taken up"),
        RenewEvent::Renewed { certificate } => {
            let (host, end) = (&certificate.host, end(certificate));
            good(format_args!("{host}: the new certificate is in use; it expires {end}"))
        }
        RenewEvent::Failed { host, reason } => {
            bad(format_args!("{host}: no new certificate, the one in use stays: {}", plain(reason)))
        }
    }
}

/// The checks of a plan, a line each.
pub(in crate::ctl) fn plan(plan: &CertPlan) -> String {
    let verdict = match plan.ready {
        true => good("nothing that was looked at stands in the way"),
        false => bad("an order would fail"),
    };
    let mut text = format!("{}: {verdict}\n", plan.host);
    for check in &plan.checks {
        let result = match check.result {
            CheckResult::Ok => "ok",
            CheckResult::Doubtful => "?",
            CheckResult::Bad => "NO",
        };
        text += &format!("  {result:<2}  {:<9}  {}\n", plain(&check.check), plain(&check.text));
    }
    for what in &plan.not_checked {
        text += &format!("  --  not looked at: {}\n", plain(what));
    }
    text
}

fn end(own: &HostCertificate) -> String {
    match own.expires_in.map(|left| (u64::try_from(left), left)) {
        None => "-".into(),
        Some((Ok(left), _)) => format!("in {}", duration(left)),
        Some((Err(_), left)) => format!("{} ago", duration(left.unsigned_abs())),
    }
}

fn renewed(own: &HostCertificate) -> String {
    match own.renew_in {
        Some(left) => format!("in {}: {}", duration(left), own.renewal),
        None => own.renewal.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PlanCheck;

    fn own(source: &str) -> HostCertificate {
        HostCertificate {
            host: "blog.example".parse().unwrap(),
            source: source.into(),
            names: vec!["blog.example".into()],
            issuer: Some("Pebble".into()),
            serial: Some("0a:0b".into()),
            age: Some(3_600),
            expires_in: Some(89 * 86_400),
            authority: Some("https://ca.example/dir".into()),
            renewal: "by its authority".into(),
            renew_in: Some(59 * 86_400),
            ordering: false,
            problem: None,
        }
    }

    fn bare(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_certificate_is_shown_in_a_line_and_in_full() {
        let expected = "\
HOST          SOURCE  ISSUER  AGE  EXPIRES  RENEWED
blog.example  acme    Pebble  1 h  in 89 d  in 59 d: by its authority
";
        assert_eq!(bare(&certificates(&[own("acme")])), expected);
        let expected = "\
blog.example
  source     acme
  names      blog.example
  issuer     Pebble
  serial     0a:0b
  authority  https://ca.example/dir
  age        1 h
  expires    in 89 d
  renewed    in 59 d: by its authority
  problem    the authority is busy
";
        let broken = HostCertificate { problem: Some("the authority is busy\u{7}".into()), ..own("acme") };
        assert_eq!(certificate(&broken), expected);
        assert!(bare(&certificates(&[broken])).ends_with("\nblog.example: the authority is busy\n"));
    }

    #[test]
    fn a_plan_shows_what_was_looked_at_and_what_was_not() {
        let check =
            PlanCheck { check: "port80".into(), result: CheckResult::Bad, text: "nobody is there".into() };
        let host = "blog.example".parse().unwrap();
        let shown =
            CertPlan { host, ready: false, checks: vec![check], not_checked: vec!["the moon".into()] };
        let expected = "\
blog.example: an order would fail
  NO  port80     nobody is there
  --  not looked at: the moon
";
        assert_eq!(bare(&plan(&shown)), expected);
    }
}
