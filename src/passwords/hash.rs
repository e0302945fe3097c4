//! Owns hashes of passwords, as files have them: bcrypt (`$2y$`) and argon2 (`$argon2id$`, a PHC string).
//!
//! Never here: the user of a hash (`users`).

use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bcrypt::HashParts;

/// A hash that passwords can be checked against within bounded time and memory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash {
    text: String,
    scheme: HashScheme,
}

#[derive(Clone, PartialEq, Eq)]
enum HashScheme {
    Bcrypt,
    Argon2 { algorithm: Algorithm, version: Version, params: Params, salt: Vec<u8>, output: Vec<u8> },
}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// The fault, as the end of "the hash …", without the hash.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let scheme = match text.split('$').nth(1).filter(|_| text.starts_with('$')) {
            Some("2y" | "2b" | "2a") => bcrypt_of(text)?,
            Some("argon2id") => argon2_of(text, Algorithm::Argon2id)?,
            Some("argon2i") => argon2_of(text, Algorithm::Argon2i)?,
            Some("argon2d") => argon2_of(text, Algorithm::Argon2d)?,
            Some(other @ ("apr1" | "1" | "5" | "6" | "y" | "2x")) => {
                return Err(format!("is of the kind ${other}$, which is not taken: {KINDS}"));
            }
            _ => return Err(format!("is of no kind that is taken: {KINDS}")),
        };
        Ok(Self { text: text.to_owned(), scheme })
    }

    /// Makes the hash of a new password: argon2id with 19 MiB, two passes and one lane (OWASP's first choice).
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn make(password: &[u8]) -> Result<Self, &'static str> {
        let mut salt = vec![0; SALT];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| "the system gives no random bytes")?;
        let (params, algorithm, version) = (Params::default(), Algorithm::Argon2id, Version::V0x13);
        let mut output = vec![0; Params::DEFAULT_OUTPUT_LEN];
        Argon2::new(algorithm, version, params.clone())
            .hash_password_into(password, &salt, &mut output)
            .map_err(|_| "there is not enough memory")?;
        let costs = format!("m={},t={},p={}", params.m_cost(), params.t_cost(), params.p_cost());
        let (salted, hashed) = (BASE64.encode(&salt), BASE64.encode(&output));
        let text = format!("$argon2id$v=19${costs}${salted}${hashed}");
        Ok(Self { text, scheme: HashScheme::Argon2 { algorithm, version, params, salt, output } })
    }

    /// The hash as files have it.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the hash belongs to this password. The check takes as long as the hash's own parameters ask, mostly tens
    /// of milliseconds, and as long for a wrong password. bcrypt looks at the first 72 bytes only.
    pub(crate) fn matches(&self, password: &[u8]) -> bool {
        match &self.scheme {
            HashScheme::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            HashScheme::Argon2 { algorithm, version, params, salt, output } => {
                let mut made = vec![0; output.len()];
                let argon2 = Argon2::new(*algorithm, *version, params.clone());
                let is_made = argon2.hash_password_into(password, salt, &mut made).is_ok();
                is_made && aws_lc_rs::constant_time::verify_slices_are_equal(&made, output).is_ok()
            }
        }
    }
}

/// Debug output leaves the hash out, because it is a secret.
impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash")
    }
}

fn bcrypt_of(text: &str) -> Result<HashScheme, String> {
    let parts = HashParts::from_str(text).map_err(|_| "is no whole bcrypt hash, which has 60 characters")?;
    match parts.get_cost() {
        4..=MOST_ROUNDS => Ok(HashScheme::Bcrypt),
        cost => Err(format!("has the cost {cost}: from 4 to {MOST_ROUNDS} is taken")),
    }
}

/// Reads `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`; without `v` the version is 16.
fn argon2_of(text: &str, algorithm: Algorithm) -> Result<HashScheme, String> {
    let whole = || "is no whole argon2 hash, such as $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH".to_owned();
    let mut parts = text.split('$').skip(2).peekable();
    let version = match parts.next_if(|part| part.starts_with("v=")) {
        None | Some("v=16") => Version::V0x10,
        Some("v=19") => Version::V0x13,
        Some(_) => return Err("is of a version of argon2 that is not known: 16 and 19 are".into()),
    };
    let (Some(costs), Some(salt), Some(output), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(whole());
    };
    let mut costs = costs.split(',');
    let mut cost = |name: &str| {
        let digits = costs.next()?.strip_prefix(name)?.strip_prefix('=')?;
        digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (Some(memory), Some(passes), Some(lanes)) = (cost("m"), cost("t"), cost("p")) else {
        return Err(whole());
    };
    if costs.next().is_some() {
        return Err(whole());
    }
    let salt = BASE64.decode(salt).map_err(|_| whole())?;
    let output = BASE64.decode(output).map_err(|_| whole())?;
    if memory > MOST_MEMORY || passes > MOST_PASSES || lanes > MOST_LANES {
        return Err(format!(
            "costs too much: at most m={MOST_MEMORY}, t={MOST_PASSES} and p={MOST_LANES} are taken"
        ));
    }
    if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&output.len()) {
        return Err(whole());
    }
    let params = Params::new(memory, passes, lanes, Some(output.len())).map_err(|_| whole())?;
    Ok(HashScheme::Argon2 { algorithm, version, params, salt, output })
}

/// The base64 of PHC strings: written without padding, and read with or without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const KINDS: &str =
    "bcrypt ($2y$) and argon2 ($argon2id$) are, as `rip-serverctl passwd` and `htpasswd -B` write them";
/// The most rounds of bcrypt, as a power of 2: 2^15 rounds take some seconds.
const MOST_ROUNDS: u32 = 15;
/// The most memory, in KiB, that checking one password may take.
const MOST_MEMORY: u32 = 256 << 10;
const MOST_PASSES: u32 = 32;
const MOST_LANES: u32 = 16;
/// The bytes of a new hash's salt (RFC 9106 §3.1).
const SALT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded;

    const BCRYPT: &str = "$2y$05$yXEK5sIEMdpmPGcKwcKXReAeWdZYbvXyhEb3BLBPt8xT1xDF0A0b6";

    #[test]
    fn a_new_hash_is_of_its_password_alone_and_reads_as_it_was_written() {
        let made = PasswordHash::make(b"correct horse").unwrap();
        assert!(made.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", made.as_str());
        let read = PasswordHash::parse(made.as_str()).unwrap();
        assert!(read.matches(b"correct horse") && !read.matches(b"correct Horse") && !read.matches(b""));
        assert_ne!(PasswordHash::make(b"correct horse").unwrap().as_str(), made.as_str(), "salted");
    }

    #[test]
    fn hashes_that_others_have_made_are_known() {
        // The first three hashes are of Debian's `argon2` and `php -r 'echo password_hash(…)'`; the last ones are the
        // specification's tests.
        for (hash, password) in [
            (
                "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "password",
            ),
            (
                "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
                "password",
            ),
            ("$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY", "password"),
            ("$2a$04$UuTkLRZZ6QofpDOlMz32MuuxEHA43WOemOYHPz6.SjsVsyO1tDU96", "password"),
            ("$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie", "correctbatteryhorsestapler"),
        ] {
            let read = PasswordHash::parse(hash).unwrap_or_else(|why| panic!("{hash}: {why}"));
            assert!(read.matches(password.as_bytes()), "{hash}");
            assert!(!read.matches(b"passwore"), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused_with_what_would_be_right() {
        for (text, why) in [
            ("", "of no kind"),
            ("secret", "of no kind"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "of no kind"),
            ("$apr1$abcdefgh$0123456789abcdefghijk.", "$apr1$"),
            ("$6$salt$hash", "$6$"),
            ("$2x$05$yXEK5sIEMdpmPGcKwcKXReAeWdZYbvXyhEb3BLBPt8xT1xDF0A0b6", "$2x$"),
            ("$2y$31$yXEK5sIEMdpmPGcKwcKXReAeWdZYbvXyhEb3BLBPt8xT1xDF0A0b6", "from 4 to 15"),
            ("$2y$05$short", "60 characters"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ", "no whole argon2"),
            (
                "$argon2id$v=19$m=19456,t=2$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "no whole",
            ),
            (
                "$argon2id$v=20$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "version",
            ),
            (
                "$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "too much",
            ),
            (
                "$argon2id$v=19$m=256,t=9999,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "too much",
            ),
            (
                "$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "no whole",
            ),
            (
                "$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "no whole",
            ),
        ] {
            let error = PasswordHash::parse(text).map(|_| ()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn whatever_is_read_is_bounded() {
        let whole = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        seeded::feed(&[whole.as_bytes(), BCRYPT.as_bytes()], 20_000, |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            if let Ok(PasswordHash { scheme: HashScheme::Argon2 { params, .. }, .. }) =
                PasswordHash::parse(text)
            {
                assert!(params.m_cost() <= MOST_MEMORY && params.t_cost() <= MOST_PASSES, "{text}");
            }
        });
    }
}
