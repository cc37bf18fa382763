//! Passwords: what one must be like, and the slow hash that is kept instead (Argon2id with 19 MiB and two
//! passes, as OWASP's cheat sheet on password storage asks for at least).
//!
//! Everything here takes tens of milliseconds and 19 MiB by intent: callers run it off the threads that answer,
//! few at once.

use std::{fmt, sync::LazyLock};

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash::phc::PasswordHash};

/// The shortest password, in characters: what is shorter is found by trying.
const CHARACTERS_MIN: usize = 12;
/// The longest one, in bytes.
const BYTES_MAX: usize = 256;
/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// What somebody typed. Shows nothing of it in debug output.
#[derive(Clone)]
pub struct Password(String);

/// A text that is no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a password has at least {CHARACTERS_MIN} characters and at most {BYTES_MAX} bytes; a sentence is a good one"
)]
pub struct NoPassword;

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").finish_non_exhaustive()
    }
}

impl Password {
    /// A password that somebody chose.
    pub fn chosen(text: String) -> Result<Self, NoPassword> {
        let fits = text.chars().count() >= CHARACTERS_MIN && text.len() <= BYTES_MAX;
        if fits { Ok(Self(text)) } else { Err(NoPassword) }
    }

    /// What somebody typed to be let in, whatever it is; too long ones are never right.
    pub fn typed(mut text: String) -> Self {
        if text.len() > BYTES_MAX {
            text.clear();
        }
        Self(text)
    }

    /// A password of bytes that were just drawn: 128 bits.
    pub fn drawn(drawn: [u8; 40]) -> Self {
        Self(hex::encode(&drawn[..16]))
    }

    /// To be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept, with a salt of bytes that were just drawn.
    pub fn hash(&self, drawn: [u8; 40]) -> String {
        let salt = &drawn[drawn.len() - SALT_BYTES..];
        let hash: Result<PasswordHash, _> =
            Argon2::default().hash_password_with_salt(self.0.as_bytes(), salt);
        // The settings and lengths are ours and fit; nothing that somebody typed can fail here.
        hash.map(|hash| hash.to_string()).unwrap_or_default()
    }

    /// Whether this is the password of a kept hash. Without one as much time goes by, so that an answer does not
    /// tell whether there is such an account.
    pub fn is(&self, kept: Option<&str>) -> bool {
        static NOBODY: LazyLock<String> = LazyLock::new(|| Password(String::new()).hash([0; 40]));
        let hash = PasswordHash::new(kept.unwrap_or(&NOBODY));
        let fits = hash.is_ok_and(|hash| Argon2::default().verify_password(self.0.as_bytes(), &hash).is_ok());
        fits && kept.is_some() && !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_hash_only() {
        let password = Password::chosen("correct horse battery".to_owned()).unwrap();
        let kept = password.hash([7; 40]);
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, password.hash([8; 40]), "salted");
        assert!(password.is(Some(&kept)));
        for wrong in ["", "correct horse batterz", "correct horse battery "] {
            assert!(!Password::typed(wrong.to_owned()).is(Some(&kept)), "{wrong}");
        }
        assert!(!password.is(None) && !password.is(Some("$argon2id$nonsense")));
        assert!(!Password::typed(String::new()).is(None), "nobody's password is nobody's");
        assert!(!format!("{password:?}").contains("horse"));
    }

    #[test]
    fn short_and_endless_ones_are_refused() {
        for wrong in ["", "elevenchars", &"a".repeat(257)] {
            assert!(Password::chosen(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert!(Password::chosen("zwölf Zeichen".to_owned()).is_ok());
        assert_eq!(Password::drawn([1; 40]).reveal().len(), 32);
    }
}
