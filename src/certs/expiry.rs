//! Owns the warnings that certificates end soon: when each is given, and that none is given twice.
//!
//! The time of a warning depends on the certificate's life: fourteen days before the end would be too early for one
//! that lives six. Never here: renewing.

use std::collections::HashMap;
use std::time::SystemTime;

use super::certificate::Certificate;
use super::issuer::IssuedBy;

/// The warnings that were given so far.
#[derive(Default)]
pub(super) struct ExpiryWarnings {
    /// The warnings by the certificate, as a number of its DER; a certificate that replaces one has another number.
    given: HashMap<u64, Warned>,
}

#[derive(Clone, Copy)]
struct Warned {
    stage: ExpiryStage,
    at: SystemTime,
}

/// How near a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ExpiryStage {
    Overdue,
    Urgent,
    Expired,
}

impl ExpiryStage {
    fn of(certificate: &Certificate, now: SystemTime) -> Option<Self> {
        [
            (certificate.not_after, Self::Expired),
            (certificate.urgent_at(), Self::Urgent),
            (certificate.overdue_at(), Self::Overdue),
        ]
        .into_iter()
        .find_map(|(from, stage)| (from <= now).then_some(stage))
    }
}

impl ExpiryWarnings {
    /// Warns of certificates that end soon: once when the renewal is overdue, once when it becomes urgent, and from
    /// then on at intervals.
    pub(super) fn tell(&mut self, issued: &[IssuedBy], now: SystemTime) {
        let mut given = HashMap::new();
        for (source, issued) in issued {
            for issued in issued.iter() {
                let Some(certificate) = &issued.certificate else { continue };
                let Some(stage) = ExpiryStage::of(certificate, now) else { continue };
                let identity = certificate.identity();
                let before = self.given.get(&identity).copied();
                let warned = match before {
                    Some(before) if !before.is_over(stage, certificate, now) => before,
                    _ => {
                        warn(source, certificate, stage, issued.remedy, now);
                        Warned { stage, at: now }
                    }
                };
                given.insert(identity, warned);
            }
        }
        self.given = given;
    }
}

impl Warned {
    /// Whether it is time for another warning.
    fn is_over(self, stage: ExpiryStage, certificate: &Certificate, now: SystemTime) -> bool {
        let repeats = stage >= ExpiryStage::Urgent;
        // A warning in the future was given by a clock that has since been put back.
        let is_strange = self.at > now;
        stage > self.stage || (repeats && (is_strange || self.at + certificate.reminder_interval() <= now))
    }
}

fn warn(source: &str, certificate: &Certificate, stage: ExpiryStage, remedy: &str, now: SystemTime) {
    let names: Vec<&str> = certificate.names.iter().take(SHOWN_NAMES).map(|name| name.as_str()).collect();
    let names = names.join(", ");
    let to_do = if remedy.is_empty() { String::new() } else { format!(": {remedy}") };
    let seconds = certificate.expires_in(now).abs();
    let (days, span) = (seconds / 86_400, span(seconds));
    match stage {
        ExpiryStage::Overdue => {
            tracing::warn!(
                source,
                names,
                days,
                left = span,
                "the renewal of a certificate is overdue{to_do}"
            );
        }
        ExpiryStage::Urgent => {
            tracing::warn!(source, names, days, left = span, "the certificate expires soon{to_do}");
        }
        ExpiryStage::Expired => {
            tracing::warn!(
                source,
                names,
                days,
                ago = span,
                "the certificate has expired, and clients refuse it{to_do}"
            );
        }
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        0..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

const SHOWN_NAMES: usize = 3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::testing::{DAY, Pem, now};
    use super::*;
    use crate::certs::issuer::Issued;

    /// The moments of a life, in hours, at which a warning is given, looked at each hour until a day after its end.
    fn warned_at(life: Duration) -> Vec<(u64, ExpiryStage)> {
        let begin = now();
        let certificate = Pem::new(&["a.example"], begin, begin + life).certificate();
        let issued = Issued { certificate: Some(certificate.clone()), ..Default::default() };
        let identity = certificate.identity();
        let (mut warnings, mut seen) = (ExpiryWarnings::default(), Vec::new());
        for hour in 0..=(life + DAY).as_secs() / 3_600 {
            let at = begin + Duration::from_secs(hour * 3_600);
            let before = warnings.given.get(&identity).map(|warned| warned.at);
            warnings.tell(&[("folder", Arc::new([issued.clone()]))], at);
            if let Some(warned) = warnings.given.get(&identity).filter(|warned| Some(warned.at) != before) {
                seen.push((hour, warned.stage));
            }
        }
        seen
    }

    #[test]
    fn warnings_are_relative_to_the_life_of_a_certificate() {
        let ninety = warned_at(90 * DAY);
        assert_eq!(ninety[0], (69 * 24, ExpiryStage::Overdue));
        assert_eq!(ninety[1], (85 * 24 + 12, ExpiryStage::Urgent));
        assert_eq!(ninety[2], (86 * 24 + 12, ExpiryStage::Urgent), "daily from then on");
        assert_eq!(ninety.iter().filter(|(_, stage)| *stage == ExpiryStage::Overdue).count(), 1);

        let six = warned_at(6 * DAY);
        assert_eq!(six[0], (111, ExpiryStage::Overdue), "34 hours before its end, not all its life");
        assert_eq!(six[1], (137, ExpiryStage::Urgent));
        assert!(six.contains(&(144, ExpiryStage::Expired)));
    }

    #[test]
    fn a_certificate_of_a_year_is_warned_of_a_month_before_its_end_and_daily_in_its_last_fortnight() {
        let year = warned_at(397 * DAY);
        assert_eq!(year[0], (367 * 24, ExpiryStage::Overdue));
        assert_eq!(year[1], (383 * 24, ExpiryStage::Urgent));
        assert_eq!(year.len(), 1 + 14 + 2, "{year:?}");
    }
}
