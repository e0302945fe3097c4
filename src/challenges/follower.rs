//! Owns which follower has seen which version of the answers: other processes follow the answers, and an authority is
//! asked to look only when all of them have the latest.
//!
//! Never here: the way to those processes.

use std::collections::BTreeMap;

use super::{Answers, Challenges};

/// How far the versions of the answers have spread.
#[derive(Debug, Default)]
pub(super) struct Spread {
    version: u64,
    followers: u64,
    /// The latest version that each follower has seen.
    seen: BTreeMap<u64, u64>,
}

impl Challenges {
    /// Adds a follower, which is told each change of the answers until it is dropped.
    pub(crate) fn follow(&self) -> Follower {
        let mut number = 0;
        self.0.spread.send_modify(|spread| {
            spread.followers += 1;
            number = spread.followers;
            spread.seen.insert(number, 0);
        });
        Follower { of: self.clone(), number }
    }

    /// Returns when every follower has seen the answers as they are now; at once when there is no follower.
    /// Cancel-safe.
    pub(crate) async fn settled(&self) {
        let mut spread = self.0.spread.subscribe();
        let latest = spread.borrow().version;
        // The sender lives in `self`: waiting cannot fail.
        spread.wait_for(|spread| spread.seen.values().all(|seen| *seen >= latest)).await.ok();
    }

    pub(super) fn tell_followers(&self) {
        self.0.spread.send_modify(|spread| spread.version += 1);
    }
}

/// Follows the answers. After it is dropped, nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Follower {
    of: Challenges,
    number: u64,
}

impl Follower {
    /// Returns the answers and their version as soon as they are newer than `version`; 0 is before the first.
    /// Cancel-safe.
    pub(crate) async fn after(&self, version: u64) -> (u64, Answers) {
        let mut spread = self.of.0.spread.subscribe();
        let latest = spread.wait_for(|spread| spread.version > version).await.map(|spread| spread.version);
        // The answers are read after the version: an even newer change is told once more.
        (latest.unwrap_or(version), self.of.answers())
    }

    /// Notes that this follower has seen the answers up to this version.
    pub(crate) fn has_seen(&self, version: u64) {
        self.of.0.spread.send_modify(|spread| {
            spread.seen.insert(self.number, version);
        });
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.of.0.spread.send_modify(|spread| {
            spread.seen.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::challenges::PREFIX;

    const TOKEN: &str = "DGyRejmCefe7v4NfDGDKfA-_";

    async fn has_settled(challenges: &Challenges) -> bool {
        timeout(Duration::from_secs(1), challenges.settled()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_have_settled_when_each_follower_has_seen_them() {
        let (agent, server) = (Challenges::default(), Challenges::default());
        assert!(has_settled(&agent).await, "nobody follows");
        agent.set_thumbprint("print");
        let follower = agent.follow();
        let expected = agent.expect_token(TOKEN, "another");
        assert!(!has_settled(&agent).await);
        let (version, answers) = follower.after(0).await;
        server.replace(answers);
        follower.has_seen(version);
        assert!(has_settled(&agent).await);
        assert_eq!(server.answer(&format!("{PREFIX}{TOKEN}")).as_deref(), Some("another"));

        drop(expected);
        let (later, answers) = follower.after(version).await;
        assert!(later > version);
        server.replace(answers);
        assert_eq!(server.answer(&format!("{PREFIX}{TOKEN}")), Some(format!("{TOKEN}.print")));
        assert!(!has_settled(&agent).await);
        drop(follower);
        assert!(has_settled(&agent).await, "whoever has gone is not waited for");
    }

    #[tokio::test]
    async fn a_handshake_is_answered_by_those_who_follow() {
        let (agent, server) = (Challenges::default(), Challenges::default());
        let host = "a.example".parse().unwrap();
        let _expected = agent.expect_handshake(&host, &[7; 32]).unwrap();
        server.replace(agent.answers());
        assert_eq!(server.answers(), agent.answers());
        assert!(!server.is_elsewhere("a.example"));
        server.answer_for([host]);
        assert!(server.is_elsewhere("a.example"));
    }
}
